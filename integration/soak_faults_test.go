package integration_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soakFaults are what happens meanwhile, and what mends it.
var soakFaults = []struct {
	name string
	do   func(s *soak, random *rand.Rand) error
}{
	{"the table changes", func(s *soak, random *rand.Rand) error {
		return s.env.WriteFile("access", soakTable+fmt.Sprintf("Connect:192.0.2.%d\tREJECT\n", random.IntN(250)))
	}},
	{"the table is broken", func(s *soak, random *rand.Rand) error {
		return s.env.WriteFile("access", "Connect:203.0.113.8\x00\n")
	}},
	{"the configuration is broken", func(s *soak, random *rand.Rand) error {
		return s.env.WriteFile("milterd.yaml", soakConfig+"nonsense: [\n")
	}},
	{"the configuration is whole", func(s *soak, random *rand.Rand) error {
		return s.env.WriteFile("milterd.yaml", soakConfig+fmt.Sprintf("# %d\n", random.IntN(100)))
	}},
	{"a storm of SIGHUP", func(s *soak, random *rand.Rand) error {
		for range 20 + random.IntN(80) {
			if err := s.env.Milterd.Reload(); err != nil {
				return err
			}
		}
		return nil
	}},
	{"the DNS fails", func(s *soak, random *rand.Rand) error {
		how := []string{"SERVFAIL", "TIMEOUT", "REFUSED", "TRUNCATED", "WRONGID", "DELAY=50ms"}[random.IntN(6)]
		lines := append(soakRecords(), "good.example. "+how, "251.113.0.203.in-addr.arpa. "+how, "252.113.0.203.in-addr.arpa. SERVFAIL")
		for n := 1; n <= soakNamed; n++ {
			if random.IntN(2) == 0 {
				lines = append(lines, fmt.Sprintf("%d.113.0.203.in-addr.arpa. %s", n, how))
			}
		}
		return s.env.DNS.SetLines(lines)
	}},
	{"the DNS is well", func(s *soak, random *rand.Rand) error { return s.env.DNS.SetLines(soakRecords()) }},
	{"Redis is killed", func(s *soak, random *rand.Rand) error {
		return errors.Join(s.redis.Kill(), s.pause(random, 300), s.redis.Start())
	}},
	{"Redis hangs", func(s *soak, random *rand.Rand) error {
		return errors.Join(s.redis.Freeze(), s.pause(random, 300), s.redis.Thaw())
	}},
	{"a login", func(s *soak, random *rand.Rand) error { return soakLogin(soakGranted) }},
	{"the log is renamed", func(s *soak, random *rand.Rand) error {
		return errors.Join(os.Rename(soakLogins, soakLogins+".1"), soakLogin(soakGranted), soakLogin("198.51.100.7"))
	}},
	{"the log is copied and truncated", func(s *soak, random *rand.Rand) error {
		return errors.Join(os.Truncate(soakLogins, 0), soakLogin("198.51.100.8"))
	}},
	{"the directory of recordings is open to all", func(s *soak, random *rand.Rand) error { return os.Chmod(soakRecord, 0o777) }},
	{"the directory of recordings is private", func(s *soak, random *rand.Rand) error { return os.Chmod(soakRecord, 0o700) }},
	{"milterd hangs", func(s *soak, random *rand.Rand) error {
		pid := s.env.Milterd.PID()
		return errors.Join(syscall.Kill(pid, syscall.SIGSTOP), s.pause(random, 200), syscall.Kill(pid, syscall.SIGCONT))
	}},
	{"clients stall at every door", func(s *soak, random *rand.Rand) error {
		conns := stall(20 + random.IntN(20))
		defer hangUp(conns)
		return s.pause(random, 500)
	}},
	{"there are too many connections", func(s *soak, random *rand.Rand) error {
		conns := stall(400)
		defer hangUp(conns)
		return s.pause(random, 200)
	}},
}

// strike makes faults until the round is over, and heals them. Each comes once before any
// comes again.
func (s *soak) strike(t *testing.T, random *rand.Rand, stop <-chan struct{}) {
	t.Helper()
	for {
		if len(s.next) == 0 {
			s.next = random.Perm(len(soakFaults))
		}
		select {
		case <-stop:
			err := errors.Join(s.env.WriteFile("access", soakTable), s.env.WriteFile("milterd.yaml", soakConfig), s.env.DNS.SetLines(soakRecords()),
				os.Chmod(soakRecord, 0o700), s.env.Milterd.Reload())
			if err != nil {
				t.Error(err)
			}
			return
		case <-time.After(time.Duration(10+random.IntN(90)) * time.Millisecond):
		}
		fault := soakFaults[s.next[0]]
		s.next = s.next[1:]
		if err := fault.do(s, random); err != nil {
			t.Errorf("%s: %v", fault.name, err)
			return
		}
		s.mu.Lock()
		s.faults[fault.name]++
		s.mu.Unlock()
	}
}

// pause lets a fault last up to so many milliseconds.
func (s *soak) pause(random *rand.Rand, most int) error {
	time.Sleep(time.Duration(1+random.IntN(most)) * time.Millisecond)
	return nil
}

// soakLogin writes Dovecot's line of a login, as of now.
func soakLogin(addr string) error {
	log, err := os.OpenFile(soakLogins, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(log, "%s mx dovecot: pop3-login: Login: user=<shin>, method=PLAIN, rip=%s, lip=203.0.113.25, mpid=12, TLS, session=<a>\n",
		time.Now().Format(time.Stamp), addr)
	return errors.Join(err, log.Close())
}

// dialSlowly connects to a door by its address or path.
func dialSlowly(door string) (net.Conn, error) {
	network := "unix"
	if !strings.HasPrefix(door, "/") {
		network = "tcp"
	}
	conn, err := net.DialTimeout(network, door, frameTimeout)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(frameTimeout))
}

// stall opens so many connections to each door, and sends half of what each waits for. A
// door may refuse some.
func stall(n int) []net.Conn {
	var conns []net.Conn
	for door, half := range halfAFrame {
		for range n {
			conn, err := dialSlowly(door)
			if err != nil {
				continue
			}
			_, _ = io.WriteString(conn, half)
			conns = append(conns, conn)
		}
	}
	return conns
}

func hangUp(conns []net.Conn) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}
