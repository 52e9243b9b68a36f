// Package answers asks the DNS on behalf of a policy: look-ups that begin before their
// answers are wanted, and what dnscheck finds put into the policy's terms.
package answers

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"milterd/dnscheck"
	"milterd/policy"
)

// Lookups is what questions to the DNS are answered with.
type Lookups struct {
	// Resolver is asked about clients and senders.
	Resolver dnscheck.Resolver
	// Lists are the DNS lists, nil for none, and ListResolver is their Resolver.
	Lists        *dnscheck.Lists
	ListResolver dnscheck.Resolver
	// Mail says what is asked about a sender's domain.
	Mail dnscheck.MailOptions
	// Generic knows the rules for generic names; nil without any.
	Generic *dnscheck.Generic
	// AtOnce: the resolver never waits, so nothing is gained by asking early, or in
	// goroutines: each look-up is made when its answer is wanted.
	AtOnce bool
	// Time bounds the look-ups that begin at CONNECT, and those that begin at
	// MAIL. What has no answer then is temporary. Default 8 s, which leaves sendmail's
	// time-out for an answer (10 s) some room.
	Time time.Duration
}

// Answers are the DNS answers about one SMTP connection. Look-ups begin early
// and run side by side, in time that the client spends on its own round trips;
// a check waits only for what is still missing. It is used by one goroutine.
type Answers struct {
	policy.NoAnswers // about relay grants
	lookups          *Lookups
	conn             policy.Connection
	// ctx ends with the connection, message with the current message; neither does if the
	// resolver never waits.
	ctx, message    context.Context
	end, endMessage context.CancelFunc
	// resolver and listResolver are those of lookups, or recorders before them.
	resolver, listResolver dnscheck.Resolver
	panicked               func(value any)

	reverse *future[policy.ReverseDNS]
	// listings are those of address lists, by the lists that are asked.
	listings map[*dnscheck.Lists]*future[policy.Listings]
	// domain and names are about the current message.
	domain     *future[policy.SenderDomain]
	domainName string
	names      *future[policy.Listings]
	namesAsked []string
	namesLists *dnscheck.Lists
}

var _ policy.Answers = (*Answers)(nil)

// NewAnswers makes the answers about one connection; without an l it is NoAnswers. ctx
// ends its look-ups. panicked, which may be nil, is told of panics in look-ups, from
// their goroutines.
func (l *Lookups) NewAnswers(ctx context.Context, conn policy.Connection, panicked func(value any)) policy.Answers {
	if l == nil {
		return policy.NoAnswers{}
	}
	a := &Answers{lookups: l, resolver: l.Resolver, listResolver: l.ListResolver, conn: conn, panicked: panicked}
	a.ctx, a.message, a.end, a.endMessage = ctx, ctx, func() {}, func() {}
	if !l.AtOnce {
		a.ctx, a.end = context.WithCancel(ctx)
		a.message, a.endMessage = context.WithCancel(a.ctx)
	}
	return a
}

func (a *Answers) Close() { a.end() }

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
	lookups.Resolver, lookups.ListResolver, lookups.AtOnce = resolver, resolver, true
	return func(c policy.Connection) policy.Answers {
		return lookups.NewAnswers(context.Background(), c, nil)
	}, resolver, nil
}

var _ policy.Recording = (*dnscheck.Recorder)(nil)

func (a *Answers) Record(of policy.Recording) policy.Recording {
	recorder, ok := of.(*dnscheck.Recorder)
	if ok {
		recorder = recorder.With(a.resolver)
	} else {
		recorder = dnscheck.NewRecorder(a.resolver)
	}
	a.resolver, a.listResolver = recorder, recorder.With(a.listResolver)
	return recorder
}

// future is a value that is being worked out.
type future[T any] struct {
	// done is closed when the value is there; nil if it is from the beginning.
	done  chan struct{}
	value T
}

// launch works a value out in a goroutine of its own, which ends when its look-ups
// do, or when their time is over. What the resolver remembers needs none: to begin one
// wakes a thread, which costs more than the value does.
func launch[T any](a *Answers, parent context.Context, resolver dnscheck.Resolver, work func(context.Context, dnscheck.Resolver) T) *future[T] {
	if a.lookups.AtOnce {
		return &future[T]{value: work(a.ctx, resolver)}
	}
	if value, ok := fromMemory(resolver, work); ok {
		return &future[T]{value: value}
	}
	f := &future[T]{done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(parent, cmp.Or(a.lookups.Time, 8*time.Second))
	go func() {
		defer close(f.done)
		defer cancel()
		// The zero value is a temporary answer.
		defer func() {
			if value := recover(); value != nil && a.panicked != nil {
				a.panicked(value)
			}
		}()
		f.value = work(ctx, resolver)
	}()
	return f
}

// fromMemory works a value out from what the resolver remembers. ok is false if it does
// not remember all that is asked, or after a panic: the same work panics again where that
// is told of.
func fromMemory[T any](resolver dnscheck.Resolver, work func(context.Context, dnscheck.Resolver) T) (value T, ok bool) {
	memory := &memory{resolver, false}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	value = work(gone{context.Background()}, memory)
	return value, !memory.missed
}

// memory is a resolver that asks nothing.
type memory struct {
	dnscheck.Resolver
	// missed: a question had no answer.
	missed bool
}

var _ dnscheck.Resolver = (*memory)(nil)

// LookupCached answers everything, so that no check asks in earnest.
func (m *memory) LookupCached(name string, qtype uint16) (dnscheck.Result, bool) {
	result, ok := m.Resolver.LookupCached(name, qtype)
	if !ok {
		m.missed = true
		result = dnscheck.Result{Err: dnscheck.ErrCanceled}
	}
	return result, true
}

func (m *memory) Lookup(_ context.Context, name string, qtype uint16) dnscheck.Result {
	result, _ := m.LookupCached(name, qtype)
	return result
}

// gone is the context of a client that does not wait, so that a list without an answer
// does not count as one that had time.
type gone struct{ context.Context }

func (gone) Err() error { return context.Canceled }

// wait waits for the value. Every look-up ends with its context, so this does too.
func (f *future[T]) wait() T {
	if f.done != nil {
		<-f.done
	}
	return f.value
}

func (a *Answers) Begin(needs policy.Needs) {
	if a.lookups.AtOnce {
		return
	}
	if needs.ReverseDNS {
		a.beginReverse()
	}
	if needs.Listings {
		a.beginListings(policy.ListStrangers)
	}
}

func (a *Answers) Prepare(n policy.MessageNeeds) {
	a.EndMessage()
	if a.lookups.AtOnce {
		return
	}
	if n.SenderDomain != "" {
		a.beginDomain(n.SenderDomain)
	}
	if n.Listings {
		a.beginListings(n.Clients)
	}
	if len(n.Names) > 0 {
		a.beginNames(n.Clients, n.Names)
	}
}

// EndMessage gives up what is still being looked up about the current message: a
// client that begins message after message must not have ever more under way.
func (a *Answers) EndMessage() {
	a.endMessage()
	if !a.lookups.AtOnce {
		a.message, a.endMessage = context.WithCancel(a.ctx)
	}
	a.domain, a.names = nil, nil
}

func (a *Answers) ReverseDNS() policy.ReverseDNS { return a.beginReverse().wait() }

func (a *Answers) Listings(c policy.ListClients) policy.Listings { return a.beginListings(c).wait() }

func (a *Answers) SenderDomain(domain string) policy.SenderDomain {
	return a.beginDomain(domain).wait()
}

func (a *Answers) NameListings(c policy.ListClients, names []string) policy.Listings {
	return a.beginNames(c, names).wait()
}

// The methods below begin look-ups, unless they have begun.

func (a *Answers) beginReverse() *future[policy.ReverseDNS] {
	if a.reverse == nil {
		a.reverse = launch(a, a.ctx, a.resolver, func(ctx context.Context, r dnscheck.Resolver) policy.ReverseDNS {
			return reverseDNS(dnscheck.CheckIPRev(ctx, r, a.conn.Addr), a.lookups.Generic)
		})
	}
	return a.reverse
}

func (a *Answers) beginListings(c policy.ListClients) *future[policy.Listings] {
	lists := a.lookups.Lists.For(audience[c])
	f := a.listings[lists]
	if f == nil {
		f = launch(a, a.ctx, a.listResolver, func(ctx context.Context, r dnscheck.Resolver) policy.Listings {
			l := listings(lists.Check(ctx, r, a.conn.Addr))
			if !dnscheck.Public(a.conn.Addr) {
				l.Details = append(l.Details, "address lists not asked: "+a.conn.Addr.Unmap().String()+" is not a public address")
			}
			return l
		})
		if a.listings == nil {
			a.listings = make(map[*dnscheck.Lists]*future[policy.Listings], 1)
		}
		a.listings[lists] = f
	}
	return f
}

var audience = map[policy.ListClients]dnscheck.Audience{
	policy.ListStrangers: dnscheck.Strangers, policy.ListAuthenticated: dnscheck.Authenticated, policy.ListLogins: dnscheck.LoginsAlone,
}

func (a *Answers) beginDomain(domain string) *future[policy.SenderDomain] {
	if a.domain == nil || a.domainName != domain {
		a.domainName = domain
		a.domain = launch(a, a.message, a.resolver, func(ctx context.Context, r dnscheck.Resolver) policy.SenderDomain {
			found := dnscheck.CheckMailDomain(ctx, r, domain, a.lookups.Mail)
			return policy.SenderDomain{Status: domainStatus[found.Status], Detail: found.String()}
		})
	}
	return a.domain
}

func (a *Answers) beginNames(c policy.ListClients, names []string) *future[policy.Listings] {
	lists := a.lookups.Lists.For(audience[c])
	if a.names == nil || a.namesLists != lists || !slices.Equal(a.namesAsked, names) {
		a.namesAsked, a.namesLists = names, lists
		a.names = launch(a, a.message, a.listResolver, func(ctx context.Context, r dnscheck.Resolver) policy.Listings {
			return listings(lists.CheckNames(ctx, r, names...))
		})
	}
	return a.names
}

// reverseDNS puts an iprev result into the policy's terms. What a table of this file
// does not name is temporary.
func reverseDNS(rev dnscheck.IPRev, generic *dnscheck.Generic) policy.ReverseDNS {
	r := policy.ReverseDNS{Status: rdnsStatus[rev.Status], Names: rev.Confirmed(), Detail: rev.String()}
	if generic == nil || rev.Status != dnscheck.IPRevPass {
		return r
	}
	if matches, all := generic.Check(rev.Addr, r.Names); all {
		r.Generic = matches[0].Name + " by the rule " + matches[0].Rule
	}
	return r
}

var rdnsStatus = map[dnscheck.IPRevStatus]policy.RDNSStatus{
	dnscheck.IPRevPass: policy.RDNSPass, dnscheck.IPRevFail: policy.RDNSMismatch, dnscheck.IPRevPermError: policy.RDNSNone,
}

// domainStatus has no status for an invalid name: no mail can be delivered to it, as to
// a domain that does not exist.
var domainStatus = map[dnscheck.MailStatus]policy.DomainStatus{
	dnscheck.MailOK: policy.DomainOK, dnscheck.MailLiteral: policy.DomainOK,
	dnscheck.MailNoDomain: policy.DomainMissing, dnscheck.MailInvalid: policy.DomainMissing, dnscheck.MailInvalidIDN: policy.DomainMissing,
	dnscheck.MailNull: policy.DomainNullMX, dnscheck.MailBadMX: policy.DomainBadMX,
}

// listings puts a report of DNS lists into the policy's terms.
func listings(report dnscheck.ListReport) policy.Listings {
	l := policy.Listings{Verdict: listVerdict[report.Verdict], Score: report.Score}
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

var listVerdict = map[dnscheck.ListVerdict]policy.ListVerdict{
	dnscheck.NotListed: policy.NotListed, dnscheck.Listed: policy.Listed, dnscheck.Exempted: policy.ListExempted,
}
