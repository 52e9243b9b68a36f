package policy

import (
	"strings"
	"testing"
)

// shared is a client that comes with the address that nearly all clients have.
func shared(addr, name string) Connection {
	c := client(addr, name)
	c.Shared = true
	return c
}

func TestASharedAddressEntitlesNobody(t *testing.T) {
	p := dnsFixture(t)
	p.Access = fixture(t, table+"Connect:10.88\tRELAY\nConnect:10.99.0.1\tREJECT\nConnect:host.containers.internal\tRELAY\nConnect:10.77\tOK\nFrom:boss@good.example\tRELAY\n").Access
	p.Relay = NewClass("relayed.example", "172.16")
	p.Local = NewClass("mx.example.test", "example.test", "[10.66.0.1]")
	p.Features.RelayMailFrom = true
	const putOff = "tempfail 451 4.7.1 Relaying temporarily denied. Your own address is not known"
	for _, c := range []struct {
		name     string
		conn     Connection
		auth     Auth
		from, to string
		grant    GrantState
		want     string
	}{
		{"its own address relays", client("10.88.0.1", "FAIL"), Auth{}, "", "x@other.example", GrantNone, "accept"},
		{"an entry of its network", shared("10.88.0.1", "FAIL"), Auth{}, "", "x@other.example", GrantNone, putOff},
		{"class R", shared("172.16.0.1", "FAIL"), Auth{}, "", "x@other.example", GrantNone, putOff},
		{"class w", shared("10.66.0.1", "FAIL"), Auth{}, "", "x@other.example", GrantNone, putOff},
		{"an entry of its name", shared("10.55.0.1", "host.containers.internal"), Auth{}, "", "x@other.example", GrantNone, putOff},
		{"a grant", shared("10.55.0.1", "FAIL"), Auth{}, "", "x@other.example", GrantHeld, putOff},
		{"nothing would entitle it", shared("10.55.0.1", "gw.example"), Auth{}, "", "x@other.example", GrantNone, "reject 550 5.7.1 Relaying denied. Proper authentication required."},
		{"who authenticates relays", shared("10.88.0.1", "FAIL"), plain, "", "x@other.example", GrantNone, "accept"},
		{"the sender relays", shared("10.88.0.1", "FAIL"), Auth{}, "boss@good.example", "x@other.example", GrantNone, "accept"},
		{"mail to us is taken", shared("10.88.0.1", "FAIL"), Auth{}, "", "x@example.test", GrantNone, "accept"},
		{"mail that we relay for all", shared("10.88.0.1", "FAIL"), Auth{}, "", "x@relayed.example", GrantNone, "accept"},
		{"its network's OK relays nothing", shared("10.77.0.1", "FAIL"), Auth{}, "", "x@other.example", GrantNone, "reject 550 5.7.1 Relaying denied. IP name lookup failed [10.77.0.1]"},
		{"what the table refuses is refused", shared("10.99.0.1", "FAIL"), Auth{}, "", "x@example.test", GrantNone, "reject 550 5.7.1 Access denied"},
		{"a sender that it refuses as well", shared("10.88.0.1", "FAIL"), Auth{}, "spam@good.example", "x@example.test", GrantNone, "reject 550 5.7.1 Access denied"},
		{"a recipient as well", shared("10.88.0.1", "FAIL"), Auth{}, "", "gone@example.test", GrantNone, "reject 550 5.2.1 Mailbox disabled for this recipient"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// All that the DNS says of the address is bad.
			answers := scripted{reverse: ReverseDNS{Status: RDNSNone}, domain: SenderDomain{Status: DomainOK},
				listings: Listings{Verdict: Listed, List: "bl"}, names: Listings{Verdict: NotListed}, grant: c.grant}
			s := p.NewSession(c.conn, &answers)
			v := s.Mail(c.auth, Mail{From: c.from})
			if v.Action == ActionAccept {
				v = s.Rcpt(Recipient{To: c.to, Mailer: "esmtp"})
			}
			got := string(v.Action)
			if v.Action != ActionAccept {
				got += " " + v.Reply.String()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s\n%s", got, c.want, traceText(v))
			}
		})
	}
}

func TestListsOfNamesCountForASharedAddress(t *testing.T) {
	p := dnsFixture(t)
	answers := scripted{reverse: ReverseDNS{Status: RDNSNone}, domain: SenderDomain{Status: DomainOK},
		listings: Listings{Verdict: Listed, List: "bl"}, names: Listings{Verdict: Listed, List: "names", Listed: "good.example", Reason: "spam"}}
	s := p.NewSession(shared("10.88.0.1", "FAIL"), &answers)
	s.Mail(Auth{}, Mail{From: "a@good.example"})
	if v := s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"}); v.Reply.String() != "554 5.7.1 good.example: spam" {
		t.Errorf("%s\n%s", v, traceText(v))
	}
}

// One client of many that seem to have one address must not use up the room of all.
func TestASharedAddressHasNoCountOfItsOwn(t *testing.T) {
	for _, count := range []LimitCount{CountRefused, CountRecipients, CountMessages} {
		p := limitFixture(t, Limit{Name: "l", By: ByClient, Count: count, Rates: rate(t, "1/1h")})
		for _, conn := range []Connection{shared("10.0.0.1", "gw.example"), client("203.0.113.8", "mail.good.example")} {
			answers, got := new(counter), ""
			s := p.NewSession(conn, answers)
			for _, to := range []string{"gone@example.test", "gone@example.test", "x@example.test", "x@example.test"} {
				s.Mail(Auth{}, Mail{From: "a@good.example"})
				got += outcome(s.Rcpt(Recipient{To: to, Mailer: "local"}))
				s.EndOfMessage(nil)
			}
			if limited := strings.Contains(got, "o"); limited == conn.Shared || (len(answers.asked) > 0) == conn.Shared {
				t.Errorf("%s, %v: got %s, asked %q", count, conn.Addr, got, answers.asked)
			}
		}
	}
}
