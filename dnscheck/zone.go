package dnscheck

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// zoneTTL is the time to live of a line's record that does not name one, in seconds.
const zoneTTL = 300

// Zone is a small part of the DNS, as lines in recorded sessions and in tests describe
// it: resource records in the master file format of RFC 1035 section 5, and words that
// take the place of an answer.
type Zone struct {
	Records map[Question][]dns.RR
	// Words holds the words of a question, in the order of their lines. A word for every
	// type of a name has type dns.TypeNone.
	Words map[Question][]string
}

// ParseZone reads lines. Names are absolute, with or without the final dot. A line
// is a record, or NAME [TYPE] WORD with a word that isWord knows; an empty line
// and one that begins with a semicolon are nothing.
func ParseZone(lines []string, isWord func(string) bool) (*Zone, error) {
	z := &Zone{Records: make(map[Question][]dns.RR), Words: make(map[Question][]string)}
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, ";") {
			continue
		}
		if err := z.add(line, isWord); err != nil {
			return nil, fmt.Errorf("dns line %d %q: %w", i+1, line, err)
		}
	}
	return z, nil
}

func (z *Zone) add(line string, isWord func(string) bool) error {
	if rr, ok := plainRecord(line); ok {
		z.file(rr)
		return nil
	}
	if q, word, ok, err := parseWord(line, isWord); ok || err != nil {
		if err == nil {
			z.Words[q] = append(z.Words[q], word)
		}
		return err
	}
	// A $ directive would make the parser read files or repeat itself, and a
	// second line would be dropped without a word.
	if strings.HasPrefix(line, "$") {
		return errors.New("directives are not supported, expected a record or a fault")
	}
	if strings.ContainsAny(line, "\r\n") {
		return errors.New("expected a single line")
	}
	parser := dns.NewZoneParser(strings.NewReader(line), ".", "")
	parser.SetDefaultTTL(zoneTTL)
	rr, ok := parser.Next()
	if err := parser.Err(); err != nil {
		return fmt.Errorf("expected a resource record or a fault: %w", err)
	}
	if !ok {
		return errors.New("expected a resource record or a fault")
	}
	if rr.Header().Class != dns.ClassINET {
		return errors.New("expected a record of class IN")
	}
	z.file(rr)
	return nil
}

func (z *Zone) file(rr dns.RR) {
	q := Question{zoneName(rr.Header().Name), rr.Header().Rrtype}
	z.Records[q] = append(z.Records[q], rr)
}

// zoneName is dns.CanonicalName, which is slow for what is canonical already.
func zoneName(name string) string {
	if plain, ok := plainName(name); ok {
		return plain
	}
	return dns.CanonicalName(name)
}

// parseWord recognises NAME [TYPE] WORD.
func parseWord(line string, isWord func(string) bool) (q Question, word string, ok bool, err error) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return Question{}, "", false, errors.New("expected a name and a fault, or a resource record")
	}
	word = fields[len(fields)-1]
	if len(fields) > 3 || !isWord(word) {
		return Question{}, "", false, nil
	}
	q = Question{zoneName(fields[0]), dns.TypeNone}
	if len(fields) == 3 {
		qtype, known := dns.StringToType[fields[1]]
		if !known {
			return Question{}, "", false, fmt.Errorf("%q is not a record type", fields[1])
		}
		q.Type = qtype
	}
	return q, word, true, nil
}

// WordsFor are the words for a name and type, then those for every type of the
// name.
func (z *Zone) WordsFor(q Question) []string {
	return append(z.Words[q][:len(z.Words[q]):len(z.Words[q])], z.Words[Question{q.Name, dns.TypeNone}]...)
}

// plainRecord reads NAME [TTL] [IN] TYPE DATA without quotes, escapes or anything
// else that is special; false if the line is not of that kind. A session that is
// replayed has its answers read first, and nearly all of them are such: this takes a
// tenth of the time that the full zone parser does, which has the rest.
func plainRecord(line string) (dns.RR, bool) {
	name, rest := cutWord(line)
	owner, ok := plainName(name)
	if !ok {
		return nil, false
	}
	header := dns.RR_Header{Name: owner, Class: dns.ClassINET, Ttl: zoneTTL}
	kind, rest := cutWord(rest)
	if ttl, ok := plainNumber(kind, 31); ok {
		header.Ttl = uint32(ttl)
		kind, rest = cutWord(rest)
	}
	if kind == "IN" {
		kind, rest = cutWord(rest)
	}
	data, rest := cutWord(rest)
	header.Rrtype = dns.StringToType[kind]
	switch kind {
	case "A":
		addr, err := netip.ParseAddr(data)
		return &dns.A{Hdr: header, A: addr.AsSlice()}, err == nil && addr.Is4() && rest == ""
	case "AAAA":
		addr, err := netip.ParseAddr(data)
		return &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()}, err == nil && addr.Is6() && addr.Zone() == "" && rest == ""
	case "PTR":
		host, ok := plainName(data)
		return &dns.PTR{Hdr: header, Ptr: host}, ok && rest == ""
	case "MX":
		preference, ok := plainNumber(data, 16)
		host, more := cutWord(rest)
		mx, named := plainName(host)
		return &dns.MX{Hdr: header, Preference: uint16(preference), Mx: mx}, ok && named && more == ""
	}
	return nil, false
}

func cutWord(line string) (first, rest string) {
	end := strings.IndexAny(line, " \t")
	if end < 0 {
		return line, ""
	}
	return line[:end], strings.TrimLeft(line[end:], " \t")
}

// plainNumber reads a decimal number of so many bits.
func plainNumber(s string, bits int) (n uint64, ok bool) {
	n, err := strconv.ParseUint(s, 10, bits)
	return n, err == nil
}

// plainName is an absolute name in lower case with its final dot; false if it
// has one label only, which might be another word of a zone file, or anything but
// letters, digits, hyphens and underscores between its dots.
func plainName(s string) (name string, ok bool) {
	name, plain, ok := scanName(s)
	return name, ok && plain && name != "." && strings.Contains(s, ".")
}
