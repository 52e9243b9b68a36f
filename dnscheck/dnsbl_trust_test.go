package dnscheck_test

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"milterd/dnscheck"
)

var listedAddr = netip.MustParseAddr("203.0.113.8")

const (
	listing     = "8.113.0.203.bl.example. A 127.0.0.2"
	entryOnAll  = "2.0.0.127.bl.example. A 127.0.0.2"
	entryOnNone = "1.0.0.127.bl.example."
)

// checkAndReplay checks an address, and again with the answers that were recorded.
func (f *infirmary) checkAndReplay(config dnscheck.List) string {
	f.t.Helper()
	recorder := dnscheck.NewRecorder(f.lists.Resolver(f.world))
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Second)
	defer cancel()
	live := reports(f.lists.Check(ctx, recorder, listedAddr))
	replay := newLists(f.t, dnscheck.ListOptions{}, config).Check(context.Background(), freeze(f.t, recorder.Lines()...), listedAddr)
	if diff := cmp.Diff(live, reports(replay)); diff != "" {
		f.t.Errorf("the replay differs (-live +replay):\n%s", diff)
	}
	if again := reports(f.lists.Check(ctx, recorder, listedAddr)); again != live {
		f.t.Errorf("the same session was told another thing:\n%s\nthen\n%s", live, again)
	}
	return live
}

func TestAListingCountsIfTheZoneDoesNotListEverything(t *testing.T) {
	const counts = "listed, score 1\nbl: listed (127.0.0.2), weight 1\nby bl"
	const unusable = "not listed, score 0\nbl: unusable: the list is bypassed (127.255.255.0)"
	const noAnswer = "not listed, score 0\nbl: no answer"
	type step struct {
		name  string
		none  string // the answer for the entry that is on no list
		after time.Duration
		want  string
	}
	for _, test := range []struct {
		name  string
		list  []dnscheck.List
		steps []step
	}{
		{"a zone that lists everything from the beginning", []dnscheck.List{oneList}, []step{
			{"the first client", "A 127.0.0.2", 0, unusable},
			{"the next one", "A 127.0.0.2", 0, unusable},
		}},
		{"a zone that begins to list everything", []dnscheck.List{oneList}, []step{
			{"while it works", "NXDOMAIN", 0, counts},
			{"a minute later", "NXDOMAIN", time.Minute, counts},
			{"two minutes after it has begun", "A 127.0.0.2", 2 * time.Minute, unusable},
		}},
		{"a zone that answers with an error", []dnscheck.List{oneList}, []step{
			{"the first client", "A 127.255.255.254", 0, unusable},
		}},
		{"a zone without an answer is trusted if it was right before", []dnscheck.List{oneList}, []step{
			{"without an answer", "TIMEOUT", 0, noAnswer},
			{"soon after it answers", "NXDOMAIN", 15 * time.Second, counts},
			{"without an answer later", "TIMEOUT", 3 * time.Minute, counts},
		}},
		{"a zone that must not be probed", with(oneList, noProbe), []step{
			{"the first client", "A 127.0.0.2", 0, counts},
		}},
	} {
		cure(t, test.name, test.list, func(t *testing.T, f *infirmary) {
			probed := false
			for i, step := range test.steps {
				f.world.set(listing, entryOnAll, entryOnNone+" "+step.none)
				if i == 0 {
					f.run()
				}
				time.Sleep(step.after)
				if diff := cmp.Diff(step.want, f.checkAndReplay(test.list[0])); diff != "" {
					t.Errorf("%s (-want +got):\n%s", step.name, diff)
				}
				probed = probed || f.world.count(entryOnNone) > 0
			}
			if got, last := strings.Count(f.log.String(), "bypassed"), test.steps[len(test.steps)-1].want; got != strings.Count(last, "bypassed") {
				t.Errorf("the log says %d times that the list is bypassed:\n%s", got, f.log)
			}
			if probed == test.list[0].NoProbe {
				t.Errorf("asked for the entry that is on no list: %t", probed)
			}
		})
	}
}

func TestAllSessionsWaitForTheFirstProbeTogether(t *testing.T) {
	const sessions = 20
	synctest.Test(t, func(t *testing.T) {
		var asked sync.WaitGroup // clients' questions
		asked.Add(sessions)
		// The probe has an answer only after all clients have theirs.
		resolver := resolverFunc(func(name string, _ uint16) dnscheck.Result {
			switch name {
			case entryOnNone:
				asked.Wait()
				return dnscheck.Result{Status: dnscheck.NXDomain}
			case strings.Fields(listing)[0]:
				asked.Done()
			}
			return dnscheck.Result{Status: dnscheck.Found, Records: []dnscheck.Record{{Type: dns.TypeA, Addr: netip.MustParseAddr("127.0.0.2")}}}
		})
		f := newInfirmary(t, oneList)
		f.world.fake = resolver
		f.run()
		verdicts := make(chan dnscheck.ListVerdict, sessions)
		for range sessions {
			go func() { verdicts <- f.check("203.0.113.8").Verdict }()
		}
		for range sessions {
			if got := <-verdicts; got != dnscheck.Listed {
				t.Errorf("got %v, want listed", got)
			}
		}
	})
}

// What the cache knows of a zone is no probe, and probes do not fill the cache.
func TestProbesAreMadePastTheCache(t *testing.T) {
	s := serve(t, listing, entryOnAll, entryOnNone+" NXDOMAIN")
	c := dial(t, s, dnscheck.Config{})
	c.Lookup(withPatience(t), entryOnNone, dns.TypeA)
	f := newInfirmary(t, oneList)
	f.watch(c)
	if got := f.lists.Check(withPatience(t), f.lists.Resolver(c), listedAddr); got.Verdict != dnscheck.Listed {
		t.Errorf("got %s", reports(got))
	}
	if none, all := s.Count(entryOnNone, dns.TypeA), s.Count(strings.Fields(entryOnAll)[0], dns.TypeA); none != 2 || all != 1 {
		t.Errorf("the server was asked %d and %d times, want 2 and 1", none, all)
	}
	if _, cached := c.LookupCached(strings.Fields(entryOnAll)[0], dns.TypeA); cached {
		t.Error("a probe has filled the cache")
	}
}

func TestAtTheDeadlineAListingBeforeTheFirstProbeIsNoAnswer(t *testing.T) {
	s := serve(t, listing, entryOnNone+" TIMEOUT")
	c := dial(t, s, dnscheck.Config{TryTimeout: time.Minute, Timeout: time.Hour})
	f := newInfirmary(t, oneList)
	f.watch(c)
	recorder := dnscheck.NewRecorder(f.lists.Resolver(c))
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	got := reports(f.lists.Check(ctx, recorder, listedAddr))
	if want := "not listed, score 0\nbl: no answer"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if diff := cmp.Diff([]string{"8.113.0.203.bl.example. A TIMEOUT"}, recorder.Lines()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

func TestABypassedListIsProbedAtOnceWhenSomethingHasChanged(t *testing.T) {
	keyed := with(oneList, func(l *dnscheck.List) { l.Zone, l.Key = "{key}.bl.example", "old" })
	for _, test := range []struct {
		name   string
		list   []dnscheck.List
		change func(*infirmary)
	}{
		{"another resolver", []dnscheck.List{oneList}, func(f *infirmary) {
			f.health.Watch(f.lists, newWorld(f.world.lines...))
		}},
		{"another resolver of a list that must not be probed", with(oneList, noProbe), func(f *infirmary) {
			f.health.Watch(f.lists, newWorld())
		}},
		{"another key", keyed, func(f *infirmary) {
			f.world.set("2.0.0.127.new.bl.example. A 127.0.0.2", "1.0.0.127.new.bl.example. NXDOMAIN")
			lists := newLists(f.t, dnscheck.ListOptions{Health: f.health}, with(keyed[0], func(l *dnscheck.List) { l.Key = "new" })...)
			f.health.Watch(lists, f.world)
		}},
		{"a request", []dnscheck.List{oneList}, func(f *infirmary) { f.health.Recheck() }},
		{"a request for a list that must not be probed", with(oneList, noProbe), func(f *infirmary) { f.health.Recheck() }},
	} {
		cure(t, test.name, test.list, func(t *testing.T, f *infirmary) {
			zone := strings.ReplaceAll(test.list[0].Zone, "{key}", "old")
			f.world.set("2.0.0.127."+zone+". A 127.0.0.2", "1.0.0.127."+zone+". NXDOMAIN", "8.113.0.203."+zone+". A 127.255.255.255")
			f.run()
			synctest.Wait()
			f.check("203.0.113.8")
			if got, want := f.states(), "bl IPv4: too many queries"; got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
			// The time stands still: what is due only later does not happen.
			if synctest.Wait(); f.states() == "bl IPv4: ok" {
				t.Fatal("it was probed again without a reason")
			}
			test.change(f)
			if synctest.Wait(); f.states() != "bl IPv4: ok" {
				t.Errorf("got %s", f.states())
			}
		})
	}
}

func TestNothingIsProbedWithoutLists(t *testing.T) {
	for _, test := range []struct {
		name  string
		lists *dnscheck.Lists
	}{
		{"no lists at all", nil},
		{"an empty set of lists", newLists(t, dnscheck.ListOptions{})},
	} {
		cure(t, test.name, []dnscheck.List{oneList}, func(t *testing.T, f *infirmary) {
			f.health.Watch(f.lists, f.world)
			f.health.Watch(test.lists, nil)
			if got := f.states(); got != "" {
				t.Errorf("got %s, want no states", got)
			}
			// A session that began before meets an error.
			f.world.set("8.113.0.203.bl.example. A 127.255.255.255")
			f.check("203.0.113.8")
			if f.log.String() != "" {
				t.Errorf("the log speaks of a list that is gone:\n%s", f.log)
			}
			f.world.set("2.0.0.127.bl.example. A 127.0.0.2", "1.0.0.127.bl.example. NXDOMAIN")
			// The lists come back, and are probed again.
			f.run()
			f.until("bl IPv4: ok")
		})
	}
}

func TestAListThatMailWaitsForIsNamed(t *testing.T) {
	must := func(zone string, weight int) dnscheck.List {
		return dnscheck.List{Name: zone, Zone: zone + ".example", Weight: weight, IPv4: true, OnTemporary: dnscheck.TempFail}
	}
	optional := must("optional", 1)
	optional.OnTemporary = dnscheck.IgnoreTemporary
	cure(t, "", []dnscheck.List{must("a", 1), must("b", 1), must("noted", 0), must("allow", -1), optional}, func(t *testing.T, f *infirmary) {
		f.world.set("1.0.0.127.a.example. NXDOMAIN")
		f.run()
		synctest.Wait()
		var got [][]string
		for _, lines := range [][]string{
			{},
			{"8.113.0.203.a.example. NXDOMAIN"},
			{"8.113.0.203.a.example. NXDOMAIN", "8.113.0.203.b.example. NXDOMAIN"},
			{"8.113.0.203.a.example. A 127.0.0.2", "8.113.0.203.b.example. NXDOMAIN"},
		} {
			f.world.set(lines...)
			got = append(got, f.check("203.0.113.8").Unanswered())
		}
		if diff := cmp.Diff([][]string{{"a", "b"}, {"b"}, nil, {"allow"}}, got); diff != "" {
			t.Errorf("unanswered (-want +got):\n%s", diff)
		}
		want := `level=WARN msg="dns list does not answer, and mail is deferred until it does" list=a for=IPv4
level=WARN msg="dns list does not answer, and mail is deferred until it does" list=b for=IPv4
level=WARN msg="dns list does not answer, and mail is deferred until it does" list=allow for=IPv4
`
		if diff := cmp.Diff(want, f.log.String()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		f.world.set("2.0.0.127.a.example. A 127.0.0.2", "1.0.0.127.a.example. NXDOMAIN")
		time.Sleep(2 * time.Minute)
		if !f.log.Has(`level=INFO msg="dns list answers again" list=a for=IPv4`) {
			t.Errorf("the list that works again is not reported:\n%s", f.log)
		}
	})
}
