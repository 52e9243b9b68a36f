package answers_test

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"milterd/dnscheck"
	"milterd/dnscheck/answers"
	"milterd/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What the DNS says, in the policy's terms: what is not known is temporary.
func TestAnswersInThePolicysTerms(t *testing.T) {
	lists, err := dnscheck.NewLists([]dnscheck.List{
		{Zone: "bl.example", Weight: 1, OnTemporary: dnscheck.TempFail},
		{Zone: "wl.example", Exempt: true},
		{Zone: "dbl.example", Kind: dnscheck.DomainList, Weight: 1},
	}, dnscheck.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lookups := &answers.Lookups{Lists: lists, Mail: dnscheck.MailOptions{BadMX: true}}
	given, asked, err := lookups.Frozen([]string{
		"8.113.0.203.in-addr.arpa. PTR a.example.", "a.example. A 203.0.113.8",
		"9.113.0.203.in-addr.arpa. PTR a.example.", "10.113.0.203.in-addr.arpa. NXDOMAIN",
		"8.113.0.203.bl.example. A 127.0.0.2", "8.113.0.203.wl.example. NXDOMAIN",
		"9.113.0.203.bl.example. A 127.0.0.2", "9.113.0.203.wl.example. A 127.0.0.2",
		"10.113.0.203.bl.example. NXDOMAIN", "10.113.0.203.wl.example. NXDOMAIN",
		"bad.example. MX 10 mx.bad.example.", "mx.bad.example. A 10.0.0.1", "mx.bad.example. AAAA NODATA",
		"null.example. MX 0 .", "none.example. NXDOMAIN",
		"good.example. MX 10 a.example.", "a.example. AAAA NODATA",
		"spam.example.dbl.example. A 127.0.1.2",
	})
	if err != nil {
		t.Fatal(err)
	}
	type terms struct {
		RDNS     policy.RDNSStatus
		Listings policy.ListVerdict
	}
	for addr, want := range map[string]terms{
		"203.0.113.8":  {policy.RDNSPass, policy.Listed},
		"203.0.113.9":  {policy.RDNSMismatch, policy.ListExempted},
		"203.0.113.10": {policy.RDNSNone, policy.NotListed},
		"203.0.113.11": {policy.RDNSTemporary, policy.ListsTemporary},
	} {
		a := given(policy.Connection{Addr: netip.MustParseAddr(addr)})
		if diff := cmp.Diff(want, terms{a.ReverseDNS().Status, a.Listings(policy.ListStrangers).Verdict}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", addr, diff)
		}
	}
	a := given(policy.Connection{Addr: netip.MustParseAddr("203.0.113.8")})
	for domain, want := range map[string]policy.SenderDomain{
		"good.example":  {Status: policy.DomainOK, Detail: "domain good.example: ok"},
		"[203.0.113.8]": {Status: policy.DomainOK, Detail: "domain [203.0.113.8]: address literal"},
		"null.example":  {Status: policy.DomainNullMX, Detail: "domain null.example: null MX"},
		"none.example":  {Status: policy.DomainMissing, Detail: "domain none.example: no such domain"},
		"a..example":    {Status: policy.DomainMissing, Detail: "domain a..example: not a domain name"},
		"other.example": {Status: policy.DomainTemporary, Detail: "domain other.example: no answer"},
		"bad.example":   {Status: policy.DomainBadMX, Detail: "domain bad.example: unusable MX, mx.bad.example (10.0.0.1)"},
	} {
		if diff := cmp.Diff(want, a.SenderDomain(domain)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", domain, diff)
		}
	}
	got := a.NameListings(policy.ListStrangers, []string{"spam.example"})
	if got.Verdict != policy.Listed || got.List != "dbl.example" || got.Listed != "spam.example" {
		t.Errorf("got %+v", got)
	}
	if n, first := asked.Missing(); n == 0 || !strings.Contains(first, "11.113.0.203") && !strings.Contains(first, "other.example") {
		t.Errorf("%d questions without a line, first %q", n, first)
	}
}

func TestAPrivateClientIsSaidNotToBeAskedAbout(t *testing.T) {
	lists, err := dnscheck.NewLists([]dnscheck.List{{Zone: "bl.example", Weight: 1}}, dnscheck.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	given, _, err := (&answers.Lookups{Lists: lists}).Frozen([]string{"8.113.0.203.bl.example. NXDOMAIN"})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"203.0.113.8":       "bl.example: not listed",
		"10.89.0.22":        "address lists not asked: 10.89.0.22 is not a public address",
		"::ffff:10.89.0.22": "address lists not asked: 10.89.0.22 is not a public address",
	} {
		got := given(policy.Connection{Addr: netip.MustParseAddr(addr)}).Listings(policy.ListStrangers)
		if diff := cmp.Diff(policy.Listings{Verdict: policy.NotListed, Details: []string{want}}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", addr, diff)
		}
	}
}

// Without any check that asks, and without lists, there is nothing to wait for.
func TestNothingToAsk(t *testing.T) {
	given, asked, err := (*answers.Lookups)(nil).Frozen([]string{"bad line"})
	if given != nil || asked != nil || err != nil {
		t.Errorf("got %v, %v", asked, err)
	}
	lookups := &answers.Lookups{Resolver: nil}
	a := lookups.NewAnswers(t.Context(), policy.Connection{Addr: netip.MustParseAddr("203.0.113.8")}, nil)
	defer a.Close()
	if got := a.Listings(policy.ListStrangers).Verdict; got != policy.NotListed {
		t.Errorf("got %v", got)
	}
	if got := a.NameListings(policy.ListStrangers, []string{"a.example"}).Verdict; got != policy.NotListed {
		t.Errorf("got %v", got)
	}
}

// forgetful remembers nothing of some names, and counts what it is asked in earnest.
type forgetful struct {
	dnscheck.Resolver
	forgets string
	asked   atomic.Int32
}

func (f *forgetful) LookupCached(name string, qtype uint16) (dnscheck.Result, bool) {
	if strings.Contains(name, f.forgets) {
		return dnscheck.Result{}, false
	}
	return f.Resolver.LookupCached(name, qtype)
}

func (f *forgetful) Lookup(ctx context.Context, name string, qtype uint16) dnscheck.Result {
	f.asked.Add(1)
	return f.Resolver.Lookup(ctx, name, qtype)
}

func TestWhatTheResolverRemembersIsNotAskedFor(t *testing.T) {
	lines, err := dnscheck.NewFrozen([]string{
		"8.113.0.203.in-addr.arpa. PTR mx.good.example.", "mx.good.example. A 203.0.113.8", "good.example. MX 10 mx.good.example.",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		forgets string
		asked   bool
	}{{"nothing", false}, {"arpa", true}, {"mx.good", true}, {"good.example", true}} {
		r := &forgetful{Resolver: lines, forgets: c.forgets}
		a := (&answers.Lookups{Resolver: r}).NewAnswers(t.Context(), policy.Connection{Addr: netip.MustParseAddr("203.0.113.8")}, nil)
		a.Begin(policy.Needs{ReverseDNS: true})
		a.Prepare(policy.MessageNeeds{SenderDomain: "good.example"})
		if status := a.ReverseDNS().Status; status != policy.RDNSPass {
			t.Errorf("%s forgotten: reverse DNS %v", c.forgets, status)
		}
		if status := a.SenderDomain("good.example").Status; status != policy.DomainOK {
			t.Errorf("%s forgotten: sender's domain %v", c.forgets, status)
		}
		a.EndMessage()
		a.Close()
		if asked := r.asked.Load() > 0; asked != c.asked {
			t.Errorf("%s forgotten: asked %v, expected %v", c.forgets, asked, c.asked)
		}
	}
}
