package attack

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

const soakConfig = config + "listen: {http: \"inet:9180@127.0.0.1\"}\nlog: {level: warn}\n"

// soak is sendmail, which relays for everybody, with milterd as its filter.
type soak struct {
	env   *harness.Env
	mu    sync.Mutex
	taken map[string]bool // queue IDs that a client was told
	// refusedForNow counts replies that put off, which a fault may cause.
	sessions, refusedForNow atomic.Int64
}

// TestNothingIsLostOrLetThroughMeanwhile has clients of every behaviour, while the table
// changes, the policy is loaded again and again and the DNS fails. Every message that was
// accepted is in the queue, no stranger's recipient is accepted, no user's is refused for
// good, and milterd takes up no more at the end than at the beginning.
func TestNothingIsLostOrLetThroughMeanwhile(t *testing.T) {
	env := start(t, harness.Options{
		Access: relays, DNS: records, Config: soakConfig, Files: map[string]string{"access": relays + limits},
		LocalHostNames: own + "\n", RelayDomains: partner + "\n", Mailboxes: []string{"shin"},
		MC: "FEATURE(`promiscuous_relay')dnl\n",
	})
	s := &soak{env: env, taken: make(map[string]bool)}
	seed := number(t, "MILTERD_TEST_SEED", uint64(time.Now().UnixNano()))
	sessions := int64(number(t, "MILTERD_TEST_SOAK", 600))
	t.Logf("MILTERD_TEST_SEED=%d", seed)
	var rounds [4]map[string]float64
	for round := range rounds {
		s.round(t, rand.New(rand.NewPCG(seed, uint64(round))), sessions/int64(len(rounds)))
		rounds[round] = s.usage(t, rounds[1])
		t.Logf("round %d: %d sessions, %d accepted, %d replies that put off, %v", round, s.sessions.Load(), len(s.taken), s.refusedForNow.Load(), rounds[round])
	}
	// The first round warms up.
	const sparse, memory = 20, 64 << 20
	for name, allowed := range map[string]float64{"go_goroutines": sparse, "process_open_fds": sparse, "process_resident_memory_bytes": memory} {
		if grown := rounds[3][name] - rounds[1][name]; grown > allowed {
			t.Errorf("%s has grown by %v: %v, %v, %v", name, grown, rounds[1][name], rounds[2][name], rounds[3][name])
		}
	}
	files, err := env.Queue()
	if err != nil {
		t.Fatal(err)
	}
	queued := make(map[string]bool)
	for _, f := range files {
		queued[f.ID] = true
	}
	for id := range s.taken {
		if !queued[id] {
			t.Errorf("message %s was accepted and is not in the queue", id)
		}
	}
	if len(s.taken) < int(sessions)/10 {
		t.Errorf("only %d messages of %d sessions were accepted", len(s.taken), sessions)
	}
	if !env.Milterd.Running() {
		t.Error("milterd has ended")
	}
}

// round has so many sessions, four at a time, with faults.
func (s *soak) round(t *testing.T, random *rand.Rand, sessions int64) {
	t.Helper()
	stop := make(chan struct{})
	var faults, clients sync.WaitGroup
	faults.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				s.check(t, s.env.DNS.SetLines(append(hostRecords(), records...)))
				return
			case <-time.After(20 * time.Millisecond):
			}
			s.check(t, s.env.Milterd.Reload())
			s.check(t, s.env.WriteFile("access", relays+limits+fmt.Sprintf("Connect:192.0.2.%d\tREJECT\n", i%250)))
			lines := append(hostRecords(), records...)
			if i%10 > 4 {
				lines = append(lines, "good.example. SERVFAIL", "8.113.0.203.in-addr.arpa. SERVFAIL", "dialup.good.example. SERVFAIL")
			}
			s.check(t, s.env.DNS.SetLines(lines))
		}
	})
	seeds := make(chan uint64)
	for range 4 {
		clients.Go(func() {
			for seed := range seeds {
				s.check(t, s.session(rand.New(rand.NewPCG(seed, 0))))
				s.sessions.Add(1)
			}
		})
	}
	for range sessions {
		seeds <- random.Uint64()
	}
	close(seeds)
	clients.Wait()
	close(stop)
	faults.Wait()
}

// hostRecords are the server's own, which replacing the lines of the DNS would remove.
func hostRecords() []string {
	return []string{harness.Hostname + ". A " + harness.ServerAddr4, "25.113.0.203.in-addr.arpa. PTR " + harness.Hostname + "."}
}

func (s *soak) check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// errLeft ends a session that the client or the server has left, as it may.
var errLeft = errors.New("left")

// session is one client with a few messages, who may leave at any time.
func (s *soak) session(random *rand.Rand) error {
	conn, err := (caller{addr: "203.0.113.8"}).open()
	if err != nil {
		s.refusedForNow.Add(1)
		if strings.Contains(err.Error(), "not let in: 5") {
			return err
		}
		return nil
	}
	defer conn.Close()
	for range 1 + random.IntN(3) {
		if err := s.message(conn, random); errors.Is(err, errLeft) {
			return nil
		} else if err != nil {
			return err
		}
	}
	_, _ = conn.Command("QUIT")
	return nil
}

// message is one message to a user or to the victim.
func (s *soak) message(conn *harness.Conn, random *rand.Rand) error {
	to, foreign := "shin@"+own, random.IntN(3) == 0
	if foreign {
		to = tricks[random.IntN(len(tricks))]
		if random.IntN(2) == 0 {
			to = "x@" + victim
		}
		foreign = to == "x@"+victim
	}
	lines := []string{"MAIL FROM:<a@good.example>", "RCPT TO:<" + to + ">", "DATA", "Subject: soak\r\n\r\nHello\r\n."}
	for i, line := range lines {
		switch random.IntN(40) {
		case 0:
			return errLeft
		case 1:
			_ = conn.Send(line)
			return errLeft
		case 2:
			if i == 3 {
				break // within the message it would be text
			}
			_, _ = conn.Command("RSET")
			return nil
		}
		reply, err := conn.Command(line)
		switch {
		case err != nil:
			return fmt.Errorf("%q: %w", line, err)
		case reply.Code/100 == 4:
			s.refusedForNow.Add(1)
			_, _ = conn.Command("RSET")
			return nil
		case reply.Code/100 == 5 && to == "shin@"+own:
			return fmt.Errorf("%q is refused for good: %s", line, reply.First())
		case reply.Code/100 == 5:
			_, _ = conn.Command("RSET")
			return nil
		case i == 1 && foreign:
			return fmt.Errorf("%q is accepted: %s", line, reply.First())
		case i == 3:
			s.mu.Lock()
			s.taken[strings.Fields(reply.First())[2]] = true
			s.mu.Unlock()
		}
	}
	return nil
}

// usage reads what milterd takes up, when it has come to rest.
func (s *soak) usage(t *testing.T, before map[string]float64) map[string]float64 {
	t.Helper()
	var usage map[string]float64
	rested := func() (bool, error) {
		response, err := http.Get("http://127.0.0.1:9180/metrics")
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		usage = make(map[string]float64)
		for in := bufio.NewScanner(response.Body); in.Scan(); {
			name, value, _ := strings.Cut(in.Text(), " ")
			switch name {
			case "go_goroutines", "process_open_fds", "process_resident_memory_bytes":
				if usage[name], err = strconv.ParseFloat(value, 64); err != nil {
					return false, err
				}
			}
		}
		return before == nil || usage["go_goroutines"] <= before["go_goroutines"], nil
	}
	// The bounds tell what it means if it does not come.
	_ = harness.Poll(testkit.Patience/4, "rest", rested)
	return usage
}
