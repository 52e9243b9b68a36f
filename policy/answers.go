package policy

import "cmp"

// Answers gives the answers that a connection's checks need: those of the DNS, and
// whether the client holds a relay grant. They are live look-ups, or the frozen answers
// of a recorded session. The Session says which ones it may want, so that their look-ups
// can begin early. The zero value of each answer claims nothing.
type Answers interface {
	// Begin starts the look-ups about the client, Prepare those about a message. They do
	// not wait.
	Begin(Needs)
	Prepare(MessageNeeds)
	// EndMessage gives up what is still being looked up about the message, Close all.
	EndMessage()
	Close()
	// Record has every question to the DNS noted from now on: in the recording of the
	// same session by other answers, whose definite answers then count here, too, or in
	// one of its own if there is none.
	Record(of Recording) Recording

	// The rest wait for an answer. It is a temporary one if there is none in good time.

	ReverseDNS() ReverseDNS
	SenderDomain(domain string) SenderDomain
	// Listings is what the address lists for such clients say about the client,
	// NameListings what the domain lists say about names it gave.
	Listings(ListClients) Listings
	NameListings(c ListClients, names []string) Listings
	// Grant says whether the client's address holds a relay grant (POP or IMAP
	// before SMTP) at this moment.
	Grant() GrantState
	// Count asks limits for room and, if all that are enforced have it, takes it under
	// each limit that has. It fills in the answers, and says whether the login, if one
	// is given, has been blocked by hand: then nothing is asked or taken.
	Count(login string, queries []LimitQuery) (blocked bool)
}

// Recording is what the DNS was asked in one session. It may be used by several
// goroutines.
type Recording interface {
	// Lines are the questions with their answers, as the dns lines of a recorded session.
	Lines() []string
}

// RDNSStatus is the result of an iprev check (RFC 8601 section 2.7.3).
type RDNSStatus uint8

const (
	RDNSTemporary RDNSStatus = iota // there was no answer for now (temperror; sendmail: TEMP)
	RDNSPass                        // a PTR name has the client's address (sendmail: OK)
	RDNSMismatch                    // there are PTR names, none has the client's address (fail; sendmail: FORGED)
	RDNSNone                        // the address has no PTR record (permerror; sendmail: FAIL)
)

// ReverseDNS is what the DNS says about the client's names.
type ReverseDNS struct {
	Status RDNSStatus
	Names  []string // those that the client's address confirms
	// Generic says by which rule every name of the client is one that a provider
	// gave to an access line; empty if that is not so, or not asked.
	Generic string
	Detail  string // the answers in words, for the trace
}

// DomainStatus says whether mail for a domain can be delivered.
type DomainStatus uint8

const (
	DomainTemporary DomainStatus = iota // there was no answer for now
	DomainOK                            // it can receive mail, or there is nothing to ask about it
	DomainMissing                       // it does not exist, or has no mail host
	DomainNullMX                        // it says that it takes no mail (RFC 7505)
	DomainBadMX                         // its mail hosts have no address that mail could be sent to
)

// SenderDomain is what the DNS says about a sender's domain; Detail is as in ReverseDNS.
type SenderDomain struct {
	Status DomainStatus
	Detail string
}

// ListVerdict is what all DNS lists together say.
type ListVerdict uint8

const (
	ListsTemporary ListVerdict = iota // a list that must be waited for has no answer
	NotListed                         // the score of the listings is below the threshold
	Listed                            // it has reached the threshold
	ListExempted                      // an allow list whose word is final has the client
)

// Listings is what DNS lists say.
type Listings struct {
	Verdict ListVerdict
	Score   int // the sum of the weights of the lists with a listing
	// List names the list to tell the client of, Listed what it lists, Reason is
	// its own text about that, if it was asked for.
	List, Listed, Reason string
	Details              []string // the answers in words, for the trace
}

// Needs are the look-ups about a client that a connection's checks may want. Listings are
// those for strangers: no client has logged in when it connects.
type Needs struct{ ReverseDNS, Listings bool }

// MessageNeeds are the look-ups that the checks of a message may want.
type MessageNeeds struct {
	// SenderDomain is empty if it need not be looked up.
	SenderDomain string
	// Listings asks what the lists for Clients say of the client's address, Names what
	// they say of names.
	Clients  ListClients
	Listings bool
	Names    []string
}

// needs says which look-ups about the client the checks of this connection use. A check
// that is off here needs none.
func (s *Session) needs() Needs {
	c := &s.policy.Checks
	return Needs{
		ReverseDNS: s.clientAddr != "" && c.RDNS.Source == RDNSSourceOwn && s.mode("rdns", c.RDNS.Mode) != ModeOff,
		Listings:   c.DNSBL.Addresses.of(ListStrangers) && s.asksLists(),
	}
}

// asksLists reports whether the DNS lists are asked about this client.
func (s *Session) asksLists() bool {
	return s.clientAddr != "" && s.mode("dnsbl", s.policy.Checks.DNSBL.Mode) != ModeOff
}

// NoAnswers are those of a session that can ask nothing: each look-up is one without an
// answer, and there is no grant.
type NoAnswers struct{}

var _ Answers = NoAnswers{}

// noRecording is that of a session that asks nothing.
type noRecording struct{}

func (noRecording) Lines() []string { return nil }

const nothingToAsk = "nothing to ask"

func (NoAnswers) Begin(Needs)                      {}
func (NoAnswers) Prepare(MessageNeeds)             {}
func (NoAnswers) EndMessage()                      {}
func (NoAnswers) Close()                           {}
func (NoAnswers) Record(of Recording) Recording    { return cmp.Or[Recording](of, noRecording{}) }
func (NoAnswers) Grant() GrantState                { return GrantNone }
func (NoAnswers) Count(string, []LimitQuery) bool  { return false }
func (NoAnswers) ReverseDNS() ReverseDNS           { return ReverseDNS{Detail: nothingToAsk} }
func (NoAnswers) Listings(ListClients) Listings    { return Listings{Details: []string{nothingToAsk}} }
func (NoAnswers) SenderDomain(string) SenderDomain { return SenderDomain{Detail: nothingToAsk} }
func (NoAnswers) NameListings(ListClients, []string) Listings {
	return Listings{Details: []string{nothingToAsk}}
}
