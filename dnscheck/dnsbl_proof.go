package dnscheck

import (
	"context"
	"errors"
	"time"

	"github.com/miekg/dns"
)

const (
	// proofAge is how long a zone that does not list what is on no list is
	// trusted with its listings.
	proofAge = 2 * time.Minute
	// proofPause is how soon a zone is asked again that gave no answer.
	proofPause = 5 * time.Second
)

// proof is one look-up of the entry that is on no list, which all sessions share
// that need it.
type proof struct {
	begun time.Time
	done  chan struct{}
	// Both are set before done is closed: the entry is not listed, as it should
	// be; or the zone is unusable. Neither means that there was no answer.
	good, bad bool
}

// prove begins to find out whether a zone's listings can be trusted, or joins
// whoever has begun already. It is nil where there is nothing to wait for: the
// proof is recent, the zone must not be probed, or nobody watches it.
func (l *list) prove(kind askedKind) *proof {
	s := l.health[kind]
	if s == nil {
		return nil
	}
	h := s.health
	now := h.options.Clock.Now()
	if age := now.UnixNano() - s.proved.Load(); age >= 0 && age < int64(proofAge) {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.resolver == nil || s.list.NoProbe {
		return nil
	}
	if p := s.proof; p != nil {
		select {
		case <-p.done:
			if !p.good && !p.bad && now.Sub(p.begun) < proofPause {
				return p
			}
		default:
			return p
		}
	}
	s.proof = &proof{begun: now, done: make(chan struct{})}
	// It belongs to no session, so it ends by its own time-out or with the
	// resolver.
	go s.seek(s.proof, s.list, s.resolver, s.setup)
	return s.proof
}

// seek asks for the entry that is on no list.
func (s *zoneState) seek(p *proof, l *list, resolver Resolver, setup int) {
	defer close(p.done)
	h := s.health
	ctx, cancel := context.WithTimeout(context.Background(), h.options.Timeout)
	defer cancel()
	_, unlisted := s.key.kind.probes()
	result := fresh(ctx, resolver, unlisted+l.zone, dns.TypeA)
	problem := probeProblem(l, Result{}, result)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case problem != "" && s.setup == setup:
		p.bad = true
		h.setLocked(s, problem)
	case problem == "" && result.Status != Temporary:
		p.good = true
		s.proved.Store(h.options.Clock.Now().UnixNano())
	}
}

// atHand is the answer to the question where nobody has to be waited for.
func (a asked) atHand(resolver Resolver) (Result, bool) {
	recorder, records := resolver.(*Recorder)
	if !records {
		result, ok := peek(resolver, a.question(), dns.TypeA)
		return result, ok && !(a.counts(result) && a.list.prove(a.kind) != nil)
	}
	// What a session has been told once it is told again.
	q, result, ok := recorder.known(a.question(), dns.TypeA)
	if ok {
		return result, true
	}
	result, ok = peek(recorder.resolver, q.name, q.qtype)
	if !ok || a.counts(result) && a.list.prove(a.kind) != nil {
		return Result{}, false
	}
	return recorder.note(q, result), true
}

// lookup asks the question. What a Recorder notes is the answer that counts in
// the end, so that a replay needs to know nothing of proofs.
func (a asked) lookup(ctx context.Context, resolver Resolver) Result {
	recorder, records := resolver.(*Recorder)
	if !records {
		return a.trusted(ctx, resolver)
	}
	q, result, ok := recorder.known(a.question(), dns.TypeA)
	if ok {
		return result
	}
	return recorder.note(q, a.trusted(ctx, recorder.resolver))
}

// trusted asks the question, and at the same time for the proof that a listing
// means something, where that is due.
func (a asked) trusted(ctx context.Context, resolver Resolver) Result {
	p := a.list.prove(a.kind)
	result := resolver.Lookup(ctx, a.question(), dns.TypeA)
	if !a.counts(result) {
		return result
	}
	good, bad := p == nil, false
	if p != nil {
		select {
		case <-p.done:
			good, bad = p.good, p.bad
		case <-ctx.Done():
		}
	}
	switch {
	case bad || a.list.bypassed(a.kind):
		return bypassResult()
	case good || a.list.health[a.kind].proved.Load() != 0:
		return result
	case errors.Is(ctx.Err(), context.Canceled):
		return temporary(ErrCanceled)
	}
	return temporary(ErrTimeout)
}

// counts says that an answer would be a listing.
func (a asked) counts(result Result) bool {
	var e ListEntry
	e.take(a.list, result)
	return e.Status == ListListed
}
