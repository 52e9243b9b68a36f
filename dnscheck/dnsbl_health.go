package dnscheck

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// family is one of the ways a list can be asked. Each works or fails by itself:
// many lists have no IPv6 addresses.
type family uint8

const (
	familyIPv4 family = iota
	familyIPv6
	familyNames
	families
)

func (f family) String() string { return word(f, "IPv4", "IPv6", "names") }

// testEntries are those of RFC 5782 section 5: the first is on every list that
// works, the second on none.
func (f family) testEntries() (listed, unlisted string) {
	mapped := func(last byte) string {
		return nibbles([16]byte{10: 0xff, 11: 0xff, 12: 127, 15: last})
	}
	switch f {
	case familyIPv4:
		return "2.0.0.127.", "1.0.0.127."
	case familyIPv6:
		return mapped(2), mapped(1)
	}
	return "test.", "invalid."
}

const (
	// probeEvery is about how often a list is probed: after half to one and a half
	// of it, so every two minutes at least.
	probeEvery = 80 * time.Second
	// soon is about when a list is probed again that never had an answer to a probe.
	soon = 10 * time.Second
	// giveUpAfter is how long probes may have no answer before a list is bypassed
	// whose answers are optional.
	giveUpAfter = 5 * time.Minute
	// retryEvery is about how often a list that is bypassed is probed.
	retryEvery = 5 * time.Minute
	// holdFor is how long a list that must not be probed is bypassed after an error
	// answer; then it is simply asked again.
	holdFor      = 15 * time.Minute
	probeTimeout = 10 * time.Second
)

// Health knows which lists work, and has those bypassed that do not: a list that
// answers with an error, a zone that has been given up and now answers for
// everything or for nothing. It probes the lists in the background (RFC 5782
// section 5), past any cache and each at its own time, and is told of errors that
// clients' checks meet.
//
// A listing counts only if a probe has seen before that the entry that is on no
// list is not listed. Only a check that meets a listing before the first probe is
// over waits for it.
//
// It outlives the Lists it serves, so that a change of the configuration does not
// forget what is known. Run does the work.
type Health struct {
	log *slog.Logger

	mu    sync.Mutex
	zones map[zoneKey]*zoneHealth
	wake  chan struct{}

	// duration is how long lists took to answer, by list.
	duration *prometheus.HistogramVec
}

// Prober asks the probes of a Health: a Client does, past its cache.
type Prober interface {
	LookupFresh(ctx context.Context, name string, qtype uint16) Result
}

var _ Prober = (*Client)(nil)

type zoneKey struct {
	zone   string
	family family
}

// zoneHealth is what is known of one way to ask one zone.
type zoneHealth struct {
	zoneKey
	health *Health
	// bypassed is why the list is not asked; nil while it works.
	bypassed atomic.Pointer[string]
	// proved: the entry that is on no list was seen not to be listed, or must not be
	// asked for; and there has been no problem since.
	proved atomic.Bool
	// probed is closed when the first probe is over.
	probed   chan struct{}
	probedBy sync.Once

	// The rest belongs to Health.mu.
	list    *list
	watched bool // by the last call of Watch
	dropped bool // by Watch; sessions that began before may hold it still
	// prober is nil before the first Watch.
	prober Prober
	// setup counts the changes of prober and key, and errors that clients met: what
	// a probe finds out that began before does not count.
	setup  int
	next   time.Time
	silent time.Time // since when probes have had no answer; zero if they have
	defers bool      // mail waits for its answers, and the log says so
}

// NewHealth makes a Health that knows no lists yet. log, which may be nil, is told
// once of a list that stops working, and once when it works again.
func NewHealth(log *slog.Logger) *Health {
	return &Health{
		log:   cmp.Or(log, slog.New(slog.DiscardHandler)),
		zones: make(map[zoneKey]*zoneHealth),
		wake:  make(chan struct{}, 1),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "milterd_dns_list_duration_seconds", Help: "How long DNS lists took to answer, the resolver included; answers of the cache do not count.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"list"}),
	}
}

// about is a time from half of d to one and a half.
func about(d time.Duration) time.Time {
	return time.Now().Add(time.Duration((0.5 + rand.Float64()) * float64(d)))
}

// Run probes lists when their time has come, until ctx ends.
func (h *Health) Run(ctx context.Context) {
	var probes sync.WaitGroup
	defer probes.Wait()
	for {
		due, wait := h.due()
		for _, zone := range due {
			probes.Go(func() { h.probe(ctx, zone) })
		}
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-time.After(wait):
		}
	}
}

// wakeRun has Run look again at which zones are due.
func (h *Health) wakeRun() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// due are the zones whose time has come, and how long it takes until the next.
func (h *Health) due() (due []*zoneHealth, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait = probeEvery
	for _, zone := range h.zones {
		idle := zone.list.NoProbe && zone.bypassed.Load() == nil && !zone.defers
		if !zone.watched || idle {
			continue
		}
		if left := time.Until(zone.next); left > 0 {
			wait = min(wait, left)
			continue
		}
		// Set again when the probe is over; one that hangs is not begun twice.
		zone.next = about(probeEvery)
		due = append(due, zone)
	}
	return due, wait
}

func (h *Health) probe(ctx context.Context, zone *zoneHealth) {
	h.mu.Lock()
	l, prober, setup := zone.list, zone.prober, zone.setup
	h.mu.Unlock()
	defer zone.firstProbeOver()
	if l.NoProbe {
		h.conclude(zone, setup, false, "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var results [2]Result
	var lookups sync.WaitGroup
	listed, unlisted := zone.family.testEntries()
	for i, entry := range []string{listed, unlisted} {
		lookups.Go(func() { results[i] = prober.LookupFresh(ctx, entry+l.onWire, dns.TypeA) })
	}
	lookups.Wait()
	problem := probeProblem(l, results[0], results[1])
	if problem == "" && results[1].Status != Temporary {
		zone.proved.Store(true)
	}
	silent := results[0].Status == Temporary || results[1].Status == Temporary
	h.conclude(zone, setup, silent, problem)
}

func (z *zoneHealth) firstProbeOver() { z.probedBy.Do(func() { close(z.probed) }) }

// probeProblem says what the answers to the two probes give away.
func probeProblem(l *list, listed, unlisted Result) string {
	for _, addr := range append(listed.Addrs(), unlisted.Addrs()...) {
		if detail := errorAnswer(addr, l.List); detail != "" {
			return detail + " (" + addr.String() + ")"
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

// conclude takes what a probe has found: a problem, or no answer, or else the list
// works. Without an answer nothing changes at first: the check of a client has
// rules of its own for that case. A list whose silence is ignored anyway is
// bypassed in the end, which spares clients the wait.
func (h *Health) conclude(zone *zoneHealth, setup int, silent bool, problem string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.wakeRun()
	if zone.setup != setup {
		return
	}
	if problem != "" || !silent {
		zone.silent = time.Time{}
		zone.setProblem(problem)
		return
	}
	zone.next = about(probeEvery)
	if !zone.proved.Load() {
		zone.next = about(soon)
	}
	switch {
	case zone.silent.IsZero():
		zone.silent = time.Now()
	case time.Since(zone.silent) < giveUpAfter:
	case zone.list.OnTemporary == IgnoreTemporary:
		zone.setProblem("its servers do not answer")
	default:
		zone.logDeferring()
	}
}

// setProblem takes note of a problem, or that there is none, and logs a change.
func (z *zoneHealth) setProblem(problem string) {
	was := z.bypassed.Load()
	if problem != "" {
		z.proved.Store(false)
		z.next = about(retryEvery)
		if z.list.NoProbe {
			z.next = time.Now().Add(holdFor)
		}
		if was == nil {
			z.bypassed.Store(&problem)
			z.logChange(slog.LevelWarn, "dns list is bypassed until it works again", "problem", problem)
		}
		return
	}
	z.next = about(probeEvery)
	z.proved.Store(true)
	// For a list that is not probed it is only the end of a pause.
	if z.defers && !z.list.NoProbe {
		z.logChange(slog.LevelInfo, "dns list answers again")
	}
	z.defers = false
	if was != nil {
		z.bypassed.Store(nil)
		z.logChange(slog.LevelInfo, "dns list is asked again")
	}
}

// logDeferring says once that mail waits for the list.
func (z *zoneHealth) logDeferring() {
	if !z.defers {
		z.defers = true
		z.logChange(slog.LevelWarn, "dns list does not answer, and mail is deferred until it does")
	}
}

// logChange logs a change, but for lists that are not in force any more.
func (z *zoneHealth) logChange(level slog.Level, message string, more ...any) {
	if !z.dropped {
		more = append([]any{"list", z.list.Name, "for", z.family.String()}, more...)
		z.health.log.Log(context.Background(), level, message, more...)
	}
}

// deferring takes note that a client's mail had to wait for the list.
func (z *zoneHealth) deferring() {
	if z == nil {
		return
	}
	z.health.mu.Lock()
	defer z.health.mu.Unlock()
	if !z.defers && z.list.NoProbe {
		z.next = time.Now().Add(holdFor)
		z.health.wakeRun()
	}
	z.logDeferring()
}

// trusted says whether a listing counts. It may wait for the first probe.
func (z *zoneHealth) trusted(ctx context.Context) bool {
	if z == nil || z.proved.Load() {
		return true
	}
	select {
	case <-z.probed:
	case <-ctx.Done():
	}
	return z.proved.Load()
}

func (z *zoneHealth) isBypassed() bool { return z != nil && z.bypassed.Load() != nil }

// failed takes note of an error answer that a client's check has met.
func (z *zoneHealth) failed(problem string) {
	if z == nil {
		return
	}
	z.health.mu.Lock()
	defer z.health.mu.Unlock()
	// If it is known already, another such answer does not put off the probe.
	if z.bypassed.Load() == nil {
		z.setup++
		z.setProblem(problem)
		z.health.wakeRun()
	}
}
