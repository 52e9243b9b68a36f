package dnscheck_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/dnscheck"
	"milterd/integration/testkit"
)

func TestAZoneIsAskedOnce(t *testing.T) {
	for _, test := range []struct {
		name   string
		second dnscheck.List
		want   string // the error
	}{
		{"in another case", dnscheck.List{Zone: "BL.example"}, "dns list BL.example: the zone is that of the list bl.example"},
		{"with a final dot", dnscheck.List{Zone: "bl.example."}, "dns list bl.example.: the zone is that of the list bl.example"},
		{"by another name", dnscheck.List{Zone: "bl.example", Name: "second"}, "dns list second: the zone is that of the list bl.example"},
		{"for the same family", dnscheck.List{Zone: "bl.example", Name: "second", IPv4: true, IPv6: true}, "dns list second: the zone is that of the list bl.example"},
		{"for the other family", dnscheck.List{Zone: "bl.example", Name: "second", IPv6: true}, ""},
		{"for names", dnscheck.List{Zone: "bl.example", Name: "second", Kind: dnscheck.DomainList}, ""},
		{"another zone", dnscheck.List{Zone: "b2.example"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if _, err := dnscheck.NewLists([]dnscheck.List{{Zone: "bl.example", IPv4: true}, test.second}, dnscheck.ListOptions{}); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// The owner of a sender's domain can put anything into an MX record.
func TestAMailHostDoesNotGetTheKeyOfAList(t *testing.T) {
	s := serve(t, "liar.example. MX 10 x.{key}.paid.example.", "x.k3y.paid.example. A 203.0.113.5")
	lists := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "{key}.paid.example", Key: "k3y", Weight: 1})
	got := dnscheck.CheckMailDomain(withPatience(t), lists.Resolver(dial(t, s, dnscheck.Config{})), "liar.example", dnscheck.MailOptions{BadMX: true})
	if got.Status != dnscheck.MailBadMX || len(got.Hosts) != 1 || len(got.Hosts[0].Addrs) != 0 {
		t.Errorf("got %v with the hosts %v, want a bad MX without addresses", got.Status, got.Hosts)
	}
	for _, q := range s.Queries() {
		if q.Name != "liar.example." {
			t.Errorf("the server was asked for %s", q.Name)
		}
	}
}

// The resolver's patience is an hour: only the bound of the reason's own ends
// the wait.
func TestARefusalDoesNotWaitLongForItsReason(t *testing.T) {
	s := serve(t, "8.113.0.203.bl.example. A 127.0.0.2", "8.113.0.203.bl.example. TXT TIMEOUT")
	c := dial(t, s, dnscheck.Config{TryTimeout: time.Minute, Timeout: time.Hour})
	lists := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "bl.example", Weight: 1, TXT: true})
	ctx := withPatience(t)
	got := lists.Check(ctx, c, netip.MustParseAddr("203.0.113.8"))
	if got.Verdict != dnscheck.Listed || got.Entries[0].Reason != "" {
		t.Errorf("got %s", reports(got))
	}
	if ctx.Err() != nil {
		t.Error("the reason was waited for")
	}
}

func TestErrorAnswersOfListsAreSoonForgotten(t *testing.T) {
	s := serve(t, "8.113.0.203.bl.example. 3600 A 127.255.255.255", "9.113.0.203.bl.example. 3600 A 127.0.0.2")
	clock := testkit.NewClock(time.Unix(1_700_000_000, 0))
	c := dial(t, s, dnscheck.Config{StaleTTL: time.Hour}.WithClock(clock.Now))
	for _, test := range []struct {
		name string
		want int
	}{{"8.113.0.203.bl.example.", 2}, {"9.113.0.203.bl.example.", 1}} {
		s.ResetLog()
		c.Lookup(context.Background(), test.name, dns.TypeA)
		clock.Advance(20 * time.Second)
		c.Lookup(context.Background(), test.name, dns.TypeA)
		if got := s.Total(); got != test.want {
			t.Errorf("%s was asked for %d times, want %d", test.name, got, test.want)
		}
	}
}

func TestListsForSomeClients(t *testing.T) {
	lists, err := dnscheck.NewLists([]dnscheck.List{
		{Zone: "all.example", Weight: 1}, {Zone: "strangers.example", Weight: 1, Clients: dnscheck.StrangersOnly},
		{Zone: "logins.example", Weight: 1, Clients: dnscheck.AuthenticatedOnly},
	}, dnscheck.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nothing, err := dnscheck.NewFrozen(nil)
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[dnscheck.Audience]string{
		dnscheck.Strangers: "all.example strangers.example", dnscheck.Authenticated: "all.example logins.example", dnscheck.LoginsAlone: "logins.example",
	} {
		var names []string
		for _, entry := range lists.For(a).Check(t.Context(), nothing, netip.MustParseAddr("203.0.113.8")).Entries {
			names = append(names, entry.List)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("audience %d: %s, expected %s", a, got, want)
		}
	}
	if lists, err = dnscheck.NewLists([]dnscheck.List{{Zone: "all.example", Weight: 1}}, dnscheck.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if lists.For(dnscheck.Strangers) != lists || lists.For(dnscheck.Authenticated) != lists || lists.For(dnscheck.LoginsAlone) != nil {
		t.Error("lists for everybody are not the same for strangers and logins")
	}
}
