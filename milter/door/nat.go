package door

import (
	"log/slog"
	"net/netip"
	"sync"
)

// Bounds of a NATGuard.
const (
	// In connections.
	natWindow, natLeast, natOfOne = 200, 50, 3
	// In percent of them. The gap is wide, as a client with many addresses could lift the
	// suspicion otherwise.
	natSuspect, natCleared = 95, 50
)

// NATGuard finds out that clients come to the MTA through something that hides their
// addresses: address translation, the bridge of a container network, a load balancer.
// They all have one address then, and an entry that lets this address or its network
// relay would let anyone relay; what the DNS says of it says nothing of them.
//
// The rule: of the last 200 connections, or of all since the start once there are 50,
// at least 95 in a hundred came from one private, carrier-grade (100.64.0.0/10) or
// link-local address. It holds until fewer than half do. Of one public address, or IPv6
// /48, three of them count, as it could hide by itself that all others share an address;
// connections of this host to itself do not count. Each door counts its own connections, so
// an MTA that has both open does not count twice; what one door sees holds at both.
//
// A nil guard suspects nothing. Its methods are safe for concurrent use.
type NATGuard struct {
	logger *slog.Logger

	mu     sync.Mutex
	shared netip.Addr
	// by are the connections that tell of shared.
	by           *natConnections
	filter, maps natConnections
}

type natConnections struct {
	last [natWindow]netip.Addr
	// seen counts the connections, counts those of each address in last.
	seen   int
	counts map[netip.Addr]int
}

// NewNATGuard makes a guard that has seen nothing. It logs to logger when its suspicion
// begins and when it ends.
func NewNATGuard(logger *slog.Logger) *NATGuard {
	g := &NATGuard{logger: logger}
	g.filter.counts, g.maps.counts = make(map[netip.Addr]int), make(map[netip.Addr]int)
	return g
}

// Seen notes a connection from a client at the filter door, and reports whether the
// client's address is one that nearly all clients share.
func (g *NATGuard) Seen(client netip.Addr) bool {
	return g != nil && g.note(&g.filter, client)
}

// SeenAtMap notes a connection from a client at the map door.
func (g *NATGuard) SeenAtMap(client netip.Addr) {
	if g != nil {
		g.note(&g.maps, client)
	}
}

func (g *NATGuard) note(to *natConnections, client netip.Addr) (shared bool) {
	client = client.Unmap().WithZone("")
	if !client.IsValid() || client.IsLoopback() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	one := client
	if !mayHide(client) {
		if client.Is6() {
			one = netip.PrefixFrom(client, 48).Masked().Addr()
		}
		if to.counts[one] >= natOfOne {
			return false
		}
	}
	to.add(one)
	g.judge(to, one)
	return client == g.shared
}

func (c *natConnections) add(client netip.Addr) {
	place := &c.last[c.seen%natWindow]
	if c.seen >= natWindow {
		if c.counts[*place]--; c.counts[*place] == 0 {
			delete(c.counts, *place)
		}
	}
	*place = client
	c.counts[client]++
	c.seen++
}

// judge looks at the address whose share has grown, and at the one that is suspect.
func (g *NATGuard) judge(of *natConnections, grown netip.Addr) {
	counted := min(of.seen, natWindow)
	if g.shared.IsValid() && of == g.by && 100*of.counts[g.shared] < natCleared*counted {
		g.logger.Info("the clients' own addresses are seen again: reverse DNS, DNS lists and relaying by address are in force for all", "before", g.shared.String())
		g.shared = netip.Addr{}
	}
	if g.shared.IsValid() || counted < natLeast || 100*of.counts[grown] < natSuspect*counted || !mayHide(grown) {
		return
	}
	g.shared, g.by = grown, of
	g.logger.Warn("nearly all clients have one private address, so something hides their own (NAT, a bridge, a load balancer): "+
		"reverse DNS, address lists and relaying by address are suspended for it; let the MTA see the clients' addresses, "+
		"or set nat_guard: off if this is one host that may relay", "client", grown.String(), "connections", counted)
}

// carrierGrade are the addresses of RFC 6598.
var carrierGrade = netip.MustParsePrefix("100.64.0.0/10")

// mayHide reports whether an address is one that others may be hidden behind. A public
// one is known by its name and its listings as any other.
func mayHide(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || carrierGrade.Contains(a)
}

// Shared is the address that nearly all clients have; invalid if there is none.
func (g *NATGuard) Shared() netip.Addr {
	if g == nil {
		return netip.Addr{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shared
}
