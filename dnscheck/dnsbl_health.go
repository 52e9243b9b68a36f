package dnscheck

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// askedKind is one of the ways a list can be asked. Each works or fails by
// itself: many lists have no IPv6 addresses.
type askedKind uint8

const (
	askedIPv4 askedKind = iota
	askedIPv6
	askedName
	askedKinds
)

func (k askedKind) String() string {
	return [...]string{"IPv4", "IPv6", "names"}[k]
}

// probes are the test entries of RFC 5782 section 5: the first is on every
// list that works, the second on none.
func (k askedKind) probes() (listed, unlisted string) {
	mapped := func(last byte) string {
		return nibbles([16]byte{10: 0xff, 11: 0xff, 12: 127, 15: last})
	}
	switch k {
	case askedIPv4:
		return "2.0.0.127.", "1.0.0.127."
	case askedIPv6:
		return mapped(2), mapped(1)
	}
	return "test.", "invalid."
}

// Clock is the time as Health sees it.
type Clock interface {
	Now() time.Time
	// After is a channel that delivers once d has passed, as time.After's.
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the clock of the machine.
type SystemClock struct{}

// Now is the current time.
func (SystemClock) Now() time.Time { return time.Now() }

// After is time.After.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// HealthOptions set up a Health; the zero value has the defaults below.
type HealthOptions struct {
	// Interval is about how often a list that works is probed. Default 1 h.
	Interval time.Duration
	// Retry is about how often one that does not is probed. Default 5 min.
	Retry time.Duration
	// Hold is how long a list that must not be probed is bypassed after an error
	// answer; then it is simply asked again. Default 15 min.
	Hold time.Duration
	// Timeout bounds one probe. Default 10 s.
	Timeout time.Duration
	// Log hears once of a list that stops working, and once when it works again.
	Log   *slog.Logger
	Clock Clock
	// Random gives numbers from 0 to 1, which spread the probes. Default
	// math/rand.
	Random func() float64
}

// Health knows which lists work, and has Lists bypass those that do not: a list
// that answers with an error, a zone that has been given up and now answers for
// everything or for nothing. It probes the lists now and then (RFC 5782 section
// 5), each at its own time, and watches the answers that clients' checks get.
//
// A zone can begin to answer for everything at any time. So a listing counts
// only where the entry that is on no list was seen not to be listed within the
// last two minutes; where that is longer ago, it is asked for together with the
// client's own question.
//
// It outlives the Lists it serves, so that a change of the configuration does
// not forget what is known. Run does the work.
type Health struct {
	options HealthOptions

	mu     sync.Mutex
	states map[healthKey]*zoneState
	wake   chan struct{}
}

type healthKey struct {
	zone string
	kind askedKind
}

// zoneState is what is known of one way to ask one zone.
type zoneState struct {
	key    healthKey
	health *Health
	// bypassed is why the list is not asked; nil while it works.
	bypassed atomic.Pointer[string]
	// proved is when the entry that is on no list was last seen not to be listed,
	// in nanoseconds of Unix time; 0 for never.
	proved atomic.Int64

	// The rest belongs to Health.mu.
	list     *list
	watched  bool // by the last call of Watch
	dropped  bool // by Watch; sessions that began before may hold it still
	resolver Resolver
	// setup counts the changes of resolver and key: what a probe found out with
	// an older one does not count.
	setup    int
	next     time.Time
	noAnswer int    // probes in a row without an answer
	defers   bool   // mail waits for its answers, and the log says so
	proof    *proof // the last one that was begun
}

// maxNoAnswer is how many probes in a row may have no answer before a list is
// bypassed whose answers are optional anyway.
const maxNoAnswer = 3

// NewHealth makes a Health that knows no lists yet.
func NewHealth(o HealthOptions) *Health {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&o.Interval, time.Hour)
	set(&o.Retry, 5*time.Minute)
	set(&o.Hold, 15*time.Minute)
	set(&o.Timeout, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = SystemClock{}
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	return &Health{options: o, states: make(map[healthKey]*zoneState), wake: make(chan struct{}, 1)}
}

// jitter is a duration from half of d to one and a half.
func (h *Health) jitter(d time.Duration) time.Duration {
	return time.Duration((0.5 + h.options.Random()) * float64(d))
}

// kinds are the ways a list is asked.
func (l *list) kinds() []askedKind {
	if l.Kind == DomainList {
		return []askedKind{askedName}
	}
	var kinds []askedKind
	if l.IPv4 {
		kinds = append(kinds, askedIPv4)
	}
	if l.IPv6 {
		kinds = append(kinds, askedIPv6)
	}
	return kinds
}

func (h *Health) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run probes lists when their time has come, until ctx ends.
func (h *Health) Run(ctx context.Context) {
	for {
		due, wait := h.due()
		var probes sync.WaitGroup
		for _, state := range due {
			probes.Go(func() { h.probe(ctx, state) })
		}
		probes.Wait()
		if len(due) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-h.options.Clock.After(wait):
		}
	}
}

// due are the states whose time has come, or how long it takes until the first.
func (h *Health) due() (due []*zoneState, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.options.Clock.Now()
	wait = h.options.Interval
	for _, state := range h.states {
		idle := state.list.NoProbe && state.bypassed.Load() == nil && !state.defers
		if !state.watched || idle {
			continue
		}
		if left := state.next.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		// Set again by the outcome; a probe that hangs is not started twice.
		state.next = now.Add(h.jitter(h.options.Interval))
		due = append(due, state)
	}
	return due, wait
}

// probe finds out whether a list works.
func (h *Health) probe(ctx context.Context, state *zoneState) {
	h.mu.Lock()
	l, resolver, setup := state.list, state.resolver, state.setup
	h.mu.Unlock()
	if l.NoProbe {
		h.settle(state, setup, "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, h.options.Timeout)
	defer cancel()
	listed, unlisted := state.key.kind.probes()
	var results [2]Result
	var lookups sync.WaitGroup
	for i, labels := range []string{listed, unlisted} {
		lookups.Go(func() { results[i] = fresh(ctx, resolver, labels+l.zone, dns.TypeA) })
	}
	lookups.Wait()
	if problem := probeProblem(l, results[0], results[1]); problem != "" {
		h.settle(state, setup, problem)
		return
	}
	if results[1].Status != Temporary {
		state.proved.Store(h.options.Clock.Now().UnixNano())
	}
	if results[0].Status == Temporary || results[1].Status == Temporary {
		h.noAnswer(state, setup)
		return
	}
	h.settle(state, setup, "")
}

// probeProblem says what the answers to the two probes give away.
func probeProblem(l *list, listed, unlisted Result) string {
	for _, answer := range append(listed.Addrs(), unlisted.Addrs()...) {
		if detail := errorAnswer(answer, l.List); detail != "" {
			return detail + " (" + answer.String() + ")"
		}
	}
	switch {
	case unlisted.Status == Found:
		return "the test entry that is on no list is listed: the zone answers for everything"
	case listed.Status == NXDomain || listed.Status == NoData:
		return "the test entry that is on every list is not listed: the zone is empty"
	}
	return ""
}

// settle takes the outcome of a probe; problem is empty where the list works.
func (h *Health) settle(state *zoneState, setup int, problem string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if state.setup != setup {
		return
	}
	state.noAnswer = 0
	h.setLocked(state, problem)
}

// noAnswer takes a probe without an answer. It changes nothing at first: the
// check of a client has rules of its own for that case. A list whose silence is
// ignored anyway is bypassed in the end, which spares clients the wait.
func (h *Health) noAnswer(state *zoneState, setup int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if state.setup != setup {
		return
	}
	state.noAnswer++
	state.next = h.options.Clock.Now().Add(h.jitter(h.options.Retry))
	if state.noAnswer >= maxNoAnswer && state.list.OnTemporary == IgnoreTemporary {
		h.setLocked(state, "its servers do not answer")
	}
	if state.noAnswer >= maxNoAnswer && state.list.OnTemporary == TempFail {
		state.deferLocked()
	}
}

// defers takes note that a client's mail had to wait for the list.
func (l *list) defers(kind askedKind) {
	state := l.health[kind]
	if state == nil {
		return
	}
	h := state.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if state.deferLocked() {
		// The next probe says when that is over.
		pause := h.options.Retry
		if state.list.NoProbe {
			pause = h.options.Hold
		}
		if next := h.options.Clock.Now().Add(pause); state.list.NoProbe || next.Before(state.next) {
			state.next = next
		}
		h.poke()
	}
}

// deferLocked says once that mail waits for the list; false where it has been
// said.
func (s *zoneState) deferLocked() bool {
	if s.defers {
		return false
	}
	s.defers = true
	s.tell(slog.LevelWarn, "dns list does not answer, and mail is deferred until it does")
	return true
}

// setLocked changes the state, and says so when it is a change.
func (h *Health) setLocked(state *zoneState, problem string) {
	now := h.options.Clock.Now()
	old := state.bypassed.Load()
	switch {
	case problem == "":
		state.next = now.Add(h.jitter(h.options.Interval))
		if state.defers {
			state.defers = false
			// For a list that is not probed it is only the end of a pause.
			if !state.list.NoProbe {
				state.tell(slog.LevelInfo, "dns list answers again")
			}
		}
		if old != nil {
			state.bypassed.Store(nil)
			state.tell(slog.LevelInfo, "dns list is asked again")
		}
	default:
		state.proved.Store(0)
		state.next = now.Add(h.jitter(h.options.Retry))
		if state.list.NoProbe {
			state.next = now.Add(h.options.Hold)
		}
		if old == nil {
			state.bypassed.Store(&problem)
			state.tell(slog.LevelWarn, "dns list is bypassed until it works again", "problem", problem)
		}
	}
	h.poke()
}

// tell logs a change of the state. Nobody wants to hear of lists that are gone.
func (s *zoneState) tell(level slog.Level, message string, more ...any) {
	if !s.dropped {
		more = append([]any{"list", s.list.Name, "for", s.key.kind.String()}, more...)
		s.health.options.Log.Log(context.Background(), level, message, more...)
	}
}

// bypassed says that the list is not to be asked.
func (l *list) bypassed(kind askedKind) bool {
	state := l.health[kind]
	return state != nil && state.bypassed.Load() != nil
}

// unusable takes note of an error answer that a client's check has met.
func (l *list) unusable(kind askedKind, problem string) {
	state := l.health[kind]
	if state == nil {
		return
	}
	h := state.health
	h.mu.Lock()
	defer h.mu.Unlock()
	// Where it is known already, another such answer does not put off the probe.
	if state.bypassed.Load() == nil {
		h.setLocked(state, problem)
	}
}
