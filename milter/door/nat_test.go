package door

import (
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"milterd/integration/testkit"
)

var gateway = netip.MustParseAddr("10.88.0.1")

// world is a client of the network, one of many.
func world(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)})
}

// see has a guard see n clients that take turns: so many in a hundred with an address,
// the others each with one of its own.
func see(g *NATGuard, n, share int, addr netip.Addr) {
	for i := range n {
		if i*share/100 != (i+1)*share/100 {
			g.Seen(addr)
		} else {
			g.Seen(world(i))
		}
	}
}

func TestNATIsSuspectedWhenNearlyAllClientsHaveOnePrivateAddress(t *testing.T) {
	for _, tt := range []struct {
		name   string
		addr   string
		n      int
		share  int
		shared bool
	}{
		{"a bridge", "10.88.0.1", 1000, 100, true},
		{"a load balancer", "192.168.7.9", 1000, 97, true},
		{"carrier-grade NAT", "100.64.3.4", 300, 100, true},
		{"a link-local address", "fe80::1", 300, 100, true},
		{"a unique local address", "fd00::1", 300, 100, true},
		{"a mapped address", "::ffff:10.88.0.1", 300, 100, true},
		{"the least there must be", "10.88.0.1", natLeast, 100, true},
		{"fewer than tell anything", "10.88.0.1", natLeast - 1, 100, false},
		{"most, but not nearly all", "10.88.0.1", 1000, 90, false},
		{"a public address", "198.51.100.1", 1000, 100, false},
		{"this host", "127.0.0.1", 1000, 100, false},
		{"this host, by IPv6", "::1", 1000, 100, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, addr := NewNATGuard(slog.New(slog.DiscardHandler)), netip.MustParseAddr(tt.addr)
			see(g, tt.n, tt.share, addr)
			if got := g.Shared(); got.IsValid() != tt.shared || tt.shared && got != addr.Unmap() {
				t.Errorf("the shared address is %v", got)
			}
			if got := g.Seen(addr); got != tt.shared && tt.n != natLeast-1 {
				t.Errorf("the next client with it shares it: %v", got)
			}
			if g.Seen(world(7)) || g.Seen(netip.Addr{}) {
				t.Error("another client, or none, is taken for one that shares the address")
			}
		})
	}
}

func TestASuspicionLastsUntilTheOthersAreTheMajority(t *testing.T) {
	log := new(testkit.Log)
	g := NewNATGuard(log.Logger())
	see(g, 300, 100, gateway)
	for i := range natWindow/2 - 1 {
		g.Seen(world(i))
	}
	if g.Shared() != gateway {
		t.Error("half of the connections from elsewhere lift the suspicion")
	}
	for i := range 10 {
		g.Seen(world(i))
	}
	if g.Shared().IsValid() {
		t.Error("the suspicion outlasts the gateway's majority")
	}
	see(g, 300, 100, netip.MustParseAddr("10.0.2.2"))
	if got := log.String(); strings.Count(got, "\n") != 3 || !log.Has("client=10.0.2.2") || !log.Has("are seen again") {
		t.Errorf("expected a line when it begins, ends, and begins again:\n%s", got)
	}
}

// TestOneClientDoesNotEndASuspicion, nor keep it from beginning, however often it connects.
func TestOneClientDoesNotEndASuspicion(t *testing.T) {
	g := NewNATGuard(slog.New(slog.DiscardHandler))
	stranger := netip.MustParsePrefix("2001:db8:7::/48").Addr()
	for i := range 20 * natWindow {
		for range 20 {
			stranger = stranger.Next() // all within its network
			if g.Seen(stranger) {
				t.Fatal("the stranger itself is suspect")
			}
			g.Seen(netip.MustParseAddr("203.0.113.8"))
		}
		if shared := g.Seen(gateway); !shared && i >= natWindow {
			t.Fatalf("after %d connections through the gateway it is not suspect", i+1)
		}
	}
}

// The memory of a guard does not grow with the number of clients.
func TestAGuardRemembersTheLastConnectionsOnly(t *testing.T) {
	g := NewNATGuard(slog.New(slog.DiscardHandler))
	for i := range 100_000 {
		g.Seen(world(i))
	}
	sum := 0
	for _, n := range g.filter.counts {
		sum += n
	}
	if len(g.filter.counts) > natWindow || sum != natWindow {
		t.Errorf("%d addresses are counted, with %d connections", len(g.filter.counts), sum)
	}
}

func TestAGuardIsSafeForConcurrentUseAndNoneSuspectsNothing(t *testing.T) {
	g := NewNATGuard(slog.New(slog.DiscardHandler))
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() { see(g, 500, 97, gateway) })
	}
	running.Wait()
	if g.Shared() != gateway {
		t.Errorf("the shared address is %v", g.Shared())
	}
	var none *NATGuard
	if none.Seen(gateway) || none.Shared().IsValid() {
		t.Error("a guard that there is not suspects something")
	}
}

func BenchmarkNATGuard(b *testing.B) {
	g := NewNATGuard(slog.New(slog.DiscardHandler))
	clients := make([]netip.Addr, 1000)
	for i := range clients {
		clients[i] = netip.MustParseAddr("203.0.113." + strconv.Itoa(i%250))
	}
	for i := 0; b.Loop(); i++ {
		g.Seen(clients[i%1000])
	}
}

// TestBothDoorsAreCountedForThemselves: an MTA with both doors counts each client once at
// each, and one without a filter is told of, too.
func TestBothDoorsAreCountedForThemselves(t *testing.T) {
	log := new(testkit.Log)
	g := NewNATGuard(log.Logger())
	for range natLeast - 1 {
		g.Seen(gateway)
		g.SeenAtMap(gateway)
	}
	if g.Shared().IsValid() {
		t.Errorf("%d clients that were seen at both doors tell what %d must", natLeast-1, natLeast)
	}
	g.SeenAtMap(gateway)
	if g.Shared() != gateway {
		t.Error("the map door's connections tell nothing")
	}
	for i := range natWindow {
		g.Seen(world(i))
	}
	if g.Shared() != gateway {
		t.Error("the connections of one door lift what those of the other tell")
	}
	for i := range natWindow {
		g.SeenAtMap(world(i))
	}
	if g.Shared().IsValid() {
		t.Errorf("the suspicion is not lifted:\n%s", log)
	}
	if n := strings.Count(log.String(), "nearly all clients have one private address"); n != 1 {
		t.Errorf("it was logged %d times:\n%s", n, log)
	}
}
