package dnscheck

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

const (
	// maxName is the longest name in text, with its final dot: 255 octets on the
	// wire, less the length octet of the first label (RFC 1035 section 2.3.4).
	maxName  = 254
	maxLabel = 63
)

// Question is what is asked and remembered.
type Question struct {
	Name string // canonical: in lower case, with its final dot
	Type uint16
}

// canonicalName is the name in lower case with its final dot. It is false for a
// string that is no domain name, or one whose characters would need escaping in
// a zone file: no name that mail uses has any.
func canonicalName(name string) (string, bool) {
	name, _, ok := scanName(name)
	return name, ok
}

// scanName is canonicalName. plain says that the name has no other characters than
// those of host names, underscores and dots.
func scanName(name string) (canonical string, plain, ok bool) {
	length, label, upper := len(name), 0, false
	plain = true
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			label++
		case c == '.':
			if label == 0 && name != "." {
				return "", false, false
			}
			label = 0
		case 'A' <= c && c <= 'Z':
			upper = true
			label++
		case c <= ' ' || c > '~' || strings.IndexByte(`\"();@$`, c) >= 0:
			return "", false, false
		default:
			plain = false
			label++
		}
		if label > maxLabel {
			return "", false, false
		}
	}
	if label > 0 {
		length++
	}
	if name == "" || length > maxName {
		return "", false, false
	}
	if upper {
		name = strings.ToLower(name)
	}
	if label > 0 {
		name += "."
	}
	return name, plain, true
}

// canonicalTarget is a name as a record's data has it: lower case, final dot,
// and one spelling for what is escaped.
func canonicalTarget(name string) (string, bool) {
	if strings.IndexByte(name, '\\') < 0 {
		if canonical, ok := canonicalName(name); ok {
			return canonical, true
		}
	}
	var wire [maxName + 2]byte
	n, err := dns.PackDomainName(dns.Fqdn(name), wire[:], 0, nil, false)
	if err != nil {
		return "", false
	}
	name, _, err = dns.UnpackDomainName(wire[:n], 0)
	if err != nil {
		return "", false
	}
	return asciiLower(name), true
}

// asciiLower folds A to Z, as the DNS compares names (RFC 4343), and nothing else.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// hostName is the canonical name if it can be the name of a host: letters,
// digits, hyphens and, as is common, underscores; two labels or more; the last
// one not a number (RFC 1123 section 2.1, RFC 3696 section 2).
func hostName(name string) (string, bool) {
	name, plain, ok := scanName(name)
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	if !ok || len(labels) < 2 || !plain {
		return "", false
	}
	for _, label := range labels {
		if label[0] == '-' || label[len(label)-1] == '-' {
			return "", false
		}
	}
	return name, strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// hostCharacters says that a name in lower case has no other characters than
// those of host names, underscores and dots.
func hostCharacters(name string) bool {
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

const hexDigits = "0123456789abcdef"

// reverseLabels is the address as reverse zones and lists are asked for it: the
// four octets of an IPv4 address or the 32 nibbles of an IPv6 address, last one
// first, each followed by a dot.
func reverseLabels(addr netip.Addr) string {
	addr = addr.Unmap()
	if addr.Is4() {
		b := addr.As4()
		return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}).String() + "."
	}
	return nibbles(addr.As16())
}

func nibbles(b [16]byte) string {
	var labels [64]byte
	for i := range b {
		octet := b[len(b)-1-i]
		labels[4*i] = hexDigits[octet&0xf]
		labels[4*i+1] = '.'
		labels[4*i+2] = hexDigits[octet>>4]
		labels[4*i+3] = '.'
	}
	return string(labels[:])
}

// ReverseName is the name whose PTR records name the host at the address
// (RFC 1035 section 3.5, RFC 3596 section 2.5).
func ReverseName(addr netip.Addr) string {
	if addr.Unmap().Is4() {
		return reverseLabels(addr) + "in-addr.arpa."
	}
	return reverseLabels(addr) + "ip6.arpa."
}

// notPublic are the networks that netip takes for the public network, and whose
// addresses mean nothing outside of a host or a site (RFC 6890). The networks set aside
// for documentation are not among them: nothing uses them but examples and tests, and
// there they stand for the public network.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),     // this network (RFC 1122)
	netip.MustParsePrefix("100.64.0.0/10"), // carrier-grade NAT (RFC 6598)
	netip.MustParsePrefix("240.0.0.0/4"),   // reserved
	netip.MustParsePrefix("fec0::/10"),     // site-local (RFC 3879)
}

// Public says whether an address belongs to the public network: not loopback,
// private, link-local, multicast or behind a carrier's NAT.
func Public(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	in := func(network netip.Prefix) bool { return network.Contains(addr) }
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !slices.ContainsFunc(notPublic, in)
}
