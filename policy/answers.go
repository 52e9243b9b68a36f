package policy

// Answers gives the answers that a check needs: those of the DNS, and whether the
// client holds a relay grant. Whoever supplies it decides
// where they come from: live look-ups that began when the client connected, or
// the frozen ones of a recorded session. A method may wait for its answer; it
// returns a temporary one in good time where there is none.
type Answers interface {
	// Prepare says which questions about the current message may come, so that
	// their look-ups can begin: the sender's domain and the names for the domain
	// lists, both empty where nobody will ask. It does not wait.
	Prepare(senderDomain string, names []string)
	// ReverseDNS is about the client's address.
	ReverseDNS() ReverseDNS
	// SenderDomain is about the domain of a sender's address.
	SenderDomain(domain string) SenderDomain
	// Listings is what the address lists say about the client.
	Listings() Listings
	// NameListings is what the domain lists say about names the client gave.
	NameListings(names []string) Listings
	// Grant says whether the client's address holds a relay grant (POP or IMAP
	// before SMTP) at this moment.
	Grant() GrantState
}

// RDNSStatus is the outcome of an iprev check (RFC 8601 section 2.7.3).
type RDNSStatus uint8

// The statuses. The zero value claims nothing.
const (
	// RDNSTemporary: there was no answer for now (temperror). sendmail: TEMP.
	RDNSTemporary RDNSStatus = iota
	// RDNSPass: a PTR name has the client's address. sendmail: OK.
	RDNSPass
	// RDNSMismatch: there are PTR names, none has the client's address (fail).
	// sendmail: FORGED.
	RDNSMismatch
	// RDNSNone: the address has no PTR record (permerror). sendmail: FAIL.
	RDNSNone
)

// ReverseDNS is what the DNS says about the client's names.
type ReverseDNS struct {
	Status RDNSStatus
	// Names are the names that the client's address confirms.
	Names []string
	// Generic says by which rule every name of the client is one that a provider
	// gave to an access line; empty where that is not so, or not asked.
	Generic string
	// Detail is the answers in words, for the trace.
	Detail string
}

// DomainStatus says whether mail for a domain can be delivered.
type DomainStatus uint8

// The statuses. The zero value claims nothing.
const (
	// DomainTemporary: there was no answer for now.
	DomainTemporary DomainStatus = iota
	// DomainOK: the domain can receive mail, or there is nothing to ask about it.
	DomainOK
	// DomainMissing: the domain does not exist, or has no mail host.
	DomainMissing
	// DomainNullMX: the domain says that it takes no mail (RFC 7505).
	DomainNullMX
	// DomainBadMX: its mail hosts have no address that mail could be sent to.
	DomainBadMX
)

// SenderDomain is what the DNS says about a sender's domain.
type SenderDomain struct {
	Status DomainStatus
	// Detail is the answers in words, for the trace.
	Detail string
}

// ListVerdict is what all DNS lists together say.
type ListVerdict uint8

// The verdicts. The zero value claims nothing.
const (
	// ListsTemporary: a list that must be waited for has no answer.
	ListsTemporary ListVerdict = iota
	// NotListed: the score of the listings is below the threshold.
	NotListed
	// Listed: it has reached the threshold.
	Listed
	// ListExempted: an allow list whose word is final has the client.
	ListExempted
)

// Listings is what DNS lists say.
type Listings struct {
	Verdict ListVerdict
	// Score is the sum of the weights of the lists with a listing.
	Score int
	// List names the list to tell the client of, Listed what it lists, Reason is
	// its own text about that, if it was asked for.
	List, Listed, Reason string
	// Details are the answers in words, for the trace.
	Details []string
}

// Needs are the look-ups that a connection's checks may want answered, so that
// they can be started before anybody waits for them.
type Needs struct {
	ReverseDNS   bool
	SenderDomain bool
	Listings     bool
	NameListings bool
}

// Needs says which look-ups the checks of this connection use. A check that is
// off here, or a client that is exempt whatever the answer, needs none.
func (s *Session) Needs() Needs {
	c := s.policy.Checks
	on := func(name string, mode Mode) bool { return s.mode(name, mode) != ModeOff }
	return Needs{
		ReverseDNS:   s.clientAddr != "" && c.RDNS.Source == RDNSSourceOwn && on("rdns", c.RDNS.Mode),
		SenderDomain: on("sender_domain", c.SenderDomain.Mode),
		Listings:     s.clientAddr != "" && c.DNSBL.Addresses && on("dnsbl", c.DNSBL.Mode),
		NameListings: s.clientAddr != "" && c.DNSBL.Names && on("dnsbl", c.DNSBL.Mode),
	}
}

// NoAnswers stands in where nobody supplies answers: every look-up is one that had
// none, and there is no grant.
type NoAnswers struct{}

func (NoAnswers) Grant() GrantState                { return GrantNone }
func (NoAnswers) Prepare(string, []string)         {}
func (NoAnswers) ReverseDNS() ReverseDNS           { return ReverseDNS{Detail: "nobody to ask"} }
func (NoAnswers) Listings() Listings               { return Listings{Details: []string{"nobody to ask"}} }
func (NoAnswers) NameListings([]string) Listings   { return Listings{Details: []string{"nobody to ask"}} }
func (NoAnswers) SenderDomain(string) SenderDomain { return SenderDomain{Detail: "nobody to ask"} }
