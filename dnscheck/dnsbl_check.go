package dnscheck

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Check asks the address lists about a client's address, all of them at once,
// and returns when the verdict cannot change any more or ctx ends. Addresses
// that are not public are on no list, and no list is asked. See Resolver for the
// resolver.
func (l *Lists) Check(ctx context.Context, resolver Resolver, addr netip.Addr) ListReport {
	addr = addr.Unmap().WithZone("")
	if l == nil || !Public(addr) {
		return ListReport{Verdict: NotListed}
	}
	r := ListReport{threshold: l.threshold}
	f, labels := familyIPv4, reverseLabels(addr)
	if !addr.Is4() {
		f = familyIPv6
	}
	r.Entries = make([]ListEntry, 0, len(l.lists))
	for _, list := range l.lists {
		if list.asks(f) {
			r.Entries = append(r.Entries, list.entry(f, "", labels))
		}
	}
	r.run(ctx, resolver)
	return r
}

// maxNames bounds the names that are looked up for one client.
const maxNames = 16

// CheckNames asks the domain lists about names that a client gave: in HELO, by
// its PTR records, as the domain of a sender. Each list counts once, however
// many of the names it lists. Names are asked for whole, in their ASCII form.
// Addresses, address literals, names of one label and those of the reverse zones
// are passed over, as are names after the first sixteen.
func (l *Lists) CheckNames(ctx context.Context, resolver Resolver, names ...string) ListReport {
	if l == nil {
		return ListReport{Verdict: NotListed}
	}
	r := ListReport{threshold: l.threshold}
	for _, name := range names {
		if name, ok := listableName(name); ok && !slices.Contains(r.Names, name) && len(r.Names) < maxNames {
			r.Names = append(r.Names, name)
		}
	}
	for _, list := range l.lists {
		if list.Kind != DomainList {
			continue
		}
		for _, name := range r.Names {
			r.Entries = append(r.Entries, list.entry(familyNames, name, name+"."))
		}
	}
	r.run(ctx, resolver)
	return r
}

// listableName is the name as domain lists are asked about it.
func listableName(name string) (string, bool) {
	name, status := mailName(name)
	if status != MailOK {
		return "", false
	}
	name, ok := hostName(name)
	if !ok || strings.HasSuffix(name, ".in-addr.arpa.") || strings.HasSuffix(name, ".ip6.arpa.") {
		return "", false
	}
	return strings.TrimSuffix(name, "."), true
}

// entry is a question to the list that has no answer yet.
func (l *list) entry(f family, name, labels string) ListEntry {
	return ListEntry{
		List: l.Name, Name: name, Weight: l.Weight, Exempt: l.Exempt,
		list: l, family: f, question: labels + l.zone, pending: true,
	}
}

// run asks the questions and reaches the verdict.
func (r *ListReport) run(ctx context.Context, resolver Resolver) {
	if !r.decided() {
		r.ask(ctx, resolver)
	}
	for i := range r.Entries {
		r.Entries[i].pending = false
	}
	r.conclude()
	// A client that went away has not waited for an answer.
	if !errors.Is(ctx.Err(), context.Canceled) {
		for _, e := range r.open() {
			e.list.health[e.family].deferring()
		}
	}
	if r.Verdict == Listed {
		r.askReasons(ctx, resolver)
	}
}

// ask puts all questions at once and takes the answers as they come. As soon as
// the verdict stands it gives up the rest, and takes what had an answer all the
// same: a Recorder has noted that as well.
func (r *ListReport) ask(ctx context.Context, resolver Resolver) {
	var unknown []*ListEntry
	for i := range r.Entries {
		e := &r.Entries[i]
		if result, ok := resolver.LookupCached(e.question, dns.TypeA); ok {
			e.take(result)
		} else {
			unknown = append(unknown, e)
		}
	}
	if len(unknown) == 0 || r.decided() {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type reply struct {
		to     *ListEntry
		result Result
	}
	replies := make(chan reply, len(unknown))
	for _, e := range unknown {
		go func() { replies <- reply{e, e.list.lookUp(ctx, resolver, e.question)} }()
	}
	for range unknown {
		got := <-replies
		got.to.take(got.result)
		if r.decided() {
			cancel()
		}
	}
}

// maxReasonWait is how long a refusal that is decided waits for its reason.
const maxReasonWait = 500 * time.Millisecond

// askReasons asks for the texts of listings, all at once. Those that take long
// are left out.
func (r *ListReport) askReasons(ctx context.Context, resolver Resolver) {
	var texts []Question
	var entries []*ListEntry
	for i := range r.Entries {
		if e := &r.Entries[i]; e.Status == ListListed && e.list.TXT && !e.list.allows() {
			texts = append(texts, Question{e.question, dns.TypeTXT})
			entries = append(entries, e)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, maxReasonWait)
	defer cancel()
	for i, txt := range lookupAll(ctx, resolver, texts) {
		if len(txt.Records) > 0 {
			entries[i].Reason = Printable(txt.Records[0].Text)
		}
	}
}

func (l *list) lookUp(ctx context.Context, resolver Resolver, question string) Result {
	began := time.Now()
	result := resolver.Lookup(ctx, question, dns.TypeA)
	// A look-up that is given up says nothing about the list.
	if l.duration != nil && ctx.Err() == nil {
		l.duration.Observe(time.Since(began).Seconds())
	}
	return result
}
