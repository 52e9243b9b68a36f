package policy

import (
	"strings"
	"testing"
)

// scripted gives the same answers to everybody.
type scripted struct {
	reverse  ReverseDNS
	domain   SenderDomain
	listings Listings
	names    Listings
	prepared []string
	needs    Needs
	grant    GrantState
	NoAnswers
}

func (s *scripted) Begin(n Needs)     { s.needs = n }
func (s *scripted) Grant() GrantState { return s.grant }

func (s *scripted) Prepare(n MessageNeeds) {
	s.prepared = append(s.prepared, n.SenderDomain+" "+strings.Join(n.Names, ","))
}
func (s *scripted) ReverseDNS() ReverseDNS                      { return s.reverse }
func (s *scripted) SenderDomain(string) SenderDomain            { return s.domain }
func (s *scripted) Listings(ListClients) Listings               { return s.listings }
func (s *scripted) NameListings(ListClients, []string) Listings { return s.names }

// dnsFixture is a policy with every check that asks the DNS.
func dnsFixture(t *testing.T) *Policy {
	t.Helper()
	p := fixture(t, table)
	refuse := func(s string) Reaction { return Reaction{Action: ActionReject, Reply: reply(t, s)} }
	exempt := p.Checks.RDNS.Exempt
	p.Checks.RDNS.Source = RDNSSourceOwn
	p.Checks.RDNS.Forged = refuse("450 4.7.25 forged")
	p.Checks.RDNS.Generic = refuse("450 4.7.25 generic")
	p.Checks.SenderDomain = SenderDomainCheck{
		Mode: ModeEnforce, Missing: refuse("553 5.1.8 missing"), NullMX: refuse("550 5.7.27 null"),
		Temporary: refuse("451 4.1.8 temporary"), BadMX: refuse("550 5.1.8 bad"),
	}
	p.Checks.DNSBL = DNSBLCheck{
		Mode: ModeEnforce, Addresses: ListUse{All: true}, Names: ListUse{All: true}, Reply: reply(t, "550 5.7.1 Rejected: {listed} listed at {zone}"),
		Replies: map[string]Reply{"names": reply(t, "554 5.7.1 {listed}: {reason}")}, Temporary: reply(t, "451 4.7.1 lists"), Exempt: exempt,
	}
	return p
}

func TestDNSAnswersDecide(t *testing.T) {
	p := dnsFixture(t)
	clean := scripted{reverse: ReverseDNS{Status: RDNSPass, Names: []string{"mail.good.example"}}, domain: SenderDomain{Status: DomainOK},
		listings: Listings{Verdict: NotListed}, names: Listings{Verdict: NotListed}}
	listed := Listings{Verdict: Listed, List: "bl", Score: 2}
	for _, c := range []struct {
		name   string
		answer func(*scripted)
		auth   Auth
		addr   string
		from   string
		to     string
		want   string
	}{
		{"nothing against it", func(*scripted) {}, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "accept"},
		{"no PTR", func(s *scripted) { s.reverse = ReverseDNS{Status: RDNSNone} }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "tempfail 450 4.7.25 Access denied. IP name lookup failed 203.0.113.8"},
		{"no answer about PTR", func(s *scripted) { s.reverse = ReverseDNS{} }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "tempfail 450 4.7.25 Access denied. Cannot resolve PTR record for 203.0.113.8"},
		{"no name confirmed", func(s *scripted) { s.reverse = ReverseDNS{Status: RDNSMismatch} }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "tempfail 450 4.7.25 forged"},
		{"a generic name", func(s *scripted) { s.reverse.Generic = "dsl-8 by the rule numbers" }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "tempfail 450 4.7.25 generic"},
		{"a listed client", func(s *scripted) { s.listings = listed }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "reject 550 5.7.1 Rejected: 203.0.113.8 listed at bl"},
		{"a listed name, with the list's own reply", func(s *scripted) {
			s.names = Listings{Verdict: Listed, List: "names", Listed: "good.example", Reason: "spam"}
		}, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "reject 554 5.7.1 good.example: spam"},
		{"an exempt client's names are not judged", func(s *scripted) { s.listings, s.names = Listings{Verdict: ListExempted}, listed }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "accept"},
		{"a list to be waited for has no answer", func(s *scripted) { s.listings = Listings{} }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "tempfail 451 4.7.1 lists"},
		{"a listed name outranks a list without an answer", func(s *scripted) { s.listings, s.names = Listings{}, listed }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "reject 550 5.7.1"},
		{"a missing domain", func(s *scripted) { s.domain.Status = DomainMissing }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "reject 553 5.1.8 missing"},
		{"a null MX", func(s *scripted) { s.domain.Status = DomainNullMX }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "reject 550 5.7.27 null"},
		{"a bad MX", func(s *scripted) { s.domain.Status = DomainBadMX }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "reject 550 5.1.8 bad"},
		{"no answer about the domain", func(s *scripted) { s.domain.Status = DomainTemporary }, Auth{}, "203.0.113.8", "a@good.example", "x@example.test", "tempfail 451 4.1.8 temporary"},
		{"the null sender has no domain", func(s *scripted) { s.domain.Status = DomainMissing }, Auth{}, "203.0.113.8", "", "x@example.test", "accept"},
		{"From: OK spares the sender's domain, and the client", func(s *scripted) { s.domain.Status, s.listings = DomainMissing, listed }, Auth{}, "203.0.113.8", "ok@good.example", "x@example.test", "accept"},
		{"trusted AUTH spares everything", func(s *scripted) { *s = scripted{listings: listed} }, plain, "203.0.113.8", "a@good.example", "x@example.test", "accept"},
		{"a client that may relay is spared everything", func(s *scripted) { *s = scripted{listings: listed} }, Auth{}, "192.0.2.7", "a@good.example", "x@other.example", "accept"},
		{"postmaster takes mail from everybody", func(s *scripted) { *s = scripted{listings: listed} }, Auth{}, "203.0.113.8", "a@good.example", "postmaster@example.test", "accept"},
		{"a friend takes mail from everybody", func(s *scripted) { *s = scripted{listings: listed} }, Auth{}, "203.0.113.8", "a@good.example", "friend@example.test", "accept"},
	} {
		answers := clean
		c.answer(&answers)
		s := p.NewSession(client(c.addr, "mail.good.example"), &answers)
		s.Mail(c.auth, Mail{From: c.from})
		v := s.Rcpt(Recipient{To: c.to, Mailer: map[bool]string{true: "local", false: "esmtp"}[strings.HasSuffix(c.to, "example.test")]})
		if got := strings.TrimSpace(string(v.Action) + " " + v.Reply.String()); !strings.HasPrefix(got, c.want) || c.want == "accept" && got != "accept" {
			t.Errorf("%s: %s, want %s\n%+v", c.name, got, c.want, v.Trace)
		}
	}
}

func TestNobodyAsksAboutWhomNoCheckIsFor(t *testing.T) {
	p := dnsFixture(t)
	p.Ports["inside"] = Port{Checks: map[string]Mode{"rdns": ModeOff, "dnsbl": ModeOff, "sender_domain": ModeOff}}
	for _, c := range []struct {
		name string
		conn Connection
		auth Auth
		want string
	}{
		{"a stranger", client("203.0.113.8", "mail.good.example"), Auth{}, "good.example client.example,mail.good.example,good.example"},
		{"a listener without the checks", daemon("inside", client("203.0.113.8", "mail.good.example")), Auth{}, ""},
		{"an authenticated client", client("203.0.113.8", "mail.good.example"), plain, ""},
	} {
		var answers scripted
		s := p.NewSession(c.conn, &answers)
		s.Helo("client.example", TLS{})
		s.Mail(c.auth, Mail{From: "a@good.example"})
		if got := strings.Join(answers.prepared, ";"); got != c.want {
			t.Errorf("%s: prepared %q, want %q", c.name, got, c.want)
		}
	}
	var local, stranger scripted
	p.NewSession(client("", ""), &local)
	p.NewSession(client("203.0.113.8", "mail.good.example"), &stranger)
	if local.needs != (Needs{}) || stranger.needs != (Needs{ReverseDNS: true, Listings: true}) {
		t.Errorf("a local submission needs %+v, a stranger %+v", local.needs, stranger.needs)
	}
}
