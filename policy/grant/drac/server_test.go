package drac

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server on a loopback address and returns where it listens.
func serve(t *testing.T, network, host string, config Config) (*Server, *net.UDPAddr) {
	t.Helper()
	s := NewServer(config)
	conn, err := net.ListenUDP(network, &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Fatal(err)
	}
	addr := conn.LocalAddr().(*net.UDPAddr)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, addr
}

// dial opens a socket of a client at an address.
func dial(t *testing.T, from string, to *net.UDPAddr) *net.UDPConn {
	t.Helper()
	host := "127.0.0.1"
	if strings.Contains(from, ":") {
		host = "::1"
	}
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP(host), Port: to.Port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// ask sends a call and returns the reply.
func ask(t *testing.T, conn *net.UDPConn, datagram []byte) []byte {
	t.Helper()
	if _, err := conn.Write(datagram); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 2048)
	n, err := conn.Read(reply)
	if err != nil {
		t.Fatal(err)
	}
	return reply[:n]
}

func newKeeper(t *testing.T, config grant.Config) *grant.Keeper {
	t.Helper()
	keeper := grant.New(config)
	t.Cleanup(func() { _ = keeper.Close() })
	return keeper
}

// granted lists what a keeper has granted.
func granted(t *testing.T, keeper *grant.Keeper) []string {
	t.Helper()
	var all []string
	err := keeper.List(t.Context(), func(g grant.Grant) bool {
		all = append(all, g.Addr.String()+" "+g.Source)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// broken is a keeper whose store cannot be asked.
type broken struct{}

func (broken) Login(context.Context, grant.Login) (grant.Result, error) {
	return grant.Result{}, errors.New("connection refused")
}

// add is an ADD of 203.0.113.8 from a client that has no name.
func add(addr uint32) []byte { return callOf(900101, 1, 1, numbers(addr)) }

func answer(s status) []byte { return call{xid: xid}.added(s) }

func TestAdd(t *testing.T) {
	prefix := netip.MustParsePrefix
	const client, private = 0xcb007108, 0xc0a8004d
	var full []byte // the longest call that is valid
	full = append(numbers(xid, 0, 2, 900101, 2, 1, 0, 400), make([]byte, 400)...)
	full = append(append(full, numbers(9, 400)...), make([]byte, 400)...)
	for _, octet := range netip.MustParseAddr("2001:db8::8").As16() {
		full = append(full, numbers(uint32(octet))...)
	}
	for _, test := range []struct {
		name    string
		network string
		host    string
		config  Config
		from    string
		call    []byte
		reply   []byte
		granted []string
		stats   Stats
	}{
		{"a listed server grants", "udp4", "127.0.0.1", Config{}, "127.0.0.1", add(client),
			answer(statusSuccess), []string{"203.0.113.8 drac:127.0.0.1"}, Stats{Calls: 1, Granted: 1}},
		{"a listed server grants over IPv6", "udp6", "::1", Config{}, "::1", add(client),
			answer(statusSuccess), []string{"203.0.113.8 drac:::1"}, Stats{Calls: 1, Granted: 1}},
		{"a listed server is known at a socket for both families", "udp", "::", Config{Servers: []netip.Prefix{prefix("127.0.0.7/32")}}, "127.0.0.7", add(client),
			answer(statusSuccess), []string{"203.0.113.8 drac:127.0.0.7"}, Stats{Calls: 1, Granted: 1}},
		{"another server is denied", "udp4", "127.0.0.1", Config{Servers: []netip.Prefix{prefix("127.0.0.7/32")}}, "127.0.0.1", add(client),
			answer(statusDenied), nil, Stats{Calls: 1, Denied: 1}},
		{"nobody is listed", "udp4", "127.0.0.1", Config{Servers: []netip.Prefix{}}, "127.0.0.1", add(client),
			answer(statusDenied), nil, Stats{Calls: 1, Denied: 1}},
		{"a listed server without the reserved port that is asked for", "udp4", "127.0.0.1", Config{ReservedPort: true}, "127.0.0.1", add(client),
			answer(statusDenied), nil, Stats{Calls: 1, Denied: 1}},
		{"an address that may not relay", "udp4", "127.0.0.1", Config{}, "127.0.0.1", add(private),
			answer(statusDenied), nil, Stats{Calls: 1, Refused: 1}},
		{"no address at all", "udp4", "127.0.0.1", Config{}, "127.0.0.1", add(0),
			answer(statusDenied), nil, Stats{Calls: 1, Refused: 1}},
		{"a store that cannot be asked", "udp4", "127.0.0.1", Config{Keeper: broken{}}, "127.0.0.1", add(client),
			answer(statusSystemError), nil, Stats{Calls: 1, Failed: 1}},
		{"the longest call", "udp4", "127.0.0.1", Config{}, "127.0.0.1", full,
			answer(statusSuccess), []string{"2001:db8::8 drac:127.0.0.1"}, Stats{Calls: 1, Granted: 1}},
		{"a NULL from anybody", "udp4", "127.0.0.1", Config{Servers: []netip.Prefix{}}, "127.0.0.1", callOf(900101, 1, 0, nil),
			numbers(xid, 1, 0, 0, 0, 0), nil, Stats{Calls: 1}},
		{"another program", "udp4", "127.0.0.1", Config{}, "127.0.0.1", callOf(100003, 1, 0, nil),
			numbers(xid, 1, 0, 0, 0, 1), nil, Stats{Calls: 1, Malformed: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			keeper := newKeeper(t, grant.Config{})
			if test.config.Keeper == nil {
				test.config.Keeper = keeper
			}
			s, addr := serve(t, test.network, test.host, test.config)
			if got := ask(t, dial(t, test.from, addr), test.call); !bytes.Equal(got, test.reply) {
				t.Errorf("reply %x, expected %x", got, test.reply)
			}
			if diff := cmp.Diff(test.granted, granted(t, keeper)); diff != "" {
				t.Errorf("grants (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.stats, s.Stats()); diff != "" {
				t.Errorf("stats (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFullStoreIsASystemError(t *testing.T) {
	_, addr := serve(t, "udp4", "127.0.0.1", Config{Keeper: newKeeper(t, grant.Config{Max: 1})})
	conn := dial(t, "127.0.0.1", addr)
	for _, step := range []struct {
		call []byte
		want status
	}{
		{add(0xcb007108), statusSuccess},
		{add(0xcb007109), statusSystemError},
		{add(0xcb007108), statusSuccess},
	} {
		if got := ask(t, conn, step.call); !bytes.Equal(got, answer(step.want)) {
			t.Errorf("call %x: %x, expected status %d", step.call, got, step.want)
		}
	}
}

func TestWhatIsNoCallIsNotAnswered(t *testing.T) {
	s, addr := serve(t, "udp4", "127.0.0.1", Config{Keeper: newKeeper(t, grant.Config{})})
	conn := dial(t, "127.0.0.1", addr)
	junk := [][]byte{
		{},
		{0},
		[]byte("GET / HTTP/1.0\r\n\r\n"),
		bytes.Repeat([]byte{0xff}, 512),
		numbers(xid, 1, 0, 0, 0, 0, 0, 0, 0, 0),
		append(add(0xcb007108), make([]byte, 60000)...), // cut off, and so not looked at
		append(add(0xcb007108), make([]byte, maxCall-len(add(0)))...),
	}
	for _, datagram := range junk {
		if _, err := conn.Write(datagram); err != nil {
			t.Fatal(err)
		}
	}
	// The next reply is the one to the next call.
	if got := ask(t, conn, add(0xcb007108)); !bytes.Equal(got, answer(statusSuccess)) {
		t.Errorf("reply %x", got)
	}
	testkit.Eventually(t, "every datagram is counted", func() bool {
		return s.Stats() == Stats{Calls: uint64(len(junk)) + 1, Granted: 1, Malformed: uint64(len(junk))}
	})
}

func TestDenialsAreLoggedOnceInAWhile(t *testing.T) {
	log := new(testkit.Log)
	s, addr := serve(t, "udp4", "127.0.0.1", Config{Keeper: newKeeper(t, grant.Config{}), Servers: []netip.Prefix{}, Logger: log.Logger()})
	conn := dial(t, "127.0.0.1", addr)
	const calls = 100
	for range calls {
		ask(t, conn, add(0xcb007108))
	}
	if got := s.Stats().Denied; got != calls {
		t.Errorf("%d calls counted as denied, expected %d", got, calls)
	}
	if n := strings.Count(log.String(), "drac call denied"); n < 1 || n > 3 {
		t.Errorf("%d lines for %d calls:\n%s", n, calls, log)
	}
	if !strings.Contains(log.String(), `client=203.0.113.8 reason="not one of the servers"`) {
		t.Errorf("the line does not say what was denied and why:\n%s", log)
	}
}

// slow is a keeper whose store takes its time until it is told to go on.
type slow struct {
	begun chan struct{}
	goOn  chan struct{}
}

func (s slow) Login(ctx context.Context, _ grant.Login) (grant.Result, error) {
	s.begun <- struct{}{}
	select {
	case <-s.goOn:
		return grant.Result{Decision: grant.Granted}, nil
	case <-ctx.Done():
		return grant.Result{}, ctx.Err()
	}
}

func TestOneSlowCallDoesNotHoldUpTheNext(t *testing.T) {
	keeper := slow{make(chan struct{}, workers), make(chan struct{})}
	_, addr := serve(t, "udp4", "127.0.0.1", Config{Keeper: keeper})
	first := dial(t, "127.0.0.1", addr)
	if _, err := first.Write(add(0xcb007108)); err != nil {
		t.Fatal(err)
	}
	<-keeper.begun
	if got := ask(t, dial(t, "127.0.0.1", addr), callOf(900101, 1, 0, nil)); !bytes.Equal(got, numbers(xid, 1, 0, 0, 0, 0)) {
		t.Errorf("reply %x", got)
	}
	close(keeper.goOn)
	reply := make([]byte, 100)
	n, err := first.Read(reply)
	if err != nil || !bytes.Equal(reply[:n], answer(statusSuccess)) {
		t.Errorf("reply %x, %v", reply[:n], err)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	keeper := slow{make(chan struct{}, workers), make(chan struct{})}
	s := NewServer(Config{Keeper: keeper})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	if _, err := dial(t, "127.0.0.1", conn.LocalAddr().(*net.UDPAddr)).Write(add(0xcb007108)); err != nil {
		t.Fatal(err)
	}
	<-keeper.begun
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := conn.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is still open: %v", err)
	}
}

func TestServeEndsWithItsSocket(t *testing.T) {
	s := NewServer(Config{Keeper: newKeeper(t, grant.Config{})})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := s.Serve(t.Context(), conn); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}
