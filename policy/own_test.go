package policy

import (
	"net/netip"
	"testing"
)

func TestOwnDomainsFromStrangersAreRefused(t *testing.T) {
	p := fixture(t, table+"Connect:198.51.100.40\tRELAY\nConnect:relayed.good.example\tRELAY\n")
	p.Local = NewClass("mx.example.test", "example.test", "localhost", "xn--bcher-kva.example")
	p.Relay = NewClass("partner.example", "192.0.2")
	p.Hostname = "mx.example.test"
	p.Features.RelayLocalFrom, p.Checks.RDNS.Mode = true, ModeOff
	p.Checks.OwnSender = OwnSenderCheck{
		Mode: ModeEnforce, Domains: Domains{Local: true, Names: NewClass("more.example")},
		Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.64/28")}, Hosts: NewClass("lists.example"), Reply: reply(t, "550 5.7.1 ours"),
	}
	const ok, no, syntax = "accept", "reject 550 5.7.1 ours", "reject 553 5.1.7 Sender address syntax is not supported"
	stranger := client("203.0.113.8", "mail.good.example")
	for _, c := range []struct {
		name, from string
		conn       Connection
		auth       Auth
		grant      GrantState
		want       string
	}{
		{"a stranger in a name of its own", "a@good.example", stranger, Auth{}, GrantNone, ok},
		{"a stranger in our name", "shin@example.test", stranger, Auth{}, GrantNone, no},
		{"in any case", "shin@EXAMPLE.test.", stranger, Auth{}, GrantNone, no},
		{"with our host name", "shin@mx.example.test", stranger, Auth{}, GrantNone, no},
		{"with localhost", "root@localhost", stranger, Auth{}, GrantNone, no},
		{"without a domain", "root", stranger, Auth{}, GrantNone, no},
		{"by a source route", "@good.example:shin@example.test", stranger, Auth{}, GrantNone, no},
		{"with another host behind ours", "shin%other.example@example.test", stranger, Auth{}, GrantNone, no},
		{"with our host behind ours", "shin%example.test@mx.example.test", stranger, Auth{}, GrantNone, no},
		{"below our domain", "shin@sub.example.test", stranger, Auth{}, GrantNone, ok},
		{"with another dot", "shin@example\u3002test", stranger, Auth{}, GrantNone, no},
		{"with a wide letter", "shin@\uff45xample.test", stranger, Auth{}, GrantNone, no},
		{"in Unicode", "shin@bücher.example", stranger, Auth{}, GrantNone, no},
		{"another in Unicode", "shin@kücher.example", stranger, Auth{}, GrantNone, ok},
		{"a further domain", "shin@more.example", stranger, Auth{}, GrantNone, no},
		{"below a further domain", "shin@sub.more.example", stranger, Auth{}, GrantNone, ok},
		{"a domain we relay for", "shin@partner.example", stranger, Auth{}, GrantNone, ok},
		{"the null sender", "", stranger, Auth{}, GrantNone, ok},
		{"what cannot be read", "shin@example.test@", stranger, Auth{}, GrantNone, syntax},
		{"who has logged in", "shin@example.test", stranger, plain, GrantNone, ok},
		{"by any mechanism", "shin@example.test", stranger, Auth{Type: "OTP", Authen: "shin"}, GrantNone, ok},
		{"ANONYMOUS is no login", "shin@example.test", stranger, Auth{Type: "ANONYMOUS", Authen: "shin"}, GrantNone, no},
		{"a listed network", "shin@example.test", client("198.51.100.65", "FAIL"), Auth{}, GrantNone, ok},
		{"a listed name", "shin@example.test", client("203.0.113.8", "out.lists.example"), Auth{}, GrantNone, ok},
		{"a name that ends so", "shin@example.test", client("203.0.113.8", "out.blists.example"), Auth{}, GrantNone, no},
		{"a listed name that is not confirmed", "shin@example.test", Connection{Addr: netip.MustParseAddr("203.0.113.8"), Name: "out.lists.example", PTR: "out.lists.example", Resolve: ResolveForged}, Auth{}, GrantNone, no},
		{"class R", "shin@example.test", client("192.0.2.8", "FAIL"), Auth{}, GrantNone, ok},
		{"Connect: RELAY", "shin@example.test", client("198.51.100.40", "FAIL"), Auth{}, GrantNone, ok},
		{"Connect: RELAY by name", "shin@example.test", client("203.0.113.8", "relayed.good.example"), Auth{}, GrantNone, ok},
		{"a grant", "shin@example.test", stranger, Auth{}, GrantHeld, ok},
		{"a grant that cannot be asked for", "shin@example.test", stranger, Auth{}, GrantTemporary, "tempfail 451 4.7.1 grants"},
		{"this host", "shin@example.test", client("127.0.0.1", "localhost"), Auth{}, GrantNone, ok},
		{"no address at all", "shin@example.test", Connection{}, Auth{}, GrantNone, ok},
		{"a shared address may relay for none", "shin@example.test", shared("192.0.2.8", "out.lists.example"), Auth{}, GrantHeld, no},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.Checks.Relay.GrantTemp = reply(t, "451 4.7.1 grants")
			if got := short(sendsAs(p, c.conn, c.auth, c.from, &scripted{grant: c.grant})); got != c.want {
				t.Errorf("%s, expected %s", got, c.want)
			}
		})
	}
	p.Checks.Relay.LocalMailers = []string{"local"}
	for _, c := range []struct {
		mail Mail
		want string
	}{
		{Mail{From: "ceo@alias.good.example", Mailer: "local", Addr: "ceo"}, no},
		{Mail{From: "ceo@alias.good.example", Mailer: "esmtp", Addr: "ceo@more.example"}, no},
		{Mail{From: "ceo@alias.good.example", Mailer: "esmtp", Addr: `"ceo@more.example"@other.example`}, ok},
	} {
		s := p.NewSession(stranger, &scripted{})
		s.Helo("mail.good.example", TLS{})
		s.Mail(Auth{}, c.mail)
		if got := short(s.Rcpt(Recipient{To: "shin@example.test", Mailer: "local"})); got != c.want {
			t.Errorf("%+v: %s, expected %s", c.mail, got, c.want)
		}
	}
	p.Checks.OwnSender.Domains.Relay = true
	if got := short(sendsAs(p, stranger, Auth{}, "shin@host.partner.example", nil)); got != no {
		t.Errorf("class R as our own: %s, expected %s", got, no)
	}
}

func TestOwnSenderComesBeforeFriendAndFromOK(t *testing.T) {
	p := fixture(t, "Spam:x@\tFRIEND\nFrom:shin@example.test\tOK\n")
	p.Local = NewClass("example.test")
	p.Checks.OwnSender = OwnSenderCheck{Mode: ModeEnforce, Domains: Domains{Local: true}, Reply: reply(t, "550 5.7.1 ours")}
	v := sendsAs(p, client("203.0.113.8", "mail.good.example"), Auth{}, "shin@example.test", nil)
	if v.Check != "own_sender" || v.Action != ActionReject {
		t.Errorf("%v", v)
	}
	p.Checks.OwnSender.Mode = ModeShadow
	if v = sendsAs(p, client("203.0.113.8", "mail.good.example"), Auth{}, "shin@example.test", nil); v.Action != ActionAccept || len(v.Shadow) != 1 {
		t.Errorf("in shadow mode: %v", v)
	}
}

// Entries have domains as the DNS does; a client that may use SMTPUTF8 has other forms.
func TestEntriesHoldForEachFormOfASendersDomain(t *testing.T) {
	p := fixture(t, "From:xn--bses-5qa.example\tREJECT\nFrom:closed.example\tREJECT\n")
	for from, want := range map[string]Action{
		"a@xn--bses-5qa.example": ActionReject, "a@böses.example": ActionReject, "a@BÖSES.example": ActionReject, "a@closed\uff0eexample": ActionReject,
		"a@\uff43losed.example": ActionReject, "a@mail.böses.example": ActionReject, "a@gutes.example": ActionAccept, "a@gütes.example": ActionAccept,
	} {
		if v := sendsAs(p, client("203.0.113.8", "mail.good.example"), Auth{}, from, nil); v.Action != want {
			t.Errorf("%s: %s, want %s", from, v, want)
		}
	}
}
