// Package dnscheck asks the DNS what a mail policy wants to know about a client
// and a sender: whether the client's name and address belong together (iprev,
// RFC 8601), whether an address or a name is on a block list or an allow list
// (RFC 5782), and whether a sender's domain can receive mail (RFC 5321 section
// 5.1, RFC 7505).
//
// # Answers
//
// Everything here asks through a Resolver, which gives a typed Result: the
// records were Found, the name does not exist (NXDomain), it exists without such
// records (NoData), or nothing is known for now (Temporary). The last is never
// folded into one of the others: what a temporary failure means is for the
// policy to say.
//
// A Client asks real servers and remembers what they say; Live is the Client in
// force, which a reload exchanges. A Frozen resolver answers from zone-file
// lines, so that a recorded session can be judged again, and a Recorder writes
// those lines. All resolvers give the same Result: aliases are followed, records
// are sorted, and the cause of a temporary failure is one of two values.
//
// # DNS lists
//
// From the question to the verdict, and where:
//
//	Lists.Check, CheckNames   asks all lists at once              dnsbl_check.go
//	list.judge                says what one list's answer means   dnsbl_judge.go
//	Code                      an answer that is a listing         dnsbl_codes.go
//	ListReport.conclude       adds the answers up to a verdict    dnsbl_report.go
//	Health                    finds the lists that are broken     dnsbl_health.go
//	Lists.Resolver            leaves those out, and hides keys    dnsbl_resolver.go
//
// # What the network may do
//
// Nothing an answer holds is trusted. A datagram that does not answer the
// question asked is ignored and the wait goes on, because it may be forged;
// aliases are followed a bounded number of steps; the number of records kept
// is bounded; names are checked before they are asked for, and text is made
// printable before it is shown.
package dnscheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/miekg/dns"
)

// Resolver answers questions about names. It is used from many goroutines at once.
//
// The name may be in upper or lower case, with or without its final dot. A
// string that cannot be a domain name (too long, an empty label, characters
// that need escaping) does not exist: the result is NXDomain, and no server is
// asked. The types are A, AAAA, PTR, MX and TXT.
type Resolver interface {
	// Lookup returns when there is an answer or when ctx ends.
	Lookup(ctx context.Context, name string, qtype uint16) Result
	// LookupCached is Lookup if that would not wait; otherwise ok is false. It
	// spares checks that ask several questions at once a goroutine for each.
	LookupCached(name string, qtype uint16) (result Result, ok bool)
}

// lookupAll asks all questions at once and waits for all answers.
func lookupAll(ctx context.Context, resolver Resolver, questions []Question) []Result {
	results := make([]Result, len(questions))
	var lookups sync.WaitGroup
	for i, q := range questions {
		var ok bool
		if results[i], ok = resolver.LookupCached(q.Name, q.Type); !ok {
			lookups.Go(func() { results[i] = resolver.Lookup(ctx, q.Name, q.Type) })
		}
	}
	lookups.Wait()
	return results
}

// Status says what kind of answer a look-up had.
type Status uint8

const (
	// Temporary: not known for now; Result.Err says why.
	Temporary Status = iota
	// Found: there are records of the type.
	Found
	// NXDomain: the name, or the name its aliases lead to, does not exist.
	NXDomain
	// NoData: the name exists and has no records of the type.
	NoData
)

// String is the status in the words of a session's dns lines.
func (s Status) String() string { return word(s, "TEMPORARY", "FOUND", "NXDOMAIN", "NODATA") }

// word is the one of an enumeration's words that its value counts to.
func word[E ~uint8](value E, words ...string) string {
	if int(value) < len(words) {
		return words[value]
	}
	return strconv.Itoa(int(value))
}

// The causes of a temporary result. There are no others, so that a recorded
// answer is the same value again; what exactly went wrong is counted in Stats.
var (
	// ErrTimeout: there was no answer in time, or the servers could not be
	// reached.
	ErrTimeout = errors.New("no answer in time")
	// ErrServFail: a server answered, without being able to tell: SERVFAIL,
	// REFUSED and the like, a lame delegation, aliases that loop.
	ErrServFail = errors.New("server failure")
	// ErrCanceled: the caller gave up, or the client was closed. It says
	// nothing about the name, and is neither cached nor recorded.
	ErrCanceled = errors.New("look-up canceled")
)

// Result is the answer to one question. Results are shared between callers:
// Records must not be changed.
type Result struct {
	Status Status
	// Records are those of the type asked for at the end of the aliases, sorted
	// and without duplicates, maxRecords at most. There are some exactly if Status
	// is Found.
	Records []Record
	// Err is ErrTimeout, ErrServFail or ErrCanceled if Status is Temporary, and
	// nil otherwise.
	Err error
}

// maxRecords bounds the records of one result: enough for any honest name, and
// a limit to what one answer costs to remember and to look through.
const maxRecords = 256

// Record is one resource record; which fields are set depends on Type.
type Record struct {
	// Type is the type, such as dns.TypeA.
	Type uint16
	// TTL is the time to live in seconds as received, the least of the record's
	// own and those of the aliases that led to it.
	TTL uint32
	// Preference is that of an MX record.
	Preference uint16
	// Addr is the address of an A or AAAA record. An AAAA record may hold an
	// IPv4-mapped address: that is an IPv6 address here.
	Addr netip.Addr
	// Host is the name that a PTR or MX record points to, in lower case with its
	// final dot, characters outside host names escaped as in a zone file.
	Host string
	// Text is the content of a TXT record, its strings joined: any octets.
	Text string
}

// Addrs are the addresses of the A or AAAA records.
func (r Result) Addrs() []netip.Addr {
	addrs := make([]netip.Addr, 0, len(r.Records))
	for _, record := range r.Records {
		if record.Addr.IsValid() {
			addrs = append(addrs, record.Addr)
		}
	}
	return addrs
}

// Has says whether an A or AAAA record holds the address.
func (r Result) Has(addr netip.Addr) bool {
	return slices.ContainsFunc(r.Records, func(record Record) bool { return record.Addr == addr })
}

func found(records []Record) Result { return Result{Status: Found, Records: records} }

func temporary(cause error) Result { return Result{Status: Temporary, Err: cause} }

// supported says whether records of the type can be asked for.
func supported(qtype uint16) bool {
	switch qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypePTR, dns.TypeMX, dns.TypeTXT:
		return true
	}
	return false
}

// newRecord takes over a record of a supported type; false if it is of
// another type or its data cannot be used.
func newRecord(rr dns.RR) (Record, bool) {
	record := Record{Type: rr.Header().Rrtype, TTL: rr.Header().Ttl}
	// A TTL with the highest bit set counts as zero (RFC 2181 section 8).
	if record.TTL > 1<<31-1 {
		record.TTL = 0
	}
	ok := true
	switch rr := rr.(type) {
	case *dns.A:
		record.Addr, ok = netip.AddrFromSlice(rr.A.To4())
	case *dns.AAAA:
		record.Addr, ok = netip.AddrFromSlice(rr.AAAA.To16())
	case *dns.PTR:
		record.Host, ok = canonicalTarget(rr.Ptr)
	case *dns.MX:
		record.Preference = rr.Preference
		record.Host, ok = canonicalTarget(rr.Mx)
	case *dns.TXT:
		record.Text = joinTXT(rr.Txt)
	default:
		ok = false
	}
	return record, ok
}

// sorted brings records into the one order that every resolver gives them in,
// and gives all of them the least time to live.
func sorted(records []Record, ttl uint32) []Record {
	for i := range records {
		ttl = min(ttl, records[i].TTL)
	}
	for i := range records {
		records[i].TTL = ttl
	}
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(
			cmp.Compare(a.Preference, b.Preference),
			a.Addr.Compare(b.Addr),
			cmp.Compare(a.Host, b.Host),
			cmp.Compare(a.Text, b.Text),
		)
	})
	records = slices.Compact(records)
	if len(records) > maxRecords {
		records = records[:maxRecords]
	}
	return slices.Clip(records)
}

// String is the record as a zone file has it, without its name.
func (r Record) String() string {
	data := ""
	switch r.Type {
	case dns.TypeA, dns.TypeAAAA:
		data = r.Addr.String()
	case dns.TypePTR:
		data = r.Host
	case dns.TypeMX:
		data = strconv.Itoa(int(r.Preference)) + " " + r.Host
	case dns.TypeTXT:
		data = quoteTXT(r.Text)
	}
	return fmt.Sprintf("%d IN %s %s", r.TTL, dns.TypeToString[r.Type], data)
}
