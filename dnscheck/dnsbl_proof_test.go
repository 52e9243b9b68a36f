package dnscheck_test

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"milterd/dnscheck"
)

var (
	proofAddr = netip.MustParseAddr("203.0.113.8")
	proofList = dnscheck.List{Name: "bl", Zone: "bl.example", Weight: 1, IPv4: true}
)

const (
	proofListing  = "8.113.0.203.bl.example. A 127.0.0.2"
	proofUnlisted = "1.0.0.127.bl.example."
)

// checkAndReplay checks an address, and again with the answers that were recorded.
func (f *infirmary) checkAndReplay(config dnscheck.List) string {
	f.t.Helper()
	recorder := dnscheck.NewRecorder(f.world)
	live := reports(f.lists.Check(withPatience(f.t), recorder, proofAddr))
	replay := newLists(f.t, dnscheck.ListOptions{}, config).Check(context.Background(), freeze(f.t, recorder.Lines()...), proofAddr)
	if diff := cmp.Diff(live, reports(replay)); diff != "" {
		f.t.Errorf("the replay differs (-live +replay):\n%s", diff)
	}
	if again := reports(f.lists.Check(withPatience(f.t), recorder, proofAddr)); again != live {
		f.t.Errorf("the same session was told another thing:\n%s\nthen\n%s", live, again)
	}
	return live
}

func TestAListingCountsWhereTheZoneDoesNotListEverything(t *testing.T) {
	const listing = "listed, score 1\nbl: listed (127.0.0.2), weight 1\nby bl"
	const unusable = "not listed, score 0\nbl: unusable: the list is bypassed (127.255.255.0)"
	const noAnswer = "not listed, score 0\nbl: no answer"
	noProbe := proofList
	noProbe.NoProbe = true
	type step struct {
		name     string
		after    time.Duration
		unlisted string // the answer for the entry that is on no list
		want     string
		asked    int // how often that entry is asked for
	}
	for _, test := range []struct {
		name  string
		list  dnscheck.List
		steps []step
	}{
		{"a zone that lists everything from the beginning", proofList, []step{
			{"the first client", 0, "A 127.0.0.2", unusable, 1},
			{"the next one", 0, "A 127.0.0.2", unusable, 0},
		}},
		{"a zone that begins to list everything", proofList, []step{
			{"while it works", 0, "NXDOMAIN", listing, 1},
			{"a minute later", time.Minute, "NXDOMAIN", listing, 0},
			{"when it has begun", 2 * time.Minute, "A 127.0.0.2", unusable, 1},
		}},
		{"a zone that answers with an error", proofList, []step{
			{"the first client", 0, "A 127.255.255.254", unusable, 1},
		}},
		{"a zone without an answer is trusted if it was right before", proofList, []step{
			{"without an answer", 0, "TIMEOUT", noAnswer, 1},
			{"it is not asked again at once", time.Second, "NXDOMAIN", noAnswer, 0},
			{"but soon", 10 * time.Second, "NXDOMAIN", listing, 1},
			{"without an answer later", 3 * time.Minute, "TIMEOUT", listing, 1},
		}},
		{"a zone that must not be probed", noProbe, []step{
			{"the first client", 0, "A 127.0.0.2", listing, 0},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newInfirmary(t, test.list)
			f.health.Watch(f.lists, f.world)
			for _, step := range test.steps {
				f.clock.advance(step.after)
				f.world.set(proofListing, proofUnlisted+" "+step.unlisted)
				if diff := cmp.Diff(step.want, f.checkAndReplay(test.list)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", step.name, diff)
				}
				if got := f.world.count(proofUnlisted); got != step.asked {
					t.Errorf("%s: the entry that is on no list was asked for %d times, want %d", step.name, got, step.asked)
				}
			}
			if got, last := strings.Count(f.log.String(), "bypassed"), test.steps[len(test.steps)-1].want; got != strings.Count(last, "bypassed") {
				t.Errorf("the log says %d times that the list is bypassed:\n%s", got, f.log)
			}
		})
	}
}

func TestTheProofIsAskedForTogetherWithTheQuestionsOfAllSessions(t *testing.T) {
	const sessions = 20
	var asked sync.WaitGroup // clients' questions
	asked.Add(sessions)
	proving := make(chan struct{})
	// Each question has an answer only after all others have been asked; a second
	// proof would close the channel twice.
	resolver := resolverFunc(func(name string, _ uint16) dnscheck.Result {
		if name == proofUnlisted {
			close(proving)
			asked.Wait()
			return dnscheck.Result{Status: dnscheck.NXDomain}
		}
		asked.Done()
		<-proving
		return dnscheck.Result{Status: dnscheck.Found, Records: []dnscheck.Record{{Type: dns.TypeA, Addr: netip.MustParseAddr("127.0.0.2")}}}
	})
	f := newInfirmary(t, proofList)
	f.health.Watch(f.lists, resolver)
	verdicts := make(chan dnscheck.ListVerdict, sessions)
	for range sessions {
		go func() { verdicts <- f.lists.Check(withPatience(t), resolver, proofAddr).Verdict }()
	}
	for range sessions {
		select {
		case got := <-verdicts:
			if got != dnscheck.Listed {
				t.Errorf("got %v, want listed", got)
			}
		case <-time.After(patience):
			t.Fatal("the questions wait for each other")
		}
	}
}

// What the cache knows of a zone proves nothing.
func TestProofsDoNotComeFromTheCache(t *testing.T) {
	s := serve(t, proofListing, proofUnlisted+" NXDOMAIN")
	c := dial(t, s, dnscheck.Config{})
	f := newInfirmary(t, proofList)
	f.health.Watch(f.lists, c)
	c.Lookup(withPatience(t), proofUnlisted, dns.TypeA)
	for i := range 2 {
		s.ResetLog()
		if got := f.lists.Check(withPatience(t), c, proofAddr); got.Verdict != dnscheck.Listed {
			t.Errorf("check %d: got %s", i, reports(got))
		}
		queries := 0
		for _, q := range s.Queries() {
			if q.Name == proofUnlisted {
				queries++
			}
		}
		if queries != 1 {
			t.Errorf("check %d: the server was asked for the proof %d times, want once", i, queries)
		}
		f.clock.advance(3 * time.Minute)
	}
}

func TestAtTheDeadlineAnUnprovedListingIsNoAnswer(t *testing.T) {
	s := serve(t, proofListing, proofUnlisted+" TIMEOUT")
	c := dial(t, s, dnscheck.Config{TryTimeout: time.Minute, Timeout: time.Hour})
	f := newInfirmary(t, proofList)
	f.health.Watch(f.lists, c)
	recorder := dnscheck.NewRecorder(c)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	got := reports(f.lists.Check(ctx, recorder, proofAddr))
	if want := "not listed, score 0\nbl: no answer"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if diff := cmp.Diff([]string{"8.113.0.203.bl.example. A TIMEOUT"}, recorder.Lines()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}
