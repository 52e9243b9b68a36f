package dnstest

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// maxAliases bounds how many CNAME records one answer follows.
const maxAliases = 8

// question is what lines, faults and counters are filed under. A fault for
// every type of a name has type dns.TypeNone.
type question struct {
	name  string
	qtype uint16
}

// fault makes the answer to a query that asks for trouble; a nil answer is
// none at all.
type fault func(query *dns.Msg) *dns.Msg

// faults are the words that may stand where a record's data would. To teach
// the server a new way to fail, add a word here.
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
	records map[question][]dns.RR
	faults  map[question]fault
	// exists holds every name that has records, and the names above it: those
	// exist too, with no records of their own (RFC 8020).
	exists  map[string]bool
	unknown fault
}

// parseZone reads the lines of a server.
func parseZone(lines []string, unknown Unknown) (*zone, error) {
	z := &zone{
		records: make(map[question][]dns.RR),
		faults:  make(map[question]fault),
		exists:  make(map[string]bool),
		unknown: negative(dns.RcodeNameError),
	}
	if unknown == UnknownTimeout {
		z.unknown = faults["TIMEOUT"]
	}
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, ";") {
			continue
		}
		if err := z.add(line); err != nil {
			return nil, fmt.Errorf("dns line %d %q: %w", i+1, line, err)
		}
	}
	return z, nil
}

// add files one line.
func (z *zone) add(line string) error {
	if q, f, ok, err := parseFault(line); ok || err != nil {
		if err == nil {
			z.faults[q] = f
		}
		return err
	}
	// A $ directive would make the parser read files or repeat itself.
	if strings.HasPrefix(line, "$") {
		return fmt.Errorf("directives are not supported, expected a record or a fault")
	}
	parser := dns.NewZoneParser(strings.NewReader(line), ".", "")
	parser.SetDefaultTTL(300)
	rr, ok := parser.Next()
	if err := parser.Err(); err != nil {
		return fmt.Errorf("expected a resource record or a fault: %w", err)
	}
	if !ok {
		return fmt.Errorf("expected a resource record or a fault")
	}
	name := dns.CanonicalName(rr.Header().Name)
	q := question{name, rr.Header().Rrtype}
	z.records[q] = append(z.records[q], rr)
	for {
		z.exists[name] = true
		next, end := dns.NextLabel(name, 0)
		if end {
			return nil
		}
		name = name[next:]
	}
}

// parseFault recognises NAME [TYPE] FAULT.
func parseFault(line string) (q question, f fault, ok bool, err error) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return question{}, nil, false, fmt.Errorf("expected a name and a fault, or a resource record")
	}
	f, ok = faults[fields[len(fields)-1]]
	if !ok || len(fields) > 3 {
		return question{}, nil, false, nil
	}
	q = question{name: dns.CanonicalName(fields[0]), qtype: dns.TypeNone}
	if len(fields) == 3 {
		qtype, known := dns.StringToType[fields[1]]
		if !known {
			return question{}, nil, false, fmt.Errorf("%q is not a record type", fields[1])
		}
		q.qtype = qtype
	}
	return q, f, true, nil
}

// answer is the reply to a query, nil for none at all.
func (z *zone) answer(query *dns.Msg) *dns.Msg {
	asked := question{dns.CanonicalName(query.Question[0].Name), query.Question[0].Qtype}
	var found []dns.RR
	for range maxAliases {
		if f := z.fault(asked); f != nil {
			return f(query)
		}
		records, target := z.lookup(asked)
		found = append(found, records...)
		if target != "" {
			asked.name = target
			continue
		}
		if len(records) > 0 {
			m := new(dns.Msg).SetReply(query)
			m.Authoritative = true
			m.RecursionAvailable = true
			m.Answer = found
			return m
		}
		return z.missing(query, asked.name, found)
	}
	return refusal(dns.RcodeServerFailure)(query)
}

// lookup finds the records for a question; target is where an alias leads.
func (z *zone) lookup(q question) (records []dns.RR, target string) {
	if records = z.records[q]; len(records) > 0 {
		return records, ""
	}
	if records = z.records[question{q.name, dns.TypeCNAME}]; len(records) > 0 {
		if alias, ok := records[0].(*dns.CNAME); ok {
			return records[:1], dns.CanonicalName(alias.Target)
		}
	}
	return nil, ""
}

// missing is the answer where nothing was found, at the name asked for or at
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
func (z *zone) fault(q question) fault {
	if f := z.faults[q]; f != nil {
		return f
	}
	return z.faults[question{q.name, dns.TypeNone}]
}
