package dnscheck_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"milterd/dnscheck"
	"milterd/integration/testkit"
)

// zoneServer is a resolver whose answers are, changed as a test goes on.
type zoneServer struct {
	*fake
	mu    sync.Mutex
	lines []string
	asked []string
}

func newWorld(lines ...string) *zoneServer {
	w := &zoneServer{lines: lines}
	w.fake = resolverFunc(func(name string, qtype uint16) dnscheck.Result {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked = append(w.asked, name)
		f, err := dnscheck.NewFrozen(w.lines)
		if err != nil {
			panic(err)
		}
		return f.Lookup(context.Background(), name, qtype)
	})
	return w
}

func (w *zoneServer) set(lines ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines, w.asked = lines, nil
}

func (w *zoneServer) count(name string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, asked := range w.asked {
		if asked == name {
			n++
		}
	}
	return n
}

const (
	nibbles2 = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
	nibbles1 = "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
)

// infirmary is a Health under test, in a synctest bubble: its time passes while all
// goroutines wait.
type infirmary struct {
	t      *testing.T
	world  *zoneServer
	log    *testkit.Log
	health *dnscheck.Health
	lists  *dnscheck.Lists
}

// cure runs a test of lists in a bubble of its own.
func cure(t *testing.T, name string, lists []dnscheck.List, test func(t *testing.T, f *infirmary)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, newInfirmary(t, lists...)) })
	})
}

func newInfirmary(t *testing.T, lists ...dnscheck.List) *infirmary {
	f := &infirmary{t: t, world: newWorld(), log: new(testkit.Log)}
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	f.health = dnscheck.NewHealth(slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{ReplaceAttr: drop})))
	f.lists = newLists(t, dnscheck.ListOptions{Health: f.health}, lists...)
	return f
}

// run probes in the background until the test ends.
func (f *infirmary) run() { f.watch(f.world) }

func (f *infirmary) watch(prober dnscheck.Prober) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.health.Run(ctx) }()
	f.t.Cleanup(func() { cancel(); <-done })
	f.health.Watch(f.lists, prober)
}

// check checks a client as it is done live.
func (f *infirmary) check(addr string) dnscheck.ListReport {
	return f.lists.Check(context.Background(), f.lists.Resolver(f.world), netip.MustParseAddr(addr))
}

// states sums up the lists, e.g. "bl IPv4: ok".
func (f *infirmary) states() string {
	var words []string
	for _, s := range f.health.States() {
		words = append(words, s.List+" "+s.For+": "+map[bool]string{true: "ok", false: s.Problem}[s.Problem == ""])
	}
	return strings.Join(words, "\n")
}

// until lets up to an hour pass until the states are as wanted.
func (f *infirmary) until(want string) {
	f.t.Helper()
	for range 60 {
		if synctest.Wait(); f.states() == want {
			return
		}
		time.Sleep(time.Minute)
	}
	f.t.Fatalf("states:\n%s\nwant:\n%s\nlog:\n%s", f.states(), want, f.log)
}

func TestHealth(t *testing.T) {
	cure(t, "", []dnscheck.List{
		{Name: "bl", Zone: "bl.example", Weight: 1},
		{Name: "dbl", Zone: "dbl.example", Kind: dnscheck.DomainList, Weight: 1},
	}, testHealth)
}

func testHealth(t *testing.T, f *infirmary) {
	healthy := []string{
		"2.0.0.127.bl.example. A 127.0.0.2", "1.0.0.127.bl.example. NXDOMAIN",
		nibbles2 + "bl.example. A 127.0.0.2", nibbles1 + "bl.example. NXDOMAIN",
		"test.dbl.example. A 127.0.1.2", "invalid.dbl.example. NXDOMAIN",
		"8.113.0.203.bl.example. A 127.0.0.2",
	}
	f.world.set(healthy...)
	f.run()
	synctest.Wait()
	for _, name := range []string{"1.0.0.127.bl.example.", nibbles1 + "bl.example.", "invalid.dbl.example."} {
		if f.world.count(name) == 0 {
			t.Errorf("%s was not asked for at once", name)
		}
	}
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
	recorder := dnscheck.NewRecorder(f.lists.Resolver(f.world))
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
	if got := f.check("203.0.113.8"); got.Verdict != dnscheck.Listed {
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

// oneList is asked about IPv4 clients.
var oneList = dnscheck.List{Name: "bl", Zone: "bl.example", Weight: 1, IPv4: true}

func with(l dnscheck.List, change func(*dnscheck.List)) []dnscheck.List {
	change(&l)
	return []dnscheck.List{l}
}

func noProbe(l *dnscheck.List) { l.NoProbe = true }

func TestErrorAnswersToClients(t *testing.T) {
	cure(t, "bypass the list", []dnscheck.List{oneList}, func(t *testing.T, f *infirmary) {
		f.health.Watch(f.lists, f.world)
		f.world.set("8.113.0.203.bl.example. A 127.255.255.255", "9.113.0.203.bl.example. A 127.0.0.2")
		for range 3 {
			f.check("203.0.113.8")
		}
		if got := f.check("203.0.113.9"); got.Verdict != dnscheck.NotListed {
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
	})
	cure(t, "bypass a list that forbids probes for a while", with(oneList, noProbe), func(t *testing.T, f *infirmary) {
		f.world.set("8.113.0.203.bl.example. A 127.255.255.255")
		f.run()
		f.check("203.0.113.8")
		if got, want := f.states(), "bl IPv4: too many queries"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		f.until("bl IPv4: ok")
		if got := f.world.count("2.0.0.127.bl.example."); got != 0 {
			t.Errorf("the list was probed %d times", got)
		}
	})
	cure(t, "outlive a reload", []dnscheck.List{oneList, {Name: "old", Zone: "old.example", Weight: 1, IPv4: true}}, func(t *testing.T, f *infirmary) {
		f.health.Watch(f.lists, f.world)
		f.world.set("8.113.0.203.bl.example. A 127.255.255.255")
		f.check("203.0.113.8")
		f.lists = newLists(t, dnscheck.ListOptions{Health: f.health}, oneList)
		f.health.Watch(f.lists, f.world)
		if got, want := f.states(), "bl IPv4: too many queries"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if got := f.check("203.0.113.8").Entries[0].Status; got != dnscheck.ListUnusable {
			t.Errorf("got %v, want unusable", got)
		}
	})
}

// A sender or a PTR record can name any host below a list's zone. What its address
// is says nothing of the list.
func TestOtherNamesBelowAZoneDoNotBypassTheList(t *testing.T) {
	cure(t, "", []dnscheck.List{oneList}, func(t *testing.T, f *infirmary) {
		f.world.set("2.0.0.127.bl.example. A 127.0.0.2", "1.0.0.127.bl.example. NXDOMAIN", "www.bl.example. A 198.51.100.7", "www.bl.example. MX NODATA")
		f.run()
		resolver := f.lists.Resolver(f.world)
		if got := resolver.Lookup(t.Context(), "www.bl.example.", dns.TypeA); !got.Has(netip.MustParseAddr("198.51.100.7")) {
			t.Errorf("got %s", says(got))
		}
		dnscheck.CheckMailDomain(t.Context(), resolver, "www.bl.example", dnscheck.MailOptions{BadMX: true})
		if got := f.states(); got != "bl IPv4: ok" {
			t.Error(got)
		}
	})
}

func TestASilentListIsBypassedIfItsSilenceIsIgnored(t *testing.T) {
	cure(t, "", []dnscheck.List{
		{Name: "optional", Zone: "optional.example", Weight: 1, IPv4: true},
		{Name: "required", Zone: "required.example", Weight: 1, IPv4: true, OnTemporary: dnscheck.TempFail},
	}, func(t *testing.T, f *infirmary) {
		f.world.set()
		f.run()
		const want = "optional IPv4: its servers do not answer\nrequired IPv4: ok"
		f.until(want)
		time.Sleep(10 * time.Minute)
		if got := f.world.count("2.0.0.127.required.example."); got <= 5 {
			t.Errorf("the required list was probed %d times", got)
		}
		if got := f.states(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// Probes are spread: lists that begin together are not all probed together. Each is
// probed every two minutes at least.
func TestProbesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		at := make(map[time.Time]int)
		last := make(map[string]time.Time)
		probes := 0
		resolver := resolverFunc(func(name string, _ uint16) dnscheck.Result {
			if !strings.HasPrefix(name, "2.") {
				return dnscheck.Result{Status: dnscheck.NXDomain}
			}
			mu.Lock()
			defer mu.Unlock()
			if before, ok := last[name]; ok && time.Since(before) > 2*time.Minute {
				t.Errorf("%s: %v between two probes", name, time.Since(before))
			}
			at[time.Now()]++
			last[name] = time.Now()
			probes++
			return dnscheck.Result{Status: dnscheck.Found, Records: []dnscheck.Record{{Type: dns.TypeA, Addr: netip.MustParseAddr("127.0.0.2")}}}
		})
		var all []dnscheck.List
		for i := range 20 {
			all = append(all, dnscheck.List{Zone: fmt.Sprintf("l%d.example", i), Weight: 1, IPv4: true})
		}
		f := newInfirmary(t, all...)
		f.watch(resolver)
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if probes < 600 || len(at) < probes/6 {
			t.Errorf("%d probes at %d different times", probes, len(at))
		}
	})
}

// Of two lists, one below the other's zone, each has the health of its own.
func TestListsBelowEachOther(t *testing.T) {
	lists := []dnscheck.List{
		{Name: "all", Zone: "dbl.example", Kind: dnscheck.DomainList, Weight: 1},
		{Name: "below", Zone: "new.dbl.example", Kind: dnscheck.DomainList, Weight: 1},
	}
	for _, order := range [][]dnscheck.List{lists, {lists[1], lists[0]}} {
		cure(t, "first "+order[0].Name, order, func(t *testing.T, f *infirmary) {
			f.world.set("spam.example.new.dbl.example. A 127.255.255.254", "spam.example.dbl.example. A 127.0.1.2",
				"test.dbl.example. A 127.0.1.2", "invalid.dbl.example. NXDOMAIN", "test.new.dbl.example. A 127.0.1.2", "invalid.new.dbl.example. NXDOMAIN")
			f.run()
			synctest.Wait()
			got := f.lists.CheckNames(t.Context(), f.lists.Resolver(f.world), "spam.example")
			if want := "all names: ok\nbelow names: the list does not answer public or open resolvers"; got.Verdict != dnscheck.Listed || f.states() != want {
				t.Errorf("got %s\nstates:\n%s\nwant:\n%s", reports(got), f.states(), want)
			}
		})
	}
}
