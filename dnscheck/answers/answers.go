// Package answers asks the DNS on behalf of a policy: look-ups that begin before their
// answers are wanted, and what dnscheck finds put into the policy's terms.
package answers

import (
	"context"
	"slices"
	"strings"
	"time"

	"milterd/dnscheck"
	"milterd/policy"
)

// DefaultLookupTime bounds the look-ups of one stage where Lookups.Time is 0. It
// leaves sendmail's time-out for an answer (10 s) some room.
const DefaultLookupTime = 8 * time.Second

// Lookups is what questions to the DNS are answered with.
type Lookups struct {
	// Resolver is asked about clients and senders. With keyed lists it is their
	// WithKeys.
	Resolver dnscheck.Resolver
	// Lists are the DNS lists, nil for none.
	Lists *dnscheck.Lists
	// Mail says what is asked about a sender's domain.
	Mail dnscheck.MailOptions
	// Generic tells generic names, nil not at all.
	Generic *dnscheck.Generic
	// AtOnce: the resolver never waits, so nothing is gained by asking early, or in
	// goroutines: each look-up is made when its answer is wanted, by who wants it.
	AtOnce bool
	// Time bounds the look-ups that begin at CONNECT, and those that begin at
	// MAIL. What has no answer then is temporary.
	Time time.Duration
}

// Answers are the DNS answers about one SMTP connection. Look-ups begin early
// and run side by side, in time that the client spends on its own round trips;
// who asks waits only for what is still missing. It is used by one goroutine.
type Answers struct {
	policy.NoAnswers // about relay grants
	lookups          *Lookups
	ctx              context.Context
	cancel           context.CancelFunc
	conn             policy.Connection
	// resolver is that of lookups, or a recorder before it.
	resolver dnscheck.Resolver
	panicked func(value any)

	reverse  *future[policy.ReverseDNS]
	listings *future[policy.Listings]
	// message ends the look-ups about the current message, domain and names.
	message    context.Context
	endMessage context.CancelFunc
	domain     *future[policy.SenderDomain]
	domainName string
	names      *future[policy.Listings]
	namesAsked []string
}

var _ policy.Answers = (*Answers)(nil)

// NewAnswers makes the answers about one connection; without an l it is NoAnswers. ctx
// ends its look-ups. panicked, which may be nil, is told of panics in look-ups, from
// their goroutines.
func (l *Lookups) NewAnswers(ctx context.Context, conn policy.Connection, panicked func(value any)) policy.Answers {
	if l == nil {
		return policy.NoAnswers{}
	}
	a := &Answers{lookups: l, resolver: l.Resolver, ctx: ctx, conn: conn, panicked: panicked}
	if !l.AtOnce {
		a.ctx, a.cancel = context.WithCancel(ctx)
	}
	return a
}

// Close implements policy.Answers.
func (a *Answers) Close() {
	if a.cancel != nil {
		a.cancel()
	}
}

// Frozen answers from the dns lines of a recorded session. The resolver tells
// afterwards which questions they do not answer. Of nil Lookups both results are nil.
func (l *Lookups) Frozen(lines []string) (func(policy.Connection) policy.Answers, *dnscheck.Frozen, error) {
	if l == nil {
		return nil, nil, nil
	}
	resolver, err := dnscheck.NewFrozen(lines)
	if err != nil {
		return nil, nil, err
	}
	lookups := *l
	// Recorded names have {key} in place of a list's query key.
	lookups.Resolver, lookups.AtOnce = resolver, true
	return func(c policy.Connection) policy.Answers {
		return lookups.NewAnswers(context.Background(), c, nil)
	}, resolver, nil
}

// Record implements policy.Answers.
func (a *Answers) Record() (lines func() []string) {
	recorder := dnscheck.NewRecorder(a.resolver)
	a.resolver = recorder
	return recorder.Lines
}

// future is a value that is being worked out.
type future[T any] struct {
	// done is closed when the value is there; nil where it is from the beginning.
	done  chan struct{}
	value T
}

// launch works a value out in a goroutine of its own, which ends when its look-ups
// do, or when their time is over.
func launch[T any](a *Answers, parent context.Context, work func(context.Context) T) *future[T] {
	if a.lookups.AtOnce {
		return &future[T]{value: work(parent)}
	}
	f := &future[T]{done: make(chan struct{})}
	limit := a.lookups.Time
	if limit <= 0 {
		limit = DefaultLookupTime
	}
	ctx, cancel := context.WithTimeout(parent, limit)
	go func() {
		defer close(f.done)
		defer cancel()
		// The zero value is a temporary answer.
		defer func() {
			if value := recover(); value != nil && a.panicked != nil {
				a.panicked(value)
			}
		}()
		f.value = work(ctx)
	}()
	return f
}

// get waits for the value. Every look-up ends with its context, so this does too.
func (f *future[T]) get() T {
	if f.done != nil {
		<-f.done
	}
	return f.value
}

// Begin implements policy.Answers.
func (a *Answers) Begin(needs policy.Needs) {
	if a.lookups.AtOnce {
		return
	}
	if needs.ReverseDNS {
		a.beginReverse()
	}
	if needs.Listings {
		a.beginListings()
	}
}

// Prepare starts the look-ups about a message.
func (a *Answers) Prepare(senderDomain string, names []string) {
	a.EndMessage()
	if a.lookups.AtOnce {
		return
	}
	if senderDomain != "" {
		a.beginDomain(senderDomain)
	}
	if len(names) > 0 {
		a.beginNames(names)
	}
}

// EndMessage gives up what is still being looked up about the current message: a
// client that begins message after message must not have ever more under way.
func (a *Answers) EndMessage() {
	if a.endMessage != nil {
		a.endMessage()
	}
	a.message, a.endMessage, a.domain, a.names = nil, nil, nil, nil
}

func (a *Answers) messageContext() context.Context {
	if a.lookups.AtOnce {
		return a.ctx
	}
	if a.message == nil {
		a.message, a.endMessage = context.WithCancel(a.ctx)
	}
	return a.message
}

// ReverseDNS waits for what the DNS says about the client's names.
func (a *Answers) ReverseDNS() policy.ReverseDNS {
	if a.reverse == nil {
		a.beginReverse()
	}
	return a.reverse.get()
}

// Listings waits for what the address lists say about the client.
func (a *Answers) Listings() policy.Listings {
	if a.listings == nil {
		a.beginListings()
	}
	return a.listings.get()
}

// SenderDomain waits for what the DNS says about a sender's domain.
func (a *Answers) SenderDomain(domain string) policy.SenderDomain {
	if a.domain == nil || a.domainName != domain {
		a.beginDomain(domain)
	}
	return a.domain.get()
}

// NameListings waits for what the domain lists say.
func (a *Answers) NameListings(names []string) policy.Listings {
	if a.names == nil || !slices.Equal(a.namesAsked, names) {
		a.beginNames(names)
	}
	return a.names.get()
}

func (a *Answers) beginReverse() {
	a.reverse = launch(a, a.ctx, func(ctx context.Context) policy.ReverseDNS {
		return reverseDNS(dnscheck.CheckIPRev(ctx, a.resolver, a.conn.Addr), a.lookups.Generic)
	})
}

func (a *Answers) beginListings() {
	a.listings = launch(a, a.ctx, func(ctx context.Context) policy.Listings {
		if a.lookups.Lists == nil {
			return policy.Listings{Verdict: policy.NotListed}
		}
		return listings(a.lookups.Lists.Check(ctx, a.resolver, a.conn.Addr))
	})
}

func (a *Answers) beginDomain(domain string) {
	a.domainName = domain
	a.domain = launch(a, a.messageContext(), func(ctx context.Context) policy.SenderDomain {
		return senderDomain(dnscheck.CheckMailDomain(ctx, a.resolver, domain, a.lookups.Mail))
	})
}

func (a *Answers) beginNames(names []string) {
	a.namesAsked = names
	a.names = launch(a, a.messageContext(), func(ctx context.Context) policy.Listings {
		if a.lookups.Lists == nil {
			return policy.Listings{Verdict: policy.NotListed}
		}
		return listings(a.lookups.Lists.CheckNames(ctx, a.resolver, names...))
	})
}

// reverseDNS puts an iprev result into the policy's terms.
func reverseDNS(rev dnscheck.IPRev, generic *dnscheck.Generic) policy.ReverseDNS {
	r := policy.ReverseDNS{Names: rev.Confirmed(), Detail: rev.String()}
	switch rev.Status {
	case dnscheck.IPRevPass:
		r.Status = policy.RDNSPass
	case dnscheck.IPRevFail:
		r.Status = policy.RDNSMismatch
	case dnscheck.IPRevPermError:
		r.Status = policy.RDNSNone
	}
	if generic == nil || rev.Status != dnscheck.IPRevPass {
		return r
	}
	if matches, all := generic.Check(rev.Addr, r.Names); all {
		r.Generic = matches[0].Name + " by the rule " + matches[0].Rule
	}
	return r
}

// senderDomain puts a mail domain's result into the policy's terms. What is no
// domain name at all cannot be delivered to either.
func senderDomain(d dnscheck.MailDomain) policy.SenderDomain {
	r := policy.SenderDomain{Detail: "domain " + d.Domain + ": " + d.Status.String()}
	switch d.Status {
	case dnscheck.MailOK, dnscheck.MailLiteral:
		r.Status = policy.DomainOK
	case dnscheck.MailNoDomain, dnscheck.MailInvalid, dnscheck.MailInvalidIDN:
		r.Status = policy.DomainMissing
	case dnscheck.MailNull:
		r.Status = policy.DomainNullMX
	case dnscheck.MailBadMX:
		r.Status = policy.DomainBadMX
	}
	return r
}

// listings puts a report of DNS lists into the policy's terms.
func listings(report dnscheck.ListReport) policy.Listings {
	l := policy.Listings{Score: report.Score}
	switch report.Verdict {
	case dnscheck.NotListed:
		l.Verdict = policy.NotListed
	case dnscheck.Listed:
		l.Verdict = policy.Listed
	case dnscheck.Exempted:
		l.Verdict = policy.ListExempted
	}
	if l.Verdict == policy.ListsTemporary {
		l.List = strings.Join(report.Unanswered(), " ")
	} else if entry, ok := report.Decisive(); ok {
		l.List, l.Listed, l.Reason = entry.List, entry.Name, entry.Reason
	}
	for _, entry := range report.Entries {
		l.Details = append(l.Details, entry.String())
	}
	return l
}
