package dnstest

import (
	"github.com/miekg/dns"

	"milterd/dnscheck"
)

// maxAliases bounds how many CNAME records one answer follows.
const maxAliases = 8

// fault makes the answer to a query that asks for trouble; a nil answer is
// none at all.
type fault func(query *dns.Msg) *dns.Msg

// faults are the words that may stand where a record's data would, and take the
// place of the answer. To teach the server a new way to fail, add a word here.
var faults = map[string]fault{
	"NXDOMAIN": negative(dns.RcodeNameError),
	"NODATA":   negative(dns.RcodeSuccess),
	"TIMEOUT":  func(*dns.Msg) *dns.Msg { return nil },
	"SERVFAIL": refusal(dns.RcodeServerFailure),
	"REFUSED":  refusal(dns.RcodeRefused),
	"FORMERR":  refusal(dns.RcodeFormatError),
	"NOTIMP":   refusal(dns.RcodeNotImplemented),
}

// negative answers with the given code and the SOA record that lets a
// resolver cache it (RFC 2308 section 3).
func negative(rcode int) fault {
	return func(query *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetRcode(query, rcode)
		m.Authoritative = true
		m.RecursionAvailable = true
		m.Ns = []dns.RR{&dns.SOA{
			Hdr:     dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
			Ns:      "ns.invalid.",
			Mbox:    "hostmaster.invalid.",
			Serial:  1,
			Refresh: 3600, Retry: 600, Expire: 86400, Minttl: 60,
		}}
		return m
	}
}

// refusal answers with the given code and nothing else.
func refusal(rcode int) fault {
	return func(query *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetRcode(query, rcode)
		m.RecursionAvailable = true
		return m
	}
}

// zone is what a server knows. It is built once and never changed.
type zone struct {
	*dnscheck.Zone
	// exists holds every name that has records, and the names above it: those
	// exist too, with no records of their own (RFC 8020).
	exists  map[string]bool
	unknown fault
}

// parseZone reads the lines of a server.
func parseZone(lines []string, unknown Unknown) (*zone, error) {
	parsed, err := dnscheck.ParseZone(lines, func(word string) bool {
		return faults[word] != nil || isTrick(word)
	})
	if err != nil {
		return nil, err
	}
	z := &zone{Zone: parsed, exists: make(map[string]bool), unknown: negative(dns.RcodeNameError)}
	if unknown == UnknownTimeout {
		z.unknown = faults["TIMEOUT"]
	}
	for q := range z.Records {
		for name, end := q.Name, false; !end; {
			z.exists[name] = true
			var next int
			next, end = dns.NextLabel(name, 0)
			name = name[next:]
		}
	}
	return z, nil
}

// answer is the reply to a query, nil for none at all.
func (z *zone) answer(query *dns.Msg) *dns.Msg {
	asked := dnscheck.Question{Name: dns.CanonicalName(query.Question[0].Name), Type: query.Question[0].Qtype}
	var found []dns.RR
	for range maxAliases {
		if f := z.fault(asked); f != nil {
			return f(query)
		}
		records, target := z.lookup(asked)
		found = append(found, records...)
		if target != "" {
			asked.Name = target
			continue
		}
		if len(records) > 0 {
			m := new(dns.Msg).SetReply(query)
			m.Authoritative = true
			m.RecursionAvailable = true
			m.Answer = found
			return m
		}
		return z.missing(query, asked.Name, found)
	}
	return refusal(dns.RcodeServerFailure)(query)
}

// lookup finds the records for a question; target is where an alias leads.
func (z *zone) lookup(q dnscheck.Question) (records []dns.RR, target string) {
	if records = z.Records[q]; len(records) > 0 {
		return records, ""
	}
	if records = z.Records[dnscheck.Question{Name: q.Name, Type: dns.TypeCNAME}]; len(records) > 0 {
		if alias, ok := records[0].(*dns.CNAME); ok {
			return records[:1], dns.CanonicalName(alias.Target)
		}
	}
	return nil, ""
}

// missing is the answer if nothing was found, at the name asked for or at
// the end of the aliases that led to name.
func (z *zone) missing(query *dns.Msg, name string, aliases []dns.RR) *dns.Msg {
	f := z.unknown
	if z.exists[name] {
		f = negative(dns.RcodeSuccess)
	}
	m := f(query)
	if m != nil {
		m.Answer = aliases
	}
	return m
}

// fault is what was asked for a name and type, or for every type of the name.
func (z *zone) fault(q dnscheck.Question) fault {
	for _, word := range z.WordsFor(q) {
		if f := faults[word]; f != nil {
			return f
		}
	}
	return nil
}
