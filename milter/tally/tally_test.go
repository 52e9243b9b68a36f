package tally

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"milterd/milter/door"
	"milterd/policy"
)

var start = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// refusal is a line that goes into most tables.
func refusal(i int) door.Line {
	var addr [4]byte
	addr[0], addr[1], addr[2], addr[3] = 10, byte(i>>16), byte(i>>8), byte(i)
	return door.Line{
		Action: policy.ActionReject, Stage: policy.StageRcpt, Queue: "6ARNe0000001", Check: "relay", Rule: "checks.relay.deny",
		Client: policy.Connection{Addr: netip.AddrFrom4(addr), Name: "mx.good.example"}, Auth: policy.Auth{Authen: "hanako"},
		Helo: "mx.good.example", From: "a@good.example", To: "x@other.example", Reply: "550 5.7.1 Relaying denied", Reason: "no",
	}
}

func shadowed(name, from, check string) *door.Line {
	return &door.Line{
		Action: policy.ActionAccept, Queue: "Q", From: from, To: "b@y.example",
		Client: policy.Connection{Addr: netip.MustParseAddr("2001:db8:1:2::3"), Name: name},
		Shadow: []policy.Shadow{{Action: policy.ActionEdit, Check: "received"}, {Action: policy.ActionReject, Check: check}, {Action: policy.ActionReject, Check: check}},
	}
}

// TestALoginIsShownAsItIsTyped: sendmail writes the plus sign in another way.
func TestALoginIsShownAsItIsTyped(t *testing.T) {
	c := New(start)
	line := refusal(1)
	line.Auth.Authen = "shin+2Bbox"
	c.Add(start, &line)
	if s := c.Snapshot(start); s.Verdicts[0].User != "shin+box" || s.Users[0].Name != "shin+box" {
		t.Errorf("user %q, users %v", s.Verdicts[0].User, s.Users)
	}
}

func TestWhatShadowWouldHaveRefused(t *testing.T) {
	c := New(start)
	c.Add(start, shadowed("dyn-1.pool.isp.example", "a@spam.example", "dnsbl"))
	c.Add(start, shadowed("dyn-2.pool.isp.example", "b@spam.example", "dnsbl"))
	c.Add(start, &door.Line{Action: policy.ActionAccept, Shadow: []policy.Shadow{{Action: policy.ActionEdit, Check: "received"}}})
	refused := shadowed("dyn-3.pool.isp.example", "c@spam.example", "dnsbl")
	refused.Action = policy.ActionReject
	c.Add(start, refused)
	s := c.Snapshot(start)
	example := &Example{Queue: "Q", Name: "dyn-2.pool.isp.example", From: "b@spam.example", To: "b@y.example", Client: "2001:db8:1:2::3"}
	want := Shadow{
		Checks:   []Name{{"dnsbl", 2, 0, example}},
		Networks: []Name{{"2001:db8:1::/48", 2, 0, example}},
		Names:    []Name{{"pool.isp.example", 2, 0, example}},
		Domains:  []Name{{"spam.example", 2, 0, example}},
	}
	if diff := cmp.Diff(want, s.Shadow); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if sum := s.Hour.Sum; sum.Shadow != 2 || sum.Accepted != 3 || sum.RefusedSum() != 1 {
		t.Errorf("%+v", sum)
	}
}

func TestAnAddressInBracketsIsNoName(t *testing.T) {
	c := New(start)
	c.Add(start, shadowed("[IPv6:2001:db8:1:2::3]", "a@x.example", "rdns"))
	s := c.Snapshot(start)
	if s.Verdicts[0].Name != "" || len(s.Shadow.Names) > 0 || s.Shadow.Checks[0].Example.Name != "" {
		t.Errorf("%+v, %+v", s.Verdicts[0], s.Shadow)
	}
}

func TestMinutesAndHoursPass(t *testing.T) {
	c := New(start)
	line := refusal(1)
	c.Add(start, &line)
	for _, p := range []struct {
		after            time.Duration
		hour, day, names uint64
	}{{0, 1, 1, 1}, {59 * time.Minute, 1, 1, 1}, {61 * time.Minute, 0, 1, 1}, {23 * time.Hour, 0, 1, 1}, {25 * time.Hour, 0, 0, 0}, {-2 * time.Hour, 0, 0, 0}} {
		s := c.Snapshot(start.Add(p.after))
		if s.Hour.Sum.RefusedSum() != p.hour || s.Day.Sum.RefusedSum() != p.day || uint64(len(s.Clients)) != p.names {
			t.Errorf("after %v: %d in the hour, %d in the day, clients %v", p.after, s.Hour.Sum.RefusedSum(), s.Day.Sum.RefusedSum(), s.Clients)
		}
	}
	c.Add(start.Add(24*time.Hour), &line)
	if s := c.Snapshot(start.Add(24 * time.Hour)); s.Day.Sum.RefusedSum() != 1 || s.Clients[0].Count != 1 {
		t.Errorf("a day later: %+v, %v", s.Day.Sum, s.Clients)
	}
}

// TestAMillionClients sends a million clients with long texts, and looks at the memory.
func TestAMillionClients(t *testing.T) {
	if raced {
		t.Skip("the race detector makes it slow, and there is one goroutine only")
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	long := strings.Repeat("x\x00", 4000)
	before := heap()
	c := New(start)
	for i := range 1_000_000 {
		line := refusal(i)
		if i%100 == 0 {
			line = door.Line{Action: policy.ActionAccept, Client: line.Client, Helo: long, Auth: policy.Auth{Authen: fmt.Sprint(i, long)},
				From: fmt.Sprint("a@", i, long), To: long, Reason: long, Check: fmt.Sprint("check", i),
				Shadow: []policy.Shadow{{Action: policy.ActionReject, Check: fmt.Sprint("check", i), Reason: long}}}
		}
		c.Add(start.Add(time.Duration(i)*86*time.Millisecond), &line)
	}
	if grown := int64(heap()) - int64(before); grown > 12<<20 {
		t.Errorf("%d octets", grown)
	} else {
		t.Logf("%d octets after a million clients in a day", grown)
	}
	s := c.Snapshot(start.Add(86_000 * time.Second))
	if len(s.Verdicts) != Recent || len(s.Clients) != mostNames || len(s.Shadow.Checks) != mostNames || s.Total != 1_000_000 {
		t.Errorf("%d verdicts, %d clients, %d checks, %d in all", len(s.Verdicts), len(s.Clients), len(s.Shadow.Checks), s.Total)
	}
	runtime.KeepAlive(c)
}

func TestAddingALineTakesNoMemory(t *testing.T) {
	c := New(start)
	line := refusal(7)
	for range 2 * Recent {
		c.Add(start, &line)
	}
	if n := testing.AllocsPerRun(100, func() { c.Add(start, &line) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	c := New(start)
	b.ReportAllocs()
	for i := range b.N {
		line := refusal(i % 1_000_000)
		c.Add(start, &line)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	c := New(start)
	for i := range 200_000 {
		line := *shadowed(fmt.Sprint("h.net", i%500, ".example"), fmt.Sprint("a@d", i%700, ".example"), "dnsbl")
		c.Add(start.Add(time.Duration(i)*430*time.Millisecond), &line)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Snapshot(start.Add(200_000 * 430 * time.Millisecond))
	}
}

// TestATableFindsTheFrequent compares a table with exact counts.
func TestATableFindsTheFrequent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		names := rapid.IntRange(1, 5000).Draw(t, "names")
		var counted table
		exact, all := make(map[string]uint64), 0
		for range rapid.IntRange(0, 5000).Draw(t, "adds") {
			name := fmt.Sprint(int(random.ExpFloat64() * float64(names) / 20))
			counted.add([]byte(name), nil, 1, tableSize)
			exact[name]++
			all++
		}
		for _, it := range counted.order {
			if n := exact[it.name]; it.count < n || it.count-it.over > n {
				t.Fatalf("%s: %d (over %d), exactly %d", it.name, it.count, it.over, n)
			}
		}
		for name, n := range exact {
			if n > uint64(all)/tableSize && counted.items[name] == nil {
				t.Fatalf("%s with %d of %d is not there", name, n, all)
			}
		}
	})
}

func TestAddsAndSnapshotsAtOnce(t *testing.T) {
	c := New(start)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for i := range 500 {
				line := refusal(i)
				c.Add(start, &line)
				if i%100 == 0 {
					c.Snapshot(start).Hide()
				}
			}
		})
	}
	running.Wait()
	if s := c.Snapshot(start); s.Total != 2000 || s.Hour.Sum.RefusedSum() != 2000 {
		t.Errorf("%d, %d", s.Total, s.Hour.Sum.RefusedSum())
	}
}

func TestTextsWithoutPeople(t *testing.T) {
	for text, want := range map[string]string{
		"relay for shin@example.test":       "relay for …@example.test",
		`<"a b"@x.example> and a@y.example`: "<…@x.example> and …@y.example",
		"from 203.0.113.9: no":              "from 203.0.113.x: no",
		"Connect:203.0.113.9 REJECT":        "Connect:203.0.113.x REJECT",
		"2001:db8:1:2::3 is listed":         "2001:db8:1::x is listed",
		"IPv6:2001:db8:1:2::3 REJECT":       "IPv6:2001:db8:1::x REJECT",
		"access:17: bad.example REJECT":     "access:17: bad.example REJECT",
		"550 5.7.1 Access denied at 12:30":  "550 5.7.1 Access denied at 12:30",
		"203.0.113.0/24":                    "203.0.113.x/24",
	} {
		if got := hideText(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
