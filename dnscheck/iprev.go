package dnscheck

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// maxPTR is how many PTR names are looked at (RFC 8601 section 3 asks for a
// limit; RFC 7208 section 4.6.4 sets it to 10).
const maxPTR = 10

// IPRevStatus is the outcome of an iprev check (RFC 8601 section 2.7.3).
type IPRevStatus uint8

const (
	// IPRevTempError: not known for now. The PTR look-up had no answer, or no
	// name was confirmed and the addresses of one had no answer. sendmail: TEMP.
	IPRevTempError IPRevStatus = iota
	// IPRevPass: the addresses of a PTR name hold the client's. sendmail: OK.
	IPRevPass
	// IPRevFail: there are PTR names, and none of them has the client's address.
	// sendmail: FORGED.
	IPRevFail
	// IPRevPermError: the address has no PTR record. sendmail: FAIL.
	IPRevPermError
)

func (s IPRevStatus) String() string {
	return word(s, "temperror", "pass", "fail", "permerror")
}

// NameStatus is what was found out about one PTR name.
type NameStatus uint8

const (
	// NameTemporary: the look-up of its addresses had no answer.
	NameTemporary NameStatus = iota
	// NameConfirmed: its addresses hold the client's.
	NameConfirmed
	// NameMismatch: it has other addresses of the client's family.
	NameMismatch
	// NameNoAddress: it has no addresses of the client's family, or does not exist.
	NameNoAddress
	// NameIgnored: it cannot be the name of a host, and was not asked for.
	NameIgnored
)

func (s NameStatus) String() string {
	return word(s, "no answer", "confirmed", "other address", "no address", "not a host name")
}

// PTRName is one PTR name and what became of it.
type PTRName struct {
	// Name is in lower case and without its final dot. If Status is
	// NameIgnored it may hold anything, as Printable leaves it.
	Name   string
	Status NameStatus
}

// IPRev is the result of an iprev check.
type IPRev struct {
	Addr   netip.Addr
	Status IPRevStatus
	// Names are the PTR names, in the order of the alphabet.
	Names []PTRName
	// Omitted is how many further names there were, which were not looked at.
	Omitted int
	// Err is why the PTR look-up itself had no answer.
	Err error
}

// CheckIPRev finds the names of a client: every PTR name whose own addresses
// hold the client's address (forward-confirmed reverse DNS). All names are asked
// for at once, for the records of the client's family only: others cannot match.
//
// One confirmed name is enough to pass. Without
// one, a name that had no answer makes the result temporary, because it might
// have been the one. Names that no host can have (labels of other characters, a
// single label, an address) confirm nothing.
func CheckIPRev(ctx context.Context, resolver Resolver, addr netip.Addr) IPRev {
	addr = addr.Unmap().WithZone("")
	rev := IPRev{Addr: addr}
	if !addr.IsValid() {
		rev.Status = IPRevPermError
		return rev
	}
	ptr := resolver.Lookup(ctx, ReverseName(addr), dns.TypePTR)
	switch ptr.Status {
	case Temporary:
		rev.Err = ptr.Err
		return rev
	case NXDomain, NoData:
		rev.Status = IPRevPermError
		return rev
	}
	rev.takeNames(ptr)
	qtype := dns.TypeA
	if addr.Is6() {
		qtype = dns.TypeAAAA
	}
	questions := make([]Question, 0, maxPTR)
	asked := make([]*PTRName, 0, maxPTR)
	for i := range rev.Names {
		if name := &rev.Names[i]; name.Status != NameIgnored {
			questions = append(questions, Question{name.Name, qtype})
			asked = append(asked, name)
		}
	}
	for i, forward := range lookupAll(ctx, resolver, questions) {
		asked[i].Status = confirm(forward, addr)
	}
	rev.Status = rev.conclude()
	return rev
}

func (r *IPRev) takeNames(ptr Result) {
	records := ptr.Records
	if len(records) > maxPTR {
		r.Omitted = len(records) - maxPTR
		records = records[:maxPTR]
	}
	r.Names = make([]PTRName, len(records))
	for i, record := range records {
		name, ok := hostName(record.Host)
		if !ok {
			r.Names[i] = PTRName{Printable(record.Host), NameIgnored}
			continue
		}
		r.Names[i].Name = strings.TrimSuffix(name, ".")
	}
}

// confirm looks for the address among those of a name.
func confirm(forward Result, addr netip.Addr) NameStatus {
	switch {
	case forward.Status == Temporary:
		return NameTemporary
	case forward.Has(addr):
		return NameConfirmed
	case forward.Status == Found:
		return NameMismatch
	}
	return NameNoAddress
}

// conclude is the status that the names add up to.
func (r *IPRev) conclude() IPRevStatus {
	status := IPRevFail
	for _, name := range r.Names {
		switch name.Status {
		case NameConfirmed:
			return IPRevPass
		case NameTemporary:
			status = IPRevTempError
		}
	}
	return status
}

func (r IPRev) Confirmed() []string {
	var names []string
	for _, name := range r.Names {
		if name.Status == NameConfirmed {
			names = append(names, name.Name)
		}
	}
	return names
}

// String says what was found, for a log line or a trace.
func (r IPRev) String() string {
	text := "iprev " + r.Status.String()
	if r.Err != nil {
		text += ": PTR: " + r.Err.Error()
	}
	var names []string
	for _, name := range r.Names {
		names = append(names, name.Name+" "+name.Status.String())
	}
	if r.Omitted > 0 {
		names = append(names, strconv.Itoa(r.Omitted)+" more not looked at")
	}
	if len(names) > 0 {
		text += ": " + strings.Join(names, ", ")
	}
	return text
}
