package policy

import (
	"net/netip"
	"testing"
)

// TestTheNameOfALogin: a password has one count, whatever realm is written with it.
func TestTheNameOfALogin(t *testing.T) {
	p := &Policy{Hostname: "mx.Example.test", Local: NewClass("example.test", "mx.example.test", "localhost", "[127.0.0.1]"), Relay: NewClass("partner.example", "203.0.113"),
		Realms: Domains{Local: true, Relay: true, Names: NewClass("customers.lan", "intern")}}
	for login, want := range map[string]string{
		"Shin":                                 "shin",
		"shin@mx.example.test":                 "shin",
		"shin@victim.example":                  "shin",
		"shin@a@b":                             "shin",
		"shin@":                                "shin",
		"shin@Example.test":                    "shin@example.test",
		"shin@partner.example":                 "shin@partner.example",
		"shin@customers.lan":                   "shin@customers.lan",
		"shin@x0.partner.example":              "shin",
		"shin@x0.example.test":                 "shin",
		"shin@x0.customers.lan":                "shin",
		"shin@x.203.0.113":                     "shin",
		"shin@203.0.113":                       "shin",
		"shin@localhost":                       "shin",
		"shin@[127.0.0.1]":                     "shin",
		"shin@intern":                          "shin@intern",
		"@victim.example":                      "@victim.example",
		"/CN=Shin/emailAddress=s@good.example": "/cn=shin/emailaddress=s@good.example",
	} {
		if got := p.LoginName(login); got != want {
			t.Errorf("%s is %s, want %s", login, got, want)
		}
	}
	p.Realms = Domains{}
	for _, login := range []string{"shin@example.test", "shin@partner.example", "shin@customers.lan"} {
		if got := p.LoginName(login); got != "shin" {
			t.Errorf("without realms %s is %s", login, got)
		}
	}
}

func TestLoginsInListsAreNamedAsThoseThatLogIn(t *testing.T) {
	p := &Policy{Hostname: "mx.example.test", Local: NewClass("example.test"), Realms: Domains{Local: true}}
	p.Limits.Rules = []Limit{{
		Whom:       LimitWhom{Logins: []string{"shin@mx.example.test"}},
		Exceptions: map[string][]Rate{"oka@mx.example.test": {{N: 1}}, "oka": {{N: 2}}, "list@mx.example.test": nil, "printer": nil, "printer@old.example": {{N: 4}}, "x@example.test": {{N: 3}}},
	}}
	p.NameLogins()
	l := p.Limits.Rules[0]
	if rates, ok := l.Exceptions["list"]; l.Whom.Logins[0] != "shin" || l.Exceptions["oka"][0].N != 2 || !ok || rates != nil || l.Exceptions["x@example.test"][0].N != 3 || l.Exceptions["printer"] != nil || len(l.Exceptions) != 4 {
		t.Errorf("%+v", l)
	}
}

// TestARealmThatIsNotOursIsNoAddress: a realm that SASL does not look at could be anybody's
// domain.
func TestARealmThatIsNotOursIsNoAddress(t *testing.T) {
	p := fixture(t, table)
	p.Hostname, p.Local, p.Realms = "mx.example.test", NewClass("example.test"), Domains{Local: true, Names: NewClass("customer.example")}
	p.Checks.SenderLogin = SenderLoginCheck{Mode: ModeEnforce, Allow: rules(t, "{login}"), Reply: reply(t, "553 5.7.1 not yours")}
	for login, want := range map[string]Action{"shin@victim.example": ActionReject, "shin@customer.example": ActionAccept, "shin@example.test": ActionAccept, "shin@mx.example.test": ActionAccept} {
		if v := sendsAs(p, Connection{Addr: netip.MustParseAddr("203.0.113.8")}, loggedIn(login), login, nil); v.Action != want {
			t.Errorf("%s sends as that address: %s, want %s", login, v.Action, want)
		}
	}
}
