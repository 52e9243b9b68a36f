package zonefile

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// A session that is replayed has its answers read first, and nearly all of them are
// plain: a host name and a record of an address, a name or a mail host. Reading
// those here takes a tenth of the time that the full zone parser does; whatever is
// not plain is left to it.

// plainRecord reads NAME [TTL] [IN] TYPE DATA without quotes, escapes or anything
// else that is special; false if the line is not of that kind.
func plainRecord(line string) (dns.RR, bool) {
	name, rest := word(line)
	owner, ok := plainName(name)
	if !ok {
		return nil, false
	}
	header := dns.RR_Header{Name: owner, Class: dns.ClassINET, Ttl: defaultTTL}
	kind, rest := word(rest)
	if ttl, ok := plainNumber(kind, 31); ok {
		header.Ttl = uint32(ttl)
		kind, rest = word(rest)
	}
	if kind == "IN" {
		kind, rest = word(rest)
	}
	data, rest := word(rest)
	switch kind {
	case "A", "AAAA":
		addr, err := netip.ParseAddr(data)
		if err != nil || rest != "" || addr.Zone() != "" || addr.Is4() != (kind == "A") {
			return nil, false
		}
		if kind == "A" {
			header.Rrtype = dns.TypeA
			return &dns.A{Hdr: header, A: addr.AsSlice()}, true
		}
		header.Rrtype = dns.TypeAAAA
		return &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()}, true
	case "PTR":
		host, ok := plainName(data)
		header.Rrtype = dns.TypePTR
		return &dns.PTR{Hdr: header, Ptr: host}, ok && rest == ""
	case "MX":
		preference, ok := plainNumber(data, 16)
		host, more := word(rest)
		mx, named := plainName(host)
		header.Rrtype = dns.TypeMX
		return &dns.MX{Hdr: header, Preference: uint16(preference), Mx: mx}, ok && named && more == ""
	}
	return nil, false
}

// word cuts the first word off a line.
func word(line string) (first, rest string) {
	end := strings.IndexAny(line, " \t")
	if end < 0 {
		return line, ""
	}
	return line[:end], strings.TrimLeft(line[end:], " \t")
}

// plainNumber reads a decimal number of so many bits.
func plainNumber(s string, bits int) (n uint64, ok bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, bits)
	return n, err == nil
}

// plainName is an absolute name in lower case with its final dot; false if it
// has one label only, which might be another word of a zone file, or anything but
// letters, digits, hyphens and underscores between its dots.
func plainName(s string) (name string, ok bool) {
	const maxName, maxLabel = 254, 63
	upper, label := false, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return "", false
			}
			label = 0
			continue
		case 'A' <= c && c <= 'Z':
			upper = true
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", false
		}
		if label++; label > maxLabel {
			return "", false
		}
	}
	if s == "" || len(s) >= maxName || !strings.Contains(s, ".") {
		return "", false
	}
	if upper {
		s = strings.ToLower(s)
	}
	if label > 0 {
		s += "."
	}
	return s, true
}
