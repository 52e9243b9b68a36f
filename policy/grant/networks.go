package grant

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// named are the kinds of networks that Exclude can name by a word.
var named = []struct {
	name     string
	networks []netip.Prefix
}{
	{"loopback", prefixes("127.0.0.0/8", "::1/128")},
	{"private", prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")},
	{"link-local", prefixes("169.254.0.0/16", "fe80::/10")},
	{"cgnat", prefixes("100.64.0.0/10")},
}

// never are addresses that no client has: unspecified, this network, multicast,
// reserved.
var never = prefixes("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// NetworkNames are the words for networks that Networks knows.
func NetworkNames() []string {
	var names []string
	for _, n := range named {
		names = append(names, n.name)
	}
	return names
}

// Networks are the networks that a word stands for: loopback (127.0.0.0/8, ::1),
// private (RFC 1918, RFC 4193, and the site-local ones of RFC 3879), link-local (RFC 3927, RFC 4291) and cgnat, which
// carriers use before their NATs (RFC 6598).
func Networks(name string) ([]netip.Prefix, bool) {
	for _, n := range named {
		if n.name == name {
			return slices.Clone(n.networks), true
		}
	}
	return nil, false
}

// DefaultExclude are the networks of all these words. This machine's own
// addresses come with Config.Own.
func DefaultExclude() []netip.Prefix {
	var all []netip.Prefix
	for _, n := range named {
		all = append(all, n.networks...)
	}
	return all
}

// networks says which addresses can hold a grant.
type networks struct {
	exclude bart.Table[string]
	require bart.Lite
	// narrow: require is not empty.
	narrow bool
}

func newNetworks(exclude, require []netip.Prefix) *networks {
	n := &networks{narrow: len(require) > 0}
	for _, p := range exclude {
		n.exclude.Insert(p.Masked(), fmt.Sprintf("excluded network %v", p.Masked()))
	}
	for _, kind := range named {
		for _, p := range kind.networks {
			if _, ok := n.exclude.Get(p); ok {
				n.exclude.Insert(p, fmt.Sprintf("%s network %v", kind.name, p))
			}
		}
	}
	for _, p := range never {
		n.exclude.Insert(p, "not an address of a client")
	}
	for _, p := range require {
		n.require.Insert(p.Masked())
	}
	return n
}

// excluded says why an address can hold no grant; empty if it can.
func (n *networks) excluded(addr netip.Addr) string {
	if why, ok := n.exclude.Lookup(addr); ok {
		return why
	}
	if inner, ok := embedded(addr); ok {
		if why, ok := n.exclude.Lookup(inner); ok {
			return fmt.Sprintf("%s, as %v", why, inner)
		}
	}
	if n.narrow && !n.require.Lookup(addr) {
		return "outside the required networks"
	}
	return ""
}

// embedding are the networks of IPv6 whose addresses have an IPv4 address in them, and
// where it stands in their octets: NAT64 (RFC 6052, RFC 8215), IPv4-compatible (RFC 4291
// section 2.5.5.1), IPv4-translated (RFC 2765) and 6to4 (RFC 3056). Mapped addresses do
// not get here: see Canonical.
var embedding = []struct {
	network netip.Prefix
	octet   int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// embedded is the IPv4 address in an IPv6 address.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() || addr.IsLoopback() {
		return netip.Addr{}, false
	}
	for _, e := range embedding {
		if e.network.Contains(addr) {
			octets := addr.As16()
			return netip.AddrFrom4([4]byte(octets[e.octet:])), true
		}
	}
	return netip.Addr{}, false
}
