package dnscheck_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/dnscheck"
)

func codes(t testing.TB, texts ...string) []dnscheck.Code {
	t.Helper()
	var codes []dnscheck.Code
	for _, text := range texts {
		code, err := dnscheck.ParseCode(text)
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, code)
	}
	return codes
}

func newLists(t testing.TB, o dnscheck.ListOptions, lists ...dnscheck.List) *dnscheck.Lists {
	t.Helper()
	l, err := dnscheck.NewLists(lists, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// reports sums up a check of lists, a line for each question.
func reports(r dnscheck.ListReport) string {
	lines := []string{fmt.Sprintf("%s, score %d", r.Verdict, r.Score)}
	for _, e := range r.Entries {
		lines = append(lines, e.String())
	}
	if decisive, ok := r.Decisive(); ok && r.Verdict == dnscheck.Listed {
		lines = append(lines, "by "+decisive.List)
	}
	return strings.Join(lines, "\n")
}

// listed are the zones of the list tests.
var listed = []string{
	"8.113.0.203.bl.example. A 127.0.0.4",
	"8.113.0.203.bl.example. TXT \"listed, see\\010http://bl.example/203.0.113.8 \\255\"",
	"8.113.0.203.b2.example. A 127.0.0.2",
	"8.113.0.203.b2.example. A 127.0.0.10",
	"8.113.0.203.wl.example. NXDOMAIN",
	"9.113.0.203.bl.example. A 127.0.0.2",
	"9.113.0.203.b2.example. NXDOMAIN",
	"9.113.0.203.wl.example. A 127.0.5.2",
	"10.113.0.203.bl.example. NXDOMAIN",
	"10.113.0.203.b2.example. NODATA",
	"10.113.0.203.wl.example. NXDOMAIN",
	"11.113.0.203.bl.example. A 127.0.0.200",
	"12.113.0.203.bl.example. SERVFAIL",
	"13.113.0.203.bl.example. TIMEOUT",
	"14.113.0.203.bl.example. A 127.255.255.254",
	"15.113.0.203.bl.example. A 192.0.2.80",
	"16.113.0.203.bl.example. A 127.0.0.1",
	"17.113.0.203.bl.example. A 127.0.0.4",
	"17.113.0.203.bl.example. A 127.255.255.255",
	"18.113.0.203.bl.example. NXDOMAIN",
	"18.113.0.203.wl.example. A 127.0.0.255",
	"19.113.0.203.bl.example. NXDOMAIN",
	"19.113.0.203.wl.example. A 127.0.10.2",
	"20.113.0.203.bits.example. A 127.0.0.6",
	"8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example. A 127.0.0.4",
	"12.113.0.203.wl.example. SERVFAIL",
	"12.113.0.203.b2.example. A 127.0.0.2",
	"spam.example.dbl.example. A 127.0.1.2",
	"good.example.dbl.example. NXDOMAIN",
	"refused.example.dbl.example. A 127.0.1.255",
}

func TestLists(t *testing.T) {
	bl := dnscheck.List{Name: "BL", Zone: "bl.example", Weight: 2, TXT: true}
	b2 := dnscheck.List{Zone: "b2.example", Weight: 1}
	wl := dnscheck.List{Zone: "wl.example", Weight: -2}
	exempt := dnscheck.List{Zone: "wl.example", Exempt: true}
	must := func(l dnscheck.List) dnscheck.List { l.OnTemporary = dnscheck.TempFail; return l }
	only4 := func(l dnscheck.List) dnscheck.List { l.IPv4 = true; return l }
	noted := func(l dnscheck.List) dnscheck.List { l.Weight = 0; return l }
	s := serve(t, listed...)
	live := dial(t, s, dnscheck.Config{TryTimeout: silence, Attempts: 1})
	frozen := freeze(t, listed...)
	for _, test := range []struct {
		name      string
		threshold int
		lists     []dnscheck.List
		addr      string
		want      string
	}{
		{"on one list, with its reason", 1, []dnscheck.List{bl}, "203.0.113.8",
			"listed, score 2\nBL: listed (127.0.0.4), weight 2: \"listed, see http://bl.example/203.0.113.8\"\nby BL"},
		{"an IPv6 client", 1, []dnscheck.List{bl}, "2001:db8::8", "listed, score 2\nBL: listed (127.0.0.4), weight 2\nby BL"},
		{"a mapped client", 1, []dnscheck.List{b2}, "::ffff:203.0.113.8", "listed, score 1\nb2.example: listed (127.0.0.2, 127.0.0.10), weight 1\nby b2.example"},
		{"a list of the other family is not asked", 1, []dnscheck.List{only4(bl)}, "2001:db8::8", "not listed, score 0"},
		{"on both lists", 3, []dnscheck.List{b2, bl}, "203.0.113.8",
			"listed, score 3\nb2.example: listed (127.0.0.2, 127.0.0.10), weight 1\nBL: listed (127.0.0.4), weight 2: \"listed, see http://bl.example/203.0.113.8\"\nby BL"},
		{"on none", 1, []dnscheck.List{bl, b2, wl}, "203.0.113.10", "not listed, score 0\nBL: not listed\nb2.example: not listed\nwl.example: not listed"},
		{"below the threshold", 3, []dnscheck.List{bl, b2}, "203.0.113.9", "not listed, score 2\nBL: listed (127.0.0.2), weight 2\nb2.example: not listed"},
		{"an allow list takes weight away", 1, []dnscheck.List{bl, wl}, "203.0.113.9", "not listed, score 0\nBL: listed (127.0.0.2), weight 2\nwl.example: listed (127.0.5.2), weight -2"},
		{"an allow list that exempts", 1, []dnscheck.List{bl, exempt}, "203.0.113.9", "exempted, score 2\nBL: listed (127.0.0.2), weight 2\nwl.example: listed (127.0.5.2), exempt"},
		{"a threshold out of reach asks nobody", 9, []dnscheck.List{bl, b2}, "203.0.113.8", "not listed, score 0\nBL: no answer\nb2.example: no answer"},
		{"a code that does not count", 1, []dnscheck.List{bl}, "203.0.113.11", "not listed, score 0\nBL: listed with a code that does not count (127.0.0.200)"},
		{"a failure is ignored", 1, []dnscheck.List{bl}, "203.0.113.12", "not listed, score 0\nBL: server failure"},
		{"a failure makes the verdict temporary where it is told to", 1, []dnscheck.List{must(bl)}, "203.0.113.12", "no answer, score 0\nBL: server failure"},
		{"silence is ignored", 1, []dnscheck.List{bl}, "203.0.113.13", "not listed, score 0\nBL: no answer"},
		{"silence makes the verdict temporary where it is told to", 1, []dnscheck.List{must(bl)}, "203.0.113.13", "no answer, score 0\nBL: no answer"},
		{"a failure that makes no difference", 3, []dnscheck.List{must(bl), noted(b2)}, "203.0.113.12", "not listed, score 0\nBL: no answer\nb2.example: no answer"},
		{"a failure of an allow list could change a listing", 1, []dnscheck.List{b2, must(wl)}, "203.0.113.12", "no answer, score 1\nb2.example: listed (127.0.0.2), weight 1\nwl.example: server failure"},
		{"a failure of an allow list is ignored", 1, []dnscheck.List{b2, wl}, "203.0.113.12", "listed, score 1\nb2.example: listed (127.0.0.2), weight 1\nwl.example: server failure\nby b2.example"},
		{"an error answer", 1, []dnscheck.List{bl}, "203.0.113.14", "not listed, score 0\nBL: unusable: the list does not answer public or open resolvers (127.255.255.254)"},
		{"an answer outside 127.0.0.0/8", 1, []dnscheck.List{bl}, "203.0.113.15", "not listed, score 0\nBL: unusable: outside 127.0.0.0/8: the zone has been given up or taken over (192.0.2.80)"},
		{"a refusal to answer", 1, []dnscheck.List{bl}, "203.0.113.16", "not listed, score 0\nBL: unusable: the list refuses to answer (127.0.0.1)"},
		{"an error answer beside a listing", 1, []dnscheck.List{bl}, "203.0.113.17", "not listed, score 0\nBL: unusable: too many queries (127.0.0.4, 127.255.255.255)"},
		{"an allow list that refuses to answer", 1, []dnscheck.List{bl, exempt}, "203.0.113.18", "not listed, score 0\nBL: not listed\nwl.example: unusable: the list refuses to answer: too many queries (127.0.0.255)"},
		{"an allow list that answers without a word", 1, []dnscheck.List{bl, exempt}, "203.0.113.19", "not listed, score 0\nBL: not listed\nwl.example: unusable: the list marks this answer as none (127.0.10.2)"},
		{"one bit of several", 1, []dnscheck.List{{Zone: "bits.example", Weight: 1, Codes: codes(t, "&4")}}, "203.0.113.20", "listed, score 1\nbits.example: listed (127.0.0.6), weight 1\nby bits.example"},
		{"another bit", 1, []dnscheck.List{{Zone: "bits.example", Weight: 1, Codes: codes(t, "&8")}}, "203.0.113.20", "not listed, score 0\nbits.example: listed with a code that does not count (127.0.0.6)"},
		{"a domain list is not asked about an address", 1, []dnscheck.List{{Zone: "dbl.example", Kind: dnscheck.DomainList, Weight: 1}}, "203.0.113.8", "not listed, score 0"},
		{"no lists", 1, nil, "203.0.113.8", "not listed, score 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			lists := newLists(t, dnscheck.ListOptions{Threshold: test.threshold}, test.lists...)
			addr := netip.MustParseAddr(test.addr)
			if diff := cmp.Diff(test.want, reports(lists.Check(context.Background(), frozen, addr))); diff != "" {
				t.Errorf("frozen (-want +got):\n%s", diff)
			}
			// Which of several answers come in before the verdict stands is a matter
			// of luck on the network; the verdict is not, nor is its replay.
			recorder := dnscheck.NewRecorder(live)
			got := reports(lists.Check(withPatience(t), recorder, addr))
			if want, verdict := verdictOf(test.want), verdictOf(got); verdict != want {
				t.Errorf("live:\ngot  %s\nwant %s", verdict, want)
			}
			replay := reports(lists.Check(context.Background(), freeze(t, recorder.Lines()...), addr))
			if diff := cmp.Diff(got, replay); diff != "" {
				t.Errorf("the replay differs (-live +replay):\n%s", diff)
			}
		})
	}
}

// verdictOf is the verdict that a report begins with.
func verdictOf(report string) string {
	verdict, _, _ := strings.Cut(report, ",")
	return verdict
}

func TestDomainLists(t *testing.T) {
	s := serve(t, listed...)
	dbl := dnscheck.List{Zone: "dbl.example", Kind: dnscheck.DomainList, Weight: 1}
	lists := newLists(t, dnscheck.ListOptions{}, dbl, dnscheck.List{Zone: "bl.example", Weight: 1})
	for _, test := range []struct {
		name  string
		names []string
		want  string
	}{
		{"a listed name", []string{"spam.example"}, "listed, score 1\ndbl.example spam.example: listed (127.0.1.2), weight 1\nby dbl.example"},
		{"a name that is not listed", []string{"good.example"}, "not listed, score 0\ndbl.example good.example: not listed"},
		{"one of two names, in any case", []string{"good.example", "SPAM.example."}, "listed, score 1\ndbl.example good.example: not listed\ndbl.example spam.example: listed (127.0.1.2), weight 1\nby dbl.example"},
		{"the same name twice", []string{"good.example", "Good.Example."}, "not listed, score 0\ndbl.example good.example: not listed"},
		{"the answer to an address", []string{"refused.example"}, "not listed, score 0\ndbl.example refused.example: unusable: the list was asked about an address (127.0.1.255)"},
		{"addresses and other things that are no domain names", []string{"203.0.113.8", "[203.0.113.8]", "2001:db8::8", "IPv6:2001:db8::8", "[IPv6:2001:db8::8]", "localhost", "", ".", "a b.example", "8.113.0.203.in-addr.arpa", "1.2.3.4.5"}, "not listed, score 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, s, dnscheck.Config{})
			s.ResetLog()
			// The whole report does not depend on luck where there is one question,
			// or where nothing can be decided before the last answer.
			got := reports(lists.CheckNames(context.Background(), freeze(t, listed...), test.names...))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("frozen (-want +got):\n%s", diff)
			}
			if got := reports(lists.CheckNames(withPatience(t), c, test.names...)); verdictOf(got) != verdictOf(test.want) {
				t.Errorf("live:\ngot  %s\nwant %s", verdictOf(got), verdictOf(test.want))
			}
			for _, q := range s.Queries() {
				if strings.Trim(q.Name, "abcdefghijklmnopqrstuvwxyz.") != "" {
					t.Errorf("the list was asked for %s", q.Name)
				}
			}
		})
	}
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("n%d.example", i)
	}
	if got := len(lists.CheckNames(context.Background(), freeze(t), many...).Names); got != 16 {
		t.Errorf("asked about %d names, want 16", got)
	}
}

func TestListsAreNotAskedAboutPrivateAddresses(t *testing.T) {
	s := serve(t)
	c := dial(t, s, dnscheck.Config{})
	lists := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "bl.example", Weight: 1, OnTemporary: dnscheck.TempFail})
	for _, addr := range []string{"127.0.0.1", "10.1.2.3", "172.16.5.4", "192.168.3.4", "169.254.1.1", "100.64.1.1", "::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1"} {
		if r := lists.Check(withPatience(t), c, netip.MustParseAddr(addr)); r.Verdict != dnscheck.NotListed || len(r.Entries) > 0 {
			t.Errorf("%s: got %s", addr, reports(r))
		}
	}
	if r := lists.Check(withPatience(t), c, netip.Addr{}); r.Verdict != dnscheck.NotListed {
		t.Errorf("no address: got %s", reports(r))
	}
	if got := s.Total(); got != 0 {
		t.Errorf("got %d queries, want none", got)
	}
}

// The verdict is given as soon as it stands: a silent list cannot change it, and
// its look-up is given up at once.
func TestListsStopEarly(t *testing.T) {
	s := serve(t, "8.113.0.203.bl.example. A 127.0.0.2", "8.113.0.203.silent.example. TIMEOUT",
		"9.113.0.203.bl.example. NXDOMAIN", "9.113.0.203.silent.example. TIMEOUT",
		"8.113.0.203.wl.example. A 127.0.5.2")
	silent := dnscheck.List{Zone: "silent.example", Weight: 1, OnTemporary: dnscheck.TempFail}
	for _, test := range []struct {
		name      string
		threshold int
		lists     []dnscheck.List
		addr      string
		want      dnscheck.ListVerdict
	}{
		{"the threshold is reached", 1, []dnscheck.List{{Zone: "bl.example", Weight: 1}, silent}, "203.0.113.8", dnscheck.Listed},
		{"the threshold is out of reach", 2, []dnscheck.List{{Zone: "bl.example", Weight: 1}, silent}, "203.0.113.9", dnscheck.NotListed},
		{"the client is exempt", 1, []dnscheck.List{{Zone: "wl.example", Exempt: true}, silent}, "203.0.113.8", dnscheck.Exempted},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, s, dnscheck.Config{TryTimeout: time.Minute, Timeout: time.Hour})
			lists := newLists(t, dnscheck.ListOptions{Threshold: test.threshold}, test.lists...)
			ctx := withPatience(t)
			if got := lists.Check(ctx, c, netip.MustParseAddr(test.addr)); got.Verdict != test.want {
				t.Errorf("got %s, want %v", reports(got), test.want)
			}
			if ctx.Err() != nil {
				t.Error("the silent list was waited for")
			}
			if got := c.Stats(); got.Waiting.Load() != 0 || got.Canceled.Load() != 1 {
				t.Errorf("got %d look-ups under way and %d canceled, want 0 and 1", got.Waiting.Load(), got.Canceled.Load())
			}
		})
	}
}

// An allow list that could still turn the verdict is waited for.
func TestListsWaitForAllowLists(t *testing.T) {
	s := serve(t, "8.113.0.203.bl.example. A 127.0.0.2",
		"8.113.0.203.wl.example. A 127.0.5.2", "8.113.0.203.wl.example. DELAY=100ms")
	for _, wl := range []dnscheck.List{{Zone: "wl.example", Exempt: true}, {Zone: "wl.example", Weight: -5}} {
		lists := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "bl.example", Weight: 1}, wl)
		r := lists.Check(withPatience(t), dial(t, s, dnscheck.Config{}), netip.MustParseAddr("203.0.113.8"))
		if r.Verdict == dnscheck.Listed || r.Entries[1].Status != dnscheck.ListListed {
			t.Errorf("got %s", reports(r))
		}
	}
}

// At the deadline the answers there are so far count.
func TestListsAtTheDeadline(t *testing.T) {
	s := serve(t, "8.113.0.203.bl.example. A 127.0.0.2", "8.113.0.203.wl.example. TIMEOUT")
	c := dial(t, s, dnscheck.Config{TryTimeout: time.Minute, Timeout: time.Hour})
	lists := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "bl.example", Weight: 1}, dnscheck.List{Zone: "wl.example", Exempt: true})
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if got := lists.Check(ctx, c, netip.MustParseAddr("203.0.113.8")); got.Verdict != dnscheck.Listed {
		t.Errorf("got %s", reports(got))
	}
}

// Nine lists that take 200 ms each have all answered by a deadline that is far
// too short to ask them one after the other, and a silent tenth costs no more
// than that deadline.
func TestManyListsTakeAsLongAsOne(t *testing.T) {
	var lines []string
	var all []dnscheck.List
	for i := range 10 {
		zone := fmt.Sprintf("l%d.example.", i)
		all = append(all, dnscheck.List{Zone: zone, Weight: 1})
		for _, addr := range []string{"8", "9"} {
			name := addr + ".113.0.203." + zone
			lines = append(lines, name+" NXDOMAIN", name+" DELAY=200ms")
		}
	}
	lines[len(lines)-2] = "9.113.0.203.l9.example. TIMEOUT"
	c := dial(t, serve(t, lines...), dnscheck.Config{TryTimeout: 5 * time.Second})
	one := newLists(t, dnscheck.ListOptions{}, all[0])
	begin := time.Now()
	one.Check(withPatience(t), c, netip.MustParseAddr("203.0.113.8"))
	forOne := time.Since(begin)

	ctx, cancel := context.WithTimeout(context.Background(), 4*forOne)
	defer cancel()
	begin = time.Now()
	r := newLists(t, dnscheck.ListOptions{}, all...).Check(ctx, c, netip.MustParseAddr("203.0.113.9"))
	forAll := time.Since(begin)
	if forAll > 8*forOne {
		t.Errorf("ten lists took %v, one took %v", forAll, forOne)
	}
	answered := 0
	for _, e := range r.Entries {
		if e.Status == dnscheck.ListNotListed {
			answered++
		}
	}
	if answered != 9 || r.Entries[9].Status != dnscheck.ListNoAnswer {
		t.Errorf("got %d answers, want nine and silence:\n%s", answered, reports(r))
	}
	t.Logf("one list: %v, ten lists, one of them silent, with a deadline of four times that: %v", forOne, forAll)
}

func TestBadLists(t *testing.T) {
	secret := dnscheck.Secret("s3cr3t")
	for _, test := range []struct {
		name string
		list dnscheck.List
		want string
	}{
		{"no zone", dnscheck.List{}, "dns list : expected a zone name of at most 150 characters"},
		{"a zone that is no name", dnscheck.List{Zone: "a b"}, "dns list a b: expected a zone name of at most 150 characters"},
		{"a zone that is a URL", dnscheck.List{Zone: "http://bl.example/"}, "dns list http://bl.example/: expected a zone name such as bl.example: letters, digits, hyphens, underscores and dots"},
		{"half a place for a key", dnscheck.List{Zone: "{key.bl.example", Key: secret}, "dns list {key.bl.example: expected a zone name such as bl.example: letters, digits, hyphens, underscores and dots"},
		{"a long zone", dnscheck.List{Zone: strings.Repeat("abc.", 40)}, "dns list " + strings.Repeat("abc.", 40) + ": expected a zone name of at most 150 characters"},
		{"a place and no key", dnscheck.List{Zone: "{key}.bl.example"}, "dns list {key}.bl.example: the zone has a place for a key, and there is none"},
		{"a key and no place", dnscheck.List{Zone: "bl.example", Key: secret}, "dns list bl.example: expected {key} once in the zone, where the key goes"},
		{"two places", dnscheck.List{Zone: "{key}.{key}.example", Key: secret}, "dns list {key}.{key}.example: expected {key} once in the zone, where the key goes"},
		{"a key that is no label", dnscheck.List{Zone: "{key}.bl.example", Key: "s3cr3t key"}, "dns list {key}.bl.example: the key holds characters that a name cannot have"},
		{"a key that makes no name", dnscheck.List{Zone: "{key}.bl.example", Key: "s3cr3t..key"}, "dns list {key}.bl.example: with its key the zone is no name, or too long"},
		{"a block list that exempts", dnscheck.List{Zone: "bl.example", Weight: 1, Exempt: true}, "dns list bl.example: a list that exempts cannot have a positive weight"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := dnscheck.NewLists([]dnscheck.List{test.list}, dnscheck.ListOptions{})
			if err == nil {
				t.Fatal("the list was taken")
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
	for name, o := range map[string]struct {
		n int
		o dnscheck.ListOptions
	}{"a negative threshold": {1, dnscheck.ListOptions{Threshold: -1}}, "the same list twice": {2, dnscheck.ListOptions{}}, "too many lists": {101, dnscheck.ListOptions{}}} {
		if _, err := dnscheck.NewLists(slices.Repeat([]dnscheck.List{{Zone: "bl.example"}}, o.n), o.o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
