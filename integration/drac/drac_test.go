package drac_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/harness"
	"milterd/integration/harness/harnesstest"
	"milterd/integration/testkit"
	"milterd/policy/grant"
	"milterd/policy/grant/drac"
)

// patience bounds every wait that is expected to be short.
const patience = 20 * time.Second

var (
	missing error  // what this machine lacks
	client  string // the compiled client
)

func TestMain(m *testing.M) {
	os.Exit(harness.Main(func(w *harness.World) int {
		dir, err := os.MkdirTemp("", "milterd-drac-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		client = filepath.Join(dir, "client")
		missing = errors.Join(w.Missing, programs(), compile(client))
		return harnesstest.Run(m)
	}))
}

// programs says which of them are not installed.
func programs() error {
	var errs []error
	for _, program := range []string{"rpcbind", "rpcinfo"} {
		if _, err := os.Stat("/usr/sbin/" + program); err != nil {
			errs = append(errs, fmt.Errorf("%w, package rpcbind has it", err))
		}
	}
	return errors.Join(errs...)
}

// compile builds the client.
func compile(path string) error {
	cmd := exec.Command("gcc", "-Wall", "-o", path, "-I/usr/include/tirpc", "testdata/client.c", "-ltirpc")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the client (packages gcc, libc6-dev and libtirpc-dev): %w\n%s", err, out)
	}
	return nil
}

func need(t *testing.T) {
	t.Helper()
	if missing != nil {
		testkit.Missing(t, fmt.Sprintf("a DRAC client cannot be run: %v", missing))
	}
}

// startRpcbind starts rpcbind with an empty table and waits until it answers.
func startRpcbind(t *testing.T) (stop func()) {
	t.Helper()
	if err := os.Remove(drac.DefaultRpcbindSocket); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command("/usr/sbin/rpcbind", "-f")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	eventually(t, "rpcbind answers", func() bool {
		_, err := rpcinfo("-p", "127.0.0.1")
		return err == nil
	})
	return stop
}

func rpcinfo(args ...string) (string, error) {
	out, err := exec.Command("/usr/sbin/rpcinfo", args...).CombinedOutput()
	return string(out), err
}

func eventually(t *testing.T, what string, ready func() bool) {
	t.Helper()
	err := harness.Poll(patience, what, func() (bool, error) { return ready(), nil })
	if err != nil {
		t.Fatal(err)
	}
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// service is a server and its registration.
type service struct {
	*drac.Server
	keeper *grant.Keeper
	log    *lines
	// withdraw ends the registration, and waits.
	withdraw func()
}

// serve starts a server on a free port of an address.
func serve(t *testing.T, host string, config drac.Config) *service {
	t.Helper()
	s := &service{log: new(lines)}
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	s.keeper = grant.New(grant.Config{})
	config.Keeper, config.Logger = s.keeper, logger
	s.Server = drac.NewServer(config)
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
	if err != nil {
		t.Fatal(err)
	}
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	ctx, cancel := context.WithCancel(t.Context())
	registered, withdraw := context.WithCancel(t.Context())
	var serving, registering sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(ctx, conn); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	registering.Go(func() {
		drac.Rpcbind{Addr: addr, Interval: 20 * time.Millisecond, Logger: logger}.Run(registered)
	})
	s.withdraw = func() {
		withdraw()
		registering.Wait()
	}
	t.Cleanup(func() {
		s.withdraw()
		cancel()
		serving.Wait()
	})
	return s
}

// add runs the client and returns the status that it was answered.
func add(t *testing.T, host, form, addr string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, client, host, form, addr).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// granted lists the addresses that have a grant.
func (s *service) granted(t *testing.T) []string {
	t.Helper()
	var addrs []string
	if err := s.keeper.List(t.Context(), func(g grant.Grant) bool {
		addrs = append(addrs, g.Addr.String()+" by "+g.Source)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return addrs
}

const (
	success = "0"
	denied  = "1"
)

func TestRealClient(t *testing.T) {
	need(t)
	startRpcbind(t)
	for _, test := range []struct {
		name             string
		config           drac.Config
		host, form, addr string
		status           string
		granted          []string
	}{
		{"a listed server grants", drac.Config{}, "127.0.0.1", "host", "203.0.113.8", success, []string{"203.0.113.8 by drac:127.0.0.1"}},
		{"another server gets permission denied", drac.Config{}, harness.ServerAddr4, "host", "203.0.113.8", denied, nil},
		{"a server that is listed by its address grants",
			drac.Config{Servers: []netip.Prefix{netip.MustParsePrefix(harness.ServerAddr4 + "/32")}},
			harness.ServerAddr4, "host", "203.0.113.8", success, []string{"203.0.113.8 by drac:203.0.113.25"}},
		{"then the loopback address is another server",
			drac.Config{Servers: []netip.Prefix{netip.MustParsePrefix(harness.ServerAddr4 + "/32")}},
			"127.0.0.1", "host", "203.0.113.8", denied, nil},
		{"an address that may not relay is denied", drac.Config{}, "127.0.0.1", "host", "192.168.0.77", denied, nil},
		{"a client without the conversion grants to a stranger", drac.Config{}, "127.0.0.1", "network", "203.0.113.8", success, []string{"8.113.0.203 by drac:127.0.0.1"}},
		{"an IPv6 address as octets", drac.Config{}, "127.0.0.1", "opaque", "2001:db8::8", success, []string{"2001:db8::8 by drac:127.0.0.1"}},
		{"an IPv6 address octet by octet", drac.Config{}, "127.0.0.1", "vector", "2001:db8::8", success, []string{"2001:db8::8 by drac:127.0.0.1"}},
		{"over IPv6", drac.Config{}, "::1", "host", "203.0.113.8", success, []string{"203.0.113.8 by drac:::1"}},
		{"a client of root has a reserved port", drac.Config{ReservedPort: true}, "127.0.0.1", "host", "203.0.113.8", success, []string{"203.0.113.8 by drac:127.0.0.1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, "::", test.config)
			eventually(t, "the registration", func() bool { return s.log.count("drac registered with rpcbind") == 1 })
			if got := add(t, test.host, test.form, test.addr); got != test.status {
				t.Errorf("status %q, expected %q", got, test.status)
			}
			if diff := cmp.Diff(test.granted, s.granted(t)); diff != "" {
				t.Errorf("grants (-want +got):\n%s", diff)
			}
		})
	}
}

// unprivileged runs the client as a user who cannot bind a reserved port.
func unprivileged(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), client, args...)
	const nobody = 65534
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestUsersOfAListedServer(t *testing.T) {
	need(t)
	startRpcbind(t)
	if err := os.Chmod(filepath.Dir(client), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		config drac.Config
		status string
	}{
		{"may grant by default, as the mail user of Dovecot does", drac.Config{}, success},
		{"may not where a reserved port is asked for", drac.Config{ReservedPort: true}, denied},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, "127.0.0.1", test.config)
			eventually(t, "the registration", func() bool { return s.log.count("drac registered with rpcbind") == 1 })
			if got := unprivileged(t, "127.0.0.1", "host", "203.0.113.8"); got != test.status {
				t.Errorf("status %q, expected %q", got, test.status)
			}
		})
	}
}

func TestRpcinfo(t *testing.T) {
	need(t)
	startRpcbind(t)
	s := serve(t, "::", drac.Config{})
	eventually(t, "the registration", func() bool { return s.log.count("drac registered with rpcbind") == 1 })
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"it is ready and waiting for IPv4 addresses", []string{"-u", "127.0.0.1", "900101", "1"}, "program 900101 version 1 ready and waiting"},
		{"and for IPv6 addresses", []string{"-u", "127.0.0.1", "900101", "2"}, "program 900101 version 2 ready and waiting"},
		{"it tells its versions", []string{"-u", "127.0.0.1", "900101"}, "program 900101 version 1 ready and waiting\nprogram 900101 version 2 ready and waiting"},
		{"it has no version 3", []string{"-u", "127.0.0.1", "900101", "3"}, "low version = 1, high version = 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, _ := rpcinfo(test.args...)
			if !strings.Contains(out, test.want) {
				t.Errorf("rpcinfo %s says %q, expected %q in it", strings.Join(test.args, " "), out, test.want)
			}
		})
	}
}

// table is what rpcbind knows of the program: netid, version and address.
func table(t *testing.T) []string {
	t.Helper()
	out, err := rpcinfo("-s")
	if err != nil {
		t.Fatalf("rpcinfo: %v: %s", err, out)
	}
	var found []string
	for _, line := range strings.Split(out, "\n") {
		if fields := strings.Fields(line); len(fields) > 3 && fields[0] == "900101" {
			found = append(found, strings.Join(fields[1:3], " "))
		}
	}
	return found
}

func TestRegistration(t *testing.T) {
	need(t)
	const told, gone = "drac registered with rpcbind", "drac not registered"

	t.Run("ends with the server", func(t *testing.T) {
		startRpcbind(t)
		s := serve(t, "::", drac.Config{})
		eventually(t, "the registration", func() bool { return s.log.count(told) == 1 })
		if diff := cmp.Diff([]string{"2,1 udp,udp6"}, table(t)); diff != "" {
			t.Errorf("rpcbind's table while it runs (-want +got):\n%s", diff)
		}
		s.withdraw()
		if diff := cmp.Diff([]string(nil), table(t)); diff != "" {
			t.Errorf("rpcbind's table at the end (-want +got):\n%s", diff)
		}
	})

	t.Run("replaces what a process that was killed has left", func(t *testing.T) {
		startRpcbind(t)
		left := drac.Rpcbind{Addr: netip.MustParseAddrPort("127.0.0.1:9"), Logger: slog.New(slog.DiscardHandler)}
		// It does not withdraw before all is over, as if it had been killed.
		ctx, cancel := context.WithCancel(t.Context())
		var registering sync.WaitGroup
		registering.Go(func() { left.Run(ctx) })
		eventually(t, "the old registration", func() bool { return len(table(t)) == 1 })
		s := serve(t, "127.0.0.1", drac.Config{})
		eventually(t, "the registration", func() bool { return s.log.count(told) == 1 })
		if got := add(t, "127.0.0.1", "host", "203.0.113.8"); got != success {
			t.Errorf("status %q, expected %q", got, success)
		}
		cancel()
		registering.Wait()
	})

	t.Run("comes with rpcbind, and again with the next one", func(t *testing.T) {
		s := serve(t, "127.0.0.1", drac.Config{})
		eventually(t, "a line that rpcbind is not there", func() bool { return s.log.count(gone) == 1 })
		for n := 1; n <= 2; n++ {
			stop := startRpcbind(t)
			eventually(t, "the registration", func() bool { return s.log.count(told) == n })
			if got := add(t, "127.0.0.1", "host", fmt.Sprintf("203.0.113.%d", n)); got != success {
				t.Errorf("status %q, expected %q", got, success)
			}
			stop()
			eventually(t, "a line that rpcbind is gone", func() bool { return s.log.count(gone) == 1+n })
		}
	})
}
