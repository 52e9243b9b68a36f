package policy

import (
	"fmt"
	"slices"
	"testing"
)

// listAsker notes which lists were asked.
type listAsker struct {
	scripted
	lists []string
}

func (a *listAsker) Listings(c ListClients) Listings {
	a.lists = append(a.lists, fmt.Sprint("addresses ", c))
	return Listings{Verdict: NotListed}
}

func (a *listAsker) NameListings(c ListClients, _ []string) Listings {
	a.lists = append(a.lists, fmt.Sprint("names ", c))
	return Listings{Verdict: NotListed}
}

func TestListsAreAskedAboutTheirClients(t *testing.T) {
	all, strangers, logins := ListUse{All: true}, ListUse{Strangers: true}, ListUse{Authenticated: true}
	otp := Auth{Type: "OTP", Authen: "shin"}
	for _, c := range []struct {
		name             string
		addresses, names ListUse
		auth             Auth
		exempt           bool
		want             []string
	}{
		{"a stranger, lists for all", all, all, Auth{}, true, []string{"addresses 0", "names 0"}},
		{"a stranger, lists for strangers", strangers, strangers, Auth{}, true, []string{"addresses 0", "names 0"}},
		{"a stranger, lists for logins", logins, logins, Auth{}, true, nil},
		{"a login, lists for all", all, all, plain, true, nil},
		{"a login, lists for all, not exempt", all, all, plain, false, []string{"addresses 1", "names 1"}},
		{"a login, lists for strangers, not exempt", strangers, strangers, plain, false, nil},
		{"a login, lists for logins", logins, strangers, plain, true, []string{"addresses 2"}},
		{"a login, lists of names for logins", all, logins, plain, true, []string{"names 2"}},
		{"a login, lists for logins, not exempt", logins, all, plain, false, []string{"addresses 1", "names 1"}},
		{"ANONYMOUS, lists for strangers", strangers, strangers, Auth{Type: "ANONYMOUS", Authen: "x"}, true, []string{"addresses 0", "names 0"}},
		{"a login that is not trusted", strangers, all, otp, true, []string{"names 1"}},
		{"a login that is not trusted, lists for logins", logins, strangers, otp, true, []string{"addresses 1"}},
	} {
		p := dnsFixture(t)
		p.Checks.DNSBL.Addresses, p.Checks.DNSBL.Names, p.Checks.DNSBL.Exempt.Authenticated = c.addresses, c.names, c.exempt
		a := &listAsker{scripted: scripted{reverse: ReverseDNS{Status: RDNSPass}, domain: SenderDomain{Status: DomainOK}}}
		if v := sendsAs(p, client("203.0.113.8", "mail.good.example"), c.auth, "a@good.example", a); v.Action != ActionAccept {
			t.Errorf("%s: %v", c.name, v)
		}
		if !slices.Equal(a.lists, c.want) {
			t.Errorf("%s: asked %q, expected %q", c.name, a.lists, c.want)
		}
		if begun := a.needs.Listings; begun != (c.addresses.All || c.addresses.Strangers) {
			t.Errorf("%s: address lists begun at connect: %t", c.name, begun)
		}
	}
}

func TestAListForLoginsRefusesALogin(t *testing.T) {
	p := dnsFixture(t)
	p.Checks.DNSBL.Addresses, p.Checks.DNSBL.Names = ListUse{Authenticated: true}, ListUse{}
	listed := &scripted{listings: Listings{Verdict: Listed, List: "auth.example"}, reverse: ReverseDNS{Status: RDNSPass}, domain: SenderDomain{Status: DomainOK}}
	v := sendsAs(p, client("203.0.113.8", "mail.good.example"), plain, "a@good.example", listed)
	if v.Check != "dnsbl" || v.Action != ActionReject {
		t.Errorf("a login: %v", v)
	}
	if v = sendsAs(p, client("198.51.100.8", "mail.good.example"), plain, "a@good.example", listed); v.Action != ActionAccept {
		t.Errorf("a login from a network that may relay: %v", v)
	}
}
