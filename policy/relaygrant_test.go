package policy

import (
	"fmt"
	"strings"
	"testing"
)

// grantFixture is the fixture with entries for single addresses, tagged and not.
func grantFixture(t *testing.T) *Policy {
	t.Helper()
	p := dnsFixture(t)
	p.Access = fixture(t, table+`Connect:203.0.113.71	ERROR:4.7.1:450 Not now
Connect:203.0.113.72	DISCARD
Connect:203.0.113.73	QUARANTINE:held
Connect:203.0.113.74	OK
Connect:203.0.113.75	SKIP
203.0.113.76		REJECT
203.0.113.77		OK
Connect:203.0.112	REJECT
Connect:203.0.114.0/24	REJECT
Connect:IPv6:2001:db8:0:0:0:0:0:66	REJECT
Connect:refused.example	REJECT
`).Access
	p.Checks.Relay.GrantTemp = reply(t, "451 4.7.1 grants cannot be asked for")
	return p
}

const (
	denied        = "550 5.7.1 Relaying denied. Proper authentication required."
	cannotBeAsked = "451 4.7.1 grants cannot be asked for"
)

func TestGrantsInTheRelayCheck(t *testing.T) {
	p := grantFixture(t)
	const held, temporary, none = GrantHeld, GrantTemporary, GrantNone
	for _, c := range []struct {
		name  string
		conn  Connection
		grant GrantState
		to    string
		want  string // of the relay check; empty: taken
	}{
		{"a grant relays", client("203.0.113.8", "mail.good.example"), held, "x@other.example", ""},
		{"over IPv6", client("2001:db8::8", "mail.good.example"), held, "x@other.example", ""},
		{"without a confirmed name", client("203.0.113.8", "FAIL"), held, "x@other.example", ""},
		{"with a forged one", client("203.0.113.8", "FORGED"), held, "x@other.example", ""},
		{"no grant", client("203.0.113.8", "mail.good.example"), none, "x@other.example", denied},

		{"REJECT of the address outranks it", client("203.0.113.66", "x.example"), held, "x@other.example", denied},
		{"ERROR: as well", client("203.0.113.71", "x.example"), held, "x@other.example", denied},
		{"DISCARD as well", client("203.0.113.72", "x.example"), held, "x@other.example", denied},
		{"QUARANTINE: as well", client("203.0.113.73", "x.example"), held, "x@other.example", denied},
		{"an entry without a tag as well", client("203.0.113.76", "x.example"), held, "x@other.example", denied},
		{"an IPv6 entry as well", client("2001:db8::66", "x.example"), held, "x@other.example", denied},
		{"OK of the address does not", client("203.0.113.74", "x.example"), held, "x@other.example", ""},
		{"nor OK without a tag", client("203.0.113.77", "x.example"), held, "x@other.example", ""},
		{"nor SKIP", client("203.0.113.75", "x.example"), held, "x@other.example", ""},
		{"nor REJECT of its network", client("203.0.112.9", "x.example"), held, "x@other.example", ""},
		{"nor REJECT of its network by prefix length", client("203.0.114.9", "x.example"), held, "x@other.example", ""},
		{"nor REJECT of its name", client("203.0.113.8", "pc.refused.example"), held, "x@other.example", ""},

		{"nobody can tell", client("203.0.113.8", "mail.good.example"), temporary, "x@other.example", cannotBeAsked},
		{"nobody can tell, and it has no name", client("203.0.113.8", "FAIL"), temporary, "x@other.example", cannotBeAsked},
		{"nobody can tell, and the table outranks a grant", client("203.0.113.66", "x.example"), temporary, "x@other.example", denied},
		{"nobody can tell, and an address entitles", client("192.0.2.7", "FAIL"), temporary, "x@other.example", ""},
		{"nobody can tell, but a name would entitle", client("203.0.113.9", "host.trusted.example"), temporary, "x@other.example", ""},
		{"nobody can tell about mail to us", client("203.0.113.8", "mail.good.example"), temporary, "x@example.test", ""},
		{"nobody can tell about mail that we relay for all", client("203.0.113.8", "mail.good.example"), temporary, "x@relayed.example", ""},
		{"this host needs no grant", client("127.0.0.1", "localhost"), temporary, "x@other.example", ""},
		{"a local submission needs none", client("", ""), temporary, "x@other.example", ""},

		{"a port for AUTH only", on(27, client("203.0.113.8", "mail.good.example")), held, "x@other.example", denied},
		{"a port that relays for nobody", on(26, client("203.0.113.8", "mail.good.example")), held, "x@other.example", "550 5.7.1 Relaying denied"},
		{"a port for AUTH only, and nobody can tell", on(27, client("203.0.113.8", "mail.good.example")), temporary, "x@other.example", denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := p.NewSession(c.conn, &scripted{grant: c.grant, reverse: ReverseDNS{Status: RDNSPass}, domain: SenderDomain{Status: DomainOK},
				listings: Listings{Verdict: NotListed}, names: Listings{Verdict: NotListed}})
			s.Mail(Auth{}, Mail{From: "a@good.example"})
			v := s.Rcpt(Recipient{To: c.to, Mailer: mailer(c.to)})
			got := ""
			if v.Check == "relay" {
				got = v.Reply.String()
			}
			if got != c.want {
				t.Errorf("%s, expected %q\n%+v", v, c.want, v.Trace)
			}
		})
	}
}

// asked counts the questions about grants.
type asked struct {
	scripted
	questions int
}

func (a *asked) Grant() GrantState {
	a.questions++
	return a.grant
}

func TestAGrantThatWasSeenCountsForTheConnection(t *testing.T) {
	p := grantFixture(t)
	answers := &asked{scripted: scripted{grant: GrantTemporary, reverse: ReverseDNS{Status: RDNSPass}, domain: SenderDomain{Status: DomainOK},
		listings: Listings{Verdict: NotListed}, names: Listings{Verdict: NotListed}}}
	s := p.NewSession(client("203.0.113.8", "mail.good.example"), answers)
	rcpt := func(when string, grant GrantState, want Action) {
		t.Helper()
		answers.grant = grant
		s.Mail(Auth{}, Mail{From: "a@good.example"})
		if v := s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"}); v.Action != want {
			t.Errorf("%s: %s", when, v)
		}
	}
	rcpt("nobody can tell", GrantTemporary, ActionTempfail)
	rcpt("a moment later there is none", GrantNone, ActionReject)
	rcpt("then the user has logged in", GrantHeld, ActionAccept)
	before := answers.questions
	rcpt("and it expires", GrantNone, ActionAccept)
	rcpt("or nobody can tell", GrantTemporary, ActionAccept)
	if answers.questions != before {
		t.Errorf("%d more questions about a grant that was seen", answers.questions-before)
	}
}

func TestAGrantSparesTheChecksOnTheClientsDNS(t *testing.T) {
	bad := scripted{reverse: ReverseDNS{Status: RDNSNone}, domain: SenderDomain{Status: DomainOK},
		listings: Listings{Verdict: Listed, List: "bl"}, names: Listings{Verdict: NotListed}}
	for _, c := range []struct {
		name   string
		grant  GrantState
		change func(*Policy)
		conn   Connection
		from   string
		want   string
	}{
		{"a grant", GrantHeld, func(*Policy) {}, client("203.0.113.8", "FAIL"), "a@good.example", ""},
		{"no grant", GrantNone, func(*Policy) {}, client("203.0.113.8", "FAIL"), "a@good.example", "rdns"},
		{"nobody can tell", GrantTemporary, func(*Policy) {}, client("203.0.113.8", "FAIL"), "a@good.example", "rdns"},
		{"a grant that the table outranks", GrantHeld, func(p *Policy) { p.Checks.Client.Mode = ModeOff }, client("203.0.113.66", "FAIL"), "a@good.example", "rdns"},
		{"a grant, and rdns spares nobody who may relay", GrantHeld, func(p *Policy) { p.Checks.RDNS.Exempt.Relay = false }, client("203.0.113.8", "FAIL"), "a@good.example", "rdns"},
		{"a grant, and dnsbl spares nobody who may relay", GrantHeld, func(p *Policy) { p.Checks.DNSBL.Exempt.Relay = false }, client("203.0.113.8", "FAIL"), "a@good.example", "dnsbl"},
		{"a grant is not AUTH", GrantHeld, func(*Policy) {}, on(587, client("203.0.113.8", "FAIL")), "a@good.example", "port"},
		{"a grant does not spare the sender", GrantHeld, func(*Policy) {}, client("203.0.113.8", "FAIL"), "spam@good.example", "sender"},
		{"nor a refused name", GrantHeld, func(*Policy) {}, client("203.0.113.8", "pc.refused.example"), "a@good.example", "client"},
		{"but a refused network", GrantHeld, func(*Policy) {}, client("203.0.112.9", "FAIL"), "a@good.example", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := grantFixture(t)
			c.change(p)
			answers := bad
			answers.grant = c.grant
			s := p.NewSession(c.conn, &answers)
			v := s.Mail(Auth{}, Mail{From: c.from})
			if v.Action == ActionAccept {
				v = s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
			}
			if v.Check != c.want {
				t.Errorf("%s, expected %q\n%+v", v, c.want, v.Trace)
			}
			if c.want == "" && !strings.Contains(traceText(v), "grant") {
				t.Errorf("the trace does not name the grant: %s", traceText(v))
			}
		})
	}
}

// TestAGrantForRelayingOnlyLiftsNoRefusal: such a grant entitles to relay, as every other.
func TestAGrantForRelayingOnlyLiftsNoRefusal(t *testing.T) {
	clean := scripted{reverse: ReverseDNS{Status: RDNSPass}, domain: SenderDomain{Status: DomainOK},
		listings: Listings{Verdict: NotListed}, names: Listings{Verdict: NotListed}}
	for _, c := range []struct {
		name    string
		conn    Connection
		answers func(*scripted)
		want    string // the check that refuses; empty: taken
	}{
		{"it relays", client("203.0.113.8", "FAIL"), func(*scripted) {}, ""},
		{"not from a refused network", client("203.0.112.9", "x.example"), func(*scripted) {}, "client"},
		{"nor from one by prefix length", client("203.0.114.9", "x.example"), func(*scripted) {}, "client"},
		{"nor without reverse DNS", client("203.0.113.8", "x.example"), func(s *scripted) { s.reverse.Status = RDNSNone }, "rdns"},
		{"nor from a listed address", client("203.0.113.8", "x.example"), func(s *scripted) { s.listings = Listings{Verdict: Listed, List: "bl"} }, "dnsbl"},
		{"nor for a sender whose domain does not exist", client("203.0.113.8", "x.example"), func(s *scripted) { s.domain.Status = DomainMissing }, "sender_domain"},
	} {
		// Mail to us does not wait for what a grant does not lift.
		for state, to := range map[GrantState]Recipient{GrantHeld: {To: "x@other.example", Mailer: "esmtp"}, GrantTemporary: {To: "x@example.test", Mailer: "local"}} {
			t.Run(fmt.Sprintf("%s, grant %d", c.name, state), func(t *testing.T) {
				p := grantFixture(t)
				p.GrantsRelayOnly = true
				answers := clean
				answers.grant = state
				c.answers(&answers)
				s := p.NewSession(c.conn, &answers)
				v := s.Mail(Auth{}, Mail{From: "a@good.example"})
				if v.Action == ActionAccept {
					v = s.Rcpt(to)
				}
				if v.Check != c.want {
					t.Errorf("%s, expected %q\n%+v", v, c.want, v.Trace)
				}
			})
		}
	}
}

// traceText is the reasons of a trace.
func traceText(v Verdict) string {
	var reasons []string
	for _, step := range v.Trace {
		reasons = append(reasons, step.Check+": "+step.Reason)
	}
	return strings.Join(reasons, "; ")
}

// TestNobodyIsRefusedForGoodWhileAGrantCannotBeAskedFor: what a relay grant would lift
// is a temporary refusal for one who was known to hold it.
func TestNobodyIsRefusedForGoodWhileAGrantCannotBeAskedFor(t *testing.T) {
	listed := scripted{reverse: ReverseDNS{Status: RDNSPass}, domain: SenderDomain{Status: DomainMissing},
		listings: Listings{Verdict: Listed, List: "bl"}, names: Listings{Verdict: NotListed}}
	for _, c := range []struct {
		name   string
		change func(*Policy)
		conn   Connection
	}{
		{"the client is on a DNS list", func(p *Policy) { p.Checks.SenderDomain.Mode = ModeOff }, client("203.0.113.8", "mail.good.example")},
		{"the sender's domain does not exist", func(p *Policy) { p.Checks.DNSBL.Mode = ModeOff }, client("203.0.113.8", "mail.good.example")},
		{"the client has no name", func(p *Policy) {
			p.Checks.SenderDomain.Mode, p.Checks.RDNS.Source = ModeOff, RDNSSourceSendmail
			p.Checks.RDNS.Fail = Reaction{Action: ActionReject, Reply: reply(t, "550 5.7.25 no name")}
		}, client("203.0.113.8", "FAIL")},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := grantFixture(t)
			c.change(p)
			for state, want := range map[GrantState]Action{GrantNone: ActionReject, GrantTemporary: ActionTempfail, GrantHeld: ActionAccept} {
				answers := listed
				answers.grant = state
				s := p.NewSession(c.conn, &answers)
				s.Mail(Auth{}, Mail{From: "a@good.example"})
				if v := s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"}); v.Action != want {
					t.Errorf("grant %d: %s, expected %s", state, v, want)
				}
			}
		})
	}
}

func TestWhichRecipientsAreLocal(t *testing.T) {
	p := fixture(t, table)
	p.Checks.Relay.LocalMailers = []string{"local", "virtual"}
	for _, c := range []struct {
		to, mailer string
		local      bool
	}{
		{"x@virtual.example", "virtual", true},
		{"x@example.test", "virtual", true},
		{"x@example.test", "house-agent", true},
		{"x@other.example", "house-agent", false},
		{"x@other.example", "Virtual", false},
		{"x@other.example", "", false},
		{"x%other.example@example.test", "house-agent", false},
	} {
		v := decide(p, client("203.0.113.8", "mail.good.example"), Auth{}, "a@good.example", c.to, c.mailer)
		if local := v.Check != "relay"; local != c.local {
			t.Errorf("%s by %q: %s", c.to, c.mailer, v)
		}
	}
}
