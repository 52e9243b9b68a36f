package dnscheck_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"milterd/dnscheck"
)

// handClock is a clock that a test moves by hand.
type handClock struct {
	mu      sync.Mutex
	now     time.Time
	waiting map[chan time.Time]time.Time
}

func newHandClock() *handClock {
	return &handClock{now: time.Unix(1_700_000_000, 0), waiting: make(map[chan time.Time]time.Time)}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.waiting[ch] = c.now.Add(d)
	return ch
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.waiting {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.waiting, ch)
		}
	}
}

// world of the health tests: what the resolver answers, changed as they go on.
type switchable struct {
	mu    sync.Mutex
	lines []string
	asked []string
}

func (s *switchable) set(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines, s.asked = lines, nil
}

func (s *switchable) Lookup(ctx context.Context, name string, qtype uint16) dnscheck.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, name)
	f, err := dnscheck.NewFrozen(s.lines)
	if err != nil {
		panic(err)
	}
	return f.Lookup(ctx, name, qtype)
}

func (s *switchable) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, asked := range s.asked {
		if asked == name {
			n++
		}
	}
	return n
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const (
	nibbles2 = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
	nibbles1 = "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
)

// infirmary is a Health under test.
type infirmary struct {
	t      *testing.T
	clock  *handClock
	world  *switchable
	log    *lockedBuffer
	health *dnscheck.Health
	lists  *dnscheck.Lists
}

func newInfirmary(t *testing.T, lists ...dnscheck.List) *infirmary {
	f := &infirmary{t: t, clock: newHandClock(), world: &switchable{}, log: &lockedBuffer{}}
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	f.health = dnscheck.NewHealth(dnscheck.HealthOptions{
		Clock: f.clock, Random: func() float64 { return 0.5 },
		Log: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{ReplaceAttr: drop})),
	})
	f.lists = newLists(t, dnscheck.ListOptions{Health: f.health}, lists...)
	return f
}

// run probes in the background until the test ends.
func (f *infirmary) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.health.Run(ctx) }()
	f.t.Cleanup(func() { cancel(); <-done })
	f.health.Watch(f.lists, f.world)
}

// states sums up the lists, e.g. "bl IPv4: ok".
func (f *infirmary) states() string {
	var words []string
	for _, s := range f.health.States() {
		words = append(words, s.List+" "+s.For+": "+map[bool]string{true: "ok", false: s.Problem}[s.Problem == ""])
	}
	return strings.Join(words, "\n")
}

// until moves the clock on until the states are as wanted.
func (f *infirmary) until(want string) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); f.states() != want; {
		if time.Now().After(deadline) {
			f.t.Fatalf("states:\n%s\nwant:\n%s\nlog:\n%s", f.states(), want, f.log)
		}
		f.clock.advance(time.Minute)
		time.Sleep(time.Millisecond)
	}
}

func TestHealth(t *testing.T) {
	f := newInfirmary(t,
		dnscheck.List{Name: "bl", Zone: "bl.example", Weight: 1},
		dnscheck.List{Name: "dbl", Zone: "dbl.example", Kind: dnscheck.DomainList, Weight: 1})
	healthy := []string{
		"2.0.0.127.bl.example. A 127.0.0.2", "1.0.0.127.bl.example. NXDOMAIN",
		nibbles2 + "bl.example. A 127.0.0.2", nibbles1 + "bl.example. NXDOMAIN",
		"test.dbl.example. A 127.0.1.2", "invalid.dbl.example. NXDOMAIN",
		"8.113.0.203.bl.example. A 127.0.0.2",
	}
	f.world.set(healthy...)
	f.run()
	await(t, "all lists have been probed", func() bool {
		f.clock.advance(time.Minute)
		return f.world.count("1.0.0.127.bl.example.")*f.world.count(nibbles1+"bl.example.")*f.world.count("invalid.dbl.example.") > 0
	})
	allWell := "bl IPv4: ok\nbl IPv6: ok\ndbl names: ok"
	f.until(allWell)
	if f.log.String() != "" {
		t.Errorf("healthy lists made it to the log:\n%s", f.log)
	}

	// The zone answers for everything, its IPv6 half for nothing, and the
	// domain list has an error to report.
	f.world.set("2.0.0.127.bl.example. A 127.0.0.2", "1.0.0.127.bl.example. A 127.0.0.2",
		nibbles2+"bl.example. NXDOMAIN", nibbles1+"bl.example. NXDOMAIN",
		"test.dbl.example. A 127.255.255.252", "invalid.dbl.example. A 127.255.255.252",
		"8.113.0.203.bl.example. A 127.0.0.2")
	f.until("bl IPv4: the test entry that is on no list is listed: the zone answers for everything\n" +
		"bl IPv6: the test entry that is on every list is not listed: the zone is empty\n" +
		"dbl names: the list does not know this zone name (127.255.255.252)")
	addr := netip.MustParseAddr("203.0.113.8")
	recorder := dnscheck.NewRecorder(f.world)
	live := f.lists.Check(context.Background(), recorder, addr)
	if want, got := "not listed, score 0\nbl: unusable: the list is bypassed (127.255.255.0)", reports(live); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if f.world.count("8.113.0.203.bl.example.") != 0 {
		t.Error("the list was asked while it is bypassed")
	}
	// A replay knows nothing of the lists' health, and comes to the same report.
	replay := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Name: "bl", Zone: "bl.example", Weight: 1})
	if diff := cmp.Diff(reports(live), reports(replay.Check(context.Background(), freeze(t, recorder.Lines()...), addr))); diff != "" {
		t.Errorf("the replay differs (-live +replay):\n%s", diff)
	}

	f.world.set(healthy...)
	f.until(allWell)
	if got := f.lists.Check(context.Background(), f.world, addr); got.Verdict != dnscheck.Listed {
		t.Errorf("once it works again: got %s", reports(got))
	}
	lines := strings.Split(strings.TrimSpace(f.log.String()), "\n")
	slices.Sort(lines)
	want := []string{
		`level=INFO msg="dns list is asked again" list=bl for=IPv4`,
		`level=INFO msg="dns list is asked again" list=bl for=IPv6`,
		`level=INFO msg="dns list is asked again" list=dbl for=names`,
		`level=WARN msg="dns list is bypassed until it works again" list=bl for=IPv4 problem="the test entry that is on no list is listed: the zone answers for everything"`,
		`level=WARN msg="dns list is bypassed until it works again" list=bl for=IPv6 problem="the test entry that is on every list is not listed: the zone is empty"`,
		`level=WARN msg="dns list is bypassed until it works again" list=dbl for=names problem="the list does not know this zone name (127.255.255.252)"`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestAnErrorAnswerToAClientBypassesTheList(t *testing.T) {
	f := newInfirmary(t, dnscheck.List{Name: "bl", Zone: "bl.example", Weight: 1, IPv4: true})
	f.health.Watch(f.lists, f.world)
	f.world.set("8.113.0.203.bl.example. A 127.255.255.255", "9.113.0.203.bl.example. A 127.0.0.2")
	for range 3 {
		f.lists.Check(context.Background(), f.world, netip.MustParseAddr("203.0.113.8"))
	}
	if got := f.lists.Check(context.Background(), f.world, netip.MustParseAddr("203.0.113.9")); got.Verdict != dnscheck.NotListed {
		t.Errorf("got %s", reports(got))
	}
	if got := f.world.count("8.113.0.203.bl.example.") + f.world.count("9.113.0.203.bl.example."); got != 1 {
		t.Errorf("the list was asked %d times, want once", got)
	}
	if got := strings.Count(f.log.String(), "bypassed"); got != 1 {
		t.Errorf("logged %d times, want once:\n%s", got, f.log)
	}
	f.world.set("2.0.0.127.bl.example. A 127.0.0.2", "1.0.0.127.bl.example. NXDOMAIN")
	f.run()
	f.until("bl IPv4: ok")
}

func TestAListThatForbidsProbesIsNotProbed(t *testing.T) {
	f := newInfirmary(t, dnscheck.List{Name: "bl", Zone: "bl.example", Weight: 1, IPv4: true, NoProbe: true})
	f.world.set("8.113.0.203.bl.example. A 127.255.255.255")
	f.run()
	f.lists.Check(context.Background(), f.world, netip.MustParseAddr("203.0.113.8"))
	if got, want := f.states(), "bl IPv4: too many queries"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	f.until("bl IPv4: ok")
	if got := f.world.count("2.0.0.127.bl.example."); got != 0 {
		t.Errorf("the list was probed %d times", got)
	}
}

func TestASilentListIsBypassedWhereItsSilenceIsIgnored(t *testing.T) {
	f := newInfirmary(t,
		dnscheck.List{Name: "optional", Zone: "optional.example", Weight: 1, IPv4: true},
		dnscheck.List{Name: "required", Zone: "required.example", Weight: 1, IPv4: true, OnTemporary: dnscheck.TempFail})
	f.world.set()
	f.run()
	f.until("optional IPv4: its servers do not answer\nrequired IPv4: ok")
	await(t, "the required list has been probed more often than it takes", func() bool {
		f.clock.advance(time.Minute)
		return f.world.count("2.0.0.127.required.example.") > 5
	})
	if got, want := f.states(), "optional IPv4: its servers do not answer\nrequired IPv4: ok"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What is known of a list outlives a change of the configuration.
func TestHealthOutlivesAReload(t *testing.T) {
	bl := dnscheck.List{Name: "bl", Zone: "bl.example", Weight: 1, IPv4: true}
	f := newInfirmary(t, bl, dnscheck.List{Name: "old", Zone: "old.example", Weight: 1, IPv4: true})
	f.health.Watch(f.lists, f.world)
	f.world.set("8.113.0.203.bl.example. A 127.255.255.255")
	f.lists.Check(context.Background(), f.world, netip.MustParseAddr("203.0.113.8"))
	again := newLists(t, dnscheck.ListOptions{Health: f.health}, bl)
	f.health.Watch(again, f.world)
	if got, want := f.states(), "bl IPv4: too many queries"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := again.Check(context.Background(), f.world, netip.MustParseAddr("203.0.113.8")).Entries[0].Status; got != dnscheck.ListUnusable {
		t.Errorf("got %v, want unusable", got)
	}
}

// Probes are spread: with the same clock, lists that begin together are not all
// probed together.
func TestProbesAreSpread(t *testing.T) {
	clock := newHandClock()
	var mu sync.Mutex
	at := make(map[time.Time]int)
	resolver := resolverFunc(func(name string, _ uint16) dnscheck.Result {
		if strings.HasPrefix(name, "2.") {
			mu.Lock()
			at[clock.Now()]++
			mu.Unlock()
			return dnscheck.Result{Status: dnscheck.Found, Records: []dnscheck.Record{{Type: dns.TypeA, Addr: netip.MustParseAddr("127.0.0.2")}}}
		}
		return dnscheck.Result{Status: dnscheck.NXDomain}
	})
	health := dnscheck.NewHealth(dnscheck.HealthOptions{Clock: clock})
	var all []dnscheck.List
	for i := range 20 {
		all = append(all, dnscheck.List{Zone: fmt.Sprintf("l%d.example", i), Weight: 1, IPv4: true})
	}
	lists := newLists(t, dnscheck.ListOptions{Health: health}, all...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); health.Run(ctx) }()
	defer func() { cancel(); <-done }()
	health.Watch(lists, resolver)
	probed := func() (n, times int) {
		mu.Lock()
		defer mu.Unlock()
		for _, count := range at {
			n += count
		}
		return n, len(at)
	}
	await(t, "every list has been probed three times or so", func() bool {
		clock.advance(time.Minute)
		n, _ := probed()
		return n >= 60
	})
	if n, times := probed(); times < n/6 {
		t.Errorf("%d probes at %d different times", n, times)
	}
}

// resolverFunc is a resolver made of a function.
type resolverFunc func(name string, qtype uint16) dnscheck.Result

func (f resolverFunc) Lookup(_ context.Context, name string, qtype uint16) dnscheck.Result {
	return f(name, qtype)
}
