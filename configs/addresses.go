package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"milterd/milter/door"
)

// valid makes a check of what parses a text.
func valid[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		_, err := parse(s)
		return err
	}
}

func checkLocal(s string) error {
	if !strings.HasPrefix(s, "local:") && !strings.HasPrefix(s, "unix:") {
		return fmt.Errorf("%s, expected local:/path: whoever can connect can grant", quote(s))
	}
	return valid(door.ParseAddress)(s)
}

func checkLoopback(s string) error {
	address, err := door.ParseAddress(s)
	if err == nil && !address.Loopback() {
		return fmt.Errorf("%s can be reached from other machines, expected a loopback address such as inet:4001@127.0.0.1, or local:/path", quote(s))
	}
	return err
}

// LeadsTo reports whether one of milterd's addresses may be what sendmail connects
// to.
func LeadsTo(own []string, socket string) bool {
	theirs, err := door.ParseSendmail(socket)
	return err == nil && slices.ContainsFunc(own, func(s string) bool {
		address, err := door.ParseAddress(s)
		return err == nil && address.MayBeSame(theirs)
	})
}

// isPort reports whether s is a port number in decimal without leading zeros.
func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 1 && n <= 65535 && strconv.Itoa(n) == s
}

func checkHostname(s string) error {
	if !door.IsHostName(s) || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
		return fmt.Errorf("%s, expected a host name such as mx.example.test", quote(s))
	}
	return nil
}

func checkClassEntry(s string) error {
	if strings.HasPrefix(s, "/") {
		return nil
	}
	inside := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		inside = s[1 : len(s)-1]
	}
	switch {
	case s == "":
		return errors.New("an empty entry, expected a name or /FILE")
	case strings.Contains(s, "/") && startsNetwork(s):
		return fmt.Errorf("%s: a class holds no prefix lengths; write the whole octets (203.0.113), or Connect:%s RELAY in the access table", quote(s), s)
	case strings.Contains(s, "@"):
		return fmt.Errorf("%s is an address, expected a name", quote(s))
	case !door.IsHostName(strings.ReplaceAll(inside, ":", ".")):
		return fmt.Errorf("%s is no host name or network, expected those or /FILE", quote(s))
	}
	return nil
}

// startsNetwork reports whether an address, or its first octets, stand before the / in s.
func startsNetwork(s string) bool {
	address, _, _ := strings.Cut(s, "/")
	address = strings.TrimPrefix(strings.Trim(address, "[]"), "IPv6:")
	_, err := netip.ParseAddr(address)
	return err == nil || address != "" && strings.Trim(address, "0123456789.") == ""
}

// parseNetwork reads a network, or a single address as one of a single address.
func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%s, expected a network such as 203.0.113.0/24 or 2001:db8::/32, or a single address", quote(s))
	case p.Addr().Is4In6() && p.Bits() >= 96:
		return p, fmt.Errorf("%s is an IPv4 network, write %s", quote(s), netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked())
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits beyond its prefix length, the network is %s", quote(s), p.Masked())
	}
	return p, nil
}

func networks(to *[]netip.Prefix) func(value) {
	return networksOr(func(_ []string, networks []netip.Prefix) { *to = networks })
}

// networksOr takes a list of networks, single addresses and some words.
func networksOr(set func(words []string, networks []netip.Prefix), words ...string) func(value) {
	return func(v value) {
		var found []string
		var networks []netip.Prefix
		list(new([]string), func(s string) error {
			if slices.Contains(words, s) {
				found = append(found, s)
				return nil
			}
			p, err := parseNetwork(s)
			switch {
			case err == nil:
				networks = append(networks, p)
			case len(words) > 0 && !strings.ContainsAny(s, "/:."):
				return fmt.Errorf("%s, %s", quote(s), meant(s, words, strings.Join(words, ", ")+", or a network such as 203.0.113.0/24"))
			}
			return err
		})(v)
		set(found, networks)
	}
}

// everybody reports whether networks, taken together, hold every address of IPv4, or
// every one that a host on the Internet can have over IPv6 (RFC 4291 section 2.4).
func everybody(networks []netip.Prefix) bool {
	return covers(networks, netip.MustParsePrefix("0.0.0.0/0")) || covers(networks, netip.MustParsePrefix("2000::/3"))
}

// covers reports whether networks, taken together, hold every address of another one.
func covers(networks []netip.Prefix, whole netip.Prefix) bool {
	var inside []netip.Prefix
	for _, network := range networks {
		if !network.Overlaps(whole) {
			continue
		}
		if network.Bits() <= whole.Bits() {
			return true
		}
		inside = append(inside, network)
	}
	if len(inside) == 0 {
		return false
	}
	low, high := halves(whole)
	return covers(inside, low) && covers(inside, high)
}

// halves are the two networks of one more bit; there has to be one.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	octets := p.Addr().AsSlice()
	octets[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	addr, _ := netip.AddrFromSlice(octets)
	return netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(addr, p.Bits()+1)
}

// overlaps reports whether a network of one list has addresses of one in the other.
func overlaps(a, b []netip.Prefix) bool {
	return slices.ContainsFunc(a, func(p netip.Prefix) bool { return slices.ContainsFunc(b, p.Overlaps) })
}
