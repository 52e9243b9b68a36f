package dnscheck_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/dnscheck"
)

// afterAnError is a Health that runs, its list bypassed by an error answer, with
// the time standing still: whatever is due only later does not happen.
func afterAnError(t *testing.T, list dnscheck.List) *infirmary {
	t.Helper()
	f := newInfirmary(t, list)
	f.run()
	f.world.set("8.113.0.203." + list.Zone + ". A 127.255.255.255")
	f.lists.Check(context.Background(), f.world, proofAddr)
	if got, want := f.states(), "bl IPv4: too many queries"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	f.world.set("2.0.0.127.bl.example. A 127.0.0.2", "1.0.0.127.bl.example. NXDOMAIN")
	return f
}

func TestABypassedListIsProbedAtOnceWhenSomethingHasChanged(t *testing.T) {
	noProbe := proofList
	noProbe.NoProbe = true
	keyed := proofList
	keyed.Zone, keyed.Key = "{key}.bl.example", "old"
	otherKey := keyed
	otherKey.Key = "new"
	for _, test := range []struct {
		name   string
		list   dnscheck.List
		change func(*infirmary)
	}{
		{"another resolver", proofList, func(f *infirmary) {
			f.health.Watch(f.lists, &switchable{lines: f.world.lines})
		}},
		{"another resolver of a list that must not be probed", noProbe, func(f *infirmary) {
			f.health.Watch(f.lists, &switchable{})
		}},
		{"another key", keyed, func(f *infirmary) {
			f.world.set("2.0.0.127.new.bl.example. A 127.0.0.2", "1.0.0.127.new.bl.example. NXDOMAIN")
			lists := newLists(f.t, dnscheck.ListOptions{Health: f.health}, otherKey)
			f.health.Watch(lists, lists.WithKeys(f.world))
		}},
		{"a request", proofList, func(f *infirmary) { f.health.Recheck() }},
		{"a request for a list that must not be probed", noProbe, func(f *infirmary) { f.health.Recheck() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := afterAnError(t, test.list)
			test.change(f)
			await(t, "the list is asked again", func() bool { return f.states() == "bl IPv4: ok" })
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
		t.Run(test.name, func(t *testing.T) {
			f := newInfirmary(t, proofList)
			f.health.Watch(f.lists, f.world)
			f.health.Watch(test.lists, nil)
			if got := f.states(); got != "" {
				t.Errorf("got %s, want no states", got)
			}
			// A session that began before meets an error.
			f.world.set("8.113.0.203.bl.example. A 127.255.255.255")
			f.lists.Check(context.Background(), f.world, proofAddr)
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
	f := newInfirmary(t, must("a", 1), must("b", 1), must("noted", 0), must("allow", -1), optional)
	f.health.Watch(f.lists, f.world)
	addr := netip.MustParseAddr("203.0.113.8")
	var got [][]string
	for _, lines := range [][]string{
		{},
		{"8.113.0.203.a.example. NXDOMAIN"},
		{"8.113.0.203.a.example. NXDOMAIN", "8.113.0.203.b.example. NXDOMAIN"},
		{"8.113.0.203.a.example. A 127.0.0.2", "1.0.0.127.a.example. NXDOMAIN", "8.113.0.203.b.example. NXDOMAIN"},
	} {
		f.world.set(lines...)
		f.clock.advance(10 * time.Second)
		got = append(got, f.lists.Check(context.Background(), f.world, addr).Unanswered())
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
	f.run()
	await(t, "the list that works again is reported", func() bool {
		f.clock.advance(time.Second)
		return strings.Contains(f.log.String(), `level=INFO msg="dns list answers again" list=a for=IPv4`)
	})
}
