package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/header"
)

// scrubRules are those of a site that hides its users.
var scrubRules = header.Rules{Client: true, Version: true, From: header.DefaultFrom, By: header.DefaultBy}

// received is a header with one trace of a client.
func received() []HeaderField {
	return []HeaderField{
		{Name: "Received", Value: "from laptop.lan (laptop.lan [192.168.0.77]) by inner.lan\n\twith SMTP id x1; Sun, 22 Nov 2026 10:00:00 +0100"},
		{Name: "Subject", Value: "hi"},
	}
}

// scrubFixture is the fixture with clients that may relay for every reason there is.
func scrubFixture(t testing.TB, whose Scrub) *Policy {
	t.Helper()
	p := fixture(t, table+"CertIssuer:/CN=ca\tRELAY\nFrom:boss@good.example\tRELAY\nConnect:203.0.113.70\tREJECT\n203.0.113.71\tREJECT\n")
	p.Features.RelayMailFrom = true
	p.Checks.Relay.GrantTemp = reply(t, "451 4.7.1 grants cannot be asked for")
	whose.Rules = scrubRules
	p.Received = whose
	p.Ports["1587"] = Port{Received: ReceivedScrub}
	p.Ports["1025"] = Port{Received: ReceivedKeep}
	p.Ports["hidden"] = Port{Received: ReceivedScrub}
	p.Ports["shown"] = Port{Received: ReceivedKeep}
	p.Ports["tried"] = Port{Checks: map[string]Mode{"received": ModeShadow}}
	p.Ports["spared"] = Port{Checks: map[string]Mode{"received": ModeOff}}
	p.Ports["insists"] = Port{Checks: map[string]Mode{"received": ModeEnforce}}
	return p
}

// testMessage is what one client sends.
type testMessage struct {
	conn  Connection
	grant GrantState
	tls   TLS
	auth  Auth
	from  string
	to    []string
}

// mailer is who sendmail has deliver to an address.
func mailer(to string) string {
	if strings.HasSuffix(to, "@example.test") {
		return "local"
	}
	return "esmtp"
}

// send evaluates a message up to its end.
func send(s *Session, m testMessage) Verdict {
	s.Helo("client.example", m.tls)
	s.Mail(m.auth, Mail{From: m.from})
	for _, to := range m.to {
		s.Rcpt(Recipient{To: to, Mailer: mailer(to)})
	}
	return s.EndOfMessage(received())
}

func TestWhoseHeaderIsScrubbed(t *testing.T) {
	var (
		authenticated = Scrub{Authenticated: true}
		relayed       = Scrub{Relayed: true}
		granted       = Scrub{Granted: true}
		networks      = Scrub{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("2001:db8:8::/48")}}
		nobody        = Scrub{}
		off           = Scrub{Mode: ModeOff, Authenticated: true}
		shadow        = Scrub{Mode: ModeShadow, Authenticated: true}
	)
	stranger := client("203.0.113.8", "mail.good.example")
	office := client("192.0.2.7", "FAIL")
	cert := TLS{Version: "TLSv1.3", Verify: "OK", CertIssuer: "/CN=ca", CertSubject: "/CN=laptop"}
	out, in := []string{"x@other.example"}, []string{"x@example.test"}
	from := func(c Connection, to []string) testMessage {
		return testMessage{conn: c, from: "a@good.example", to: to}
	}
	with := func(m testMessage, change func(*testMessage)) testMessage { change(&m); return m }
	as := func(a Auth) func(*testMessage) { return func(m *testMessage) { m.auth = a } }
	holding := func(g GrantState) func(*testMessage) { return func(m *testMessage) { m.grant = g } }
	const yes, no, tried = "scrub", "", "shadow scrub"
	for _, c := range []struct {
		name  string
		rule  Scrub
		mail  testMessage
		want  string
		cause string // a part of the reason
	}{
		{"authenticated with a trusted mechanism", authenticated, with(from(stranger, in), as(plain)), yes, "authenticated as shin@example.test with PLAIN"},
		{"authenticated with another one", authenticated, with(from(stranger, in), as(Auth{Type: "GSSAPI"})), no, "not one of those"},
		{"not authenticated", authenticated, from(office, out), no, "not one of those"},

		{"relayed for an address", relayed, from(office, out), yes, "relayed for a client that may"},
		{"relayed for a network of class R", relayed, from(client("198.51.100.7", "TEMP"), out), yes, "relayed"},
		{"relayed for a name", relayed, from(client("203.0.113.9", "host.trusted.example"), out), yes, "relayed"},
		{"a name that is forged relays nothing", relayed, from(client("203.0.113.9", "FORGED"), out), no, ""},
		{"relayed for a certificate", relayed, with(from(stranger, out), func(m *testMessage) { m.tls = cert }), yes, "relayed"},
		{"relayed for AUTH", relayed, with(from(stranger, out), as(plain)), yes, "relayed"},
		{"relayed for the sender", relayed, with(from(stranger, out), func(m *testMessage) { m.from = "boss@good.example" }), yes, "relayed"},
		{"relayed for a grant", relayed, with(from(stranger, out), holding(GrantHeld)), yes, "relayed"},
		{"relayed for this host", relayed, from(client("", ""), out), yes, "relayed"},
		{"to us, from one who may relay", relayed, from(office, in), no, "not one of those"},
		{"to us, after AUTH", relayed, with(from(stranger, in), as(plain)), no, "not one of those"},
		{"to us, with a certificate", relayed, with(from(stranger, in), func(m *testMessage) { m.tls = cert }), no, "not one of those"},
		{"to a domain that we relay for", relayed, from(office, []string{"x@relayed.example"}), no, "not one of those"},
		{"to a recipient that we relay for", relayed, with(from(stranger, []string{"x@far.example.net"}), as(plain)), no, "not one of those"},
		{"to us and to others", relayed, from(office, []string{"x@example.test", "x@other.example", "y@example.test"}), yes, "relayed"},
		{"a refused recipient relays nothing", relayed, from(stranger, []string{"x@example.test", "x@other.example"}), no, "not one of those"},
		{"a recipient that the table refuses relays nothing", relayed, with(from(stranger, []string{"gone@example.test"}), as(plain)), no, ""},
		{"a sender that the table refuses relays nothing", relayed, with(from(office, out), func(m *testMessage) { m.from = "spam@good.example" }), no, ""},
		{"a held sender's mail is relayed once it is released", relayed, with(from(office, out), func(m *testMessage) { m.from = "odd@good.example" }), yes, "relayed"},
		{"a held recipient's mail, too", relayed, from(office, []string{"held@far.example"}), yes, "relayed"},
		{"relaying is what entitles, not what is asked for", relayed, from(on(26, office), out), no, ""},

		{"a client with a grant", granted, with(from(stranger, in), holding(GrantHeld)), yes, "holds a relay grant"},
		{"a client without one", granted, from(stranger, in), no, "not one of those"},
		{"nobody can tell about the grant", granted, with(from(stranger, in), holding(GrantTemporary)), "tempfail", "cannot be asked"},
		{"the client was never seen with a grant", granted, with(from(stranger, in), holding(GrantUnknown)), no, "not one of those"},
		{"nobody can tell, and nobody asks", authenticated, with(from(stranger, in), holding(GrantTemporary)), no, "not one of those"},
		{"a grant that the table outranks", granted, with(from(client("203.0.113.70", "x.example"), in), holding(GrantHeld)), no, "not one of those"},

		{"a network", networks, from(stranger, in), yes, "the client is in 203.0.113.0/28"},
		{"outside of it", networks, from(client("203.0.113.16", "x.example"), in), no, "not one of those"},
		{"an IPv6 network", networks, from(client("2001:db8:8::1", "x.example"), in), yes, "the client is in 2001:db8:8::/48"},
		{"outside of that", networks, from(client("2001:db8:9::1", "x.example"), in), no, "not one of those"},
		{"IPv4 written as IPv6", networks, from(client("::ffff:203.0.113.8", "x.example"), in), yes, "203.0.113.0/28"},
		{"no address at all", networks, from(client("", ""), in), no, "not one of those"},

		{"a port by its number", nobody, from(on(1587, stranger), in), yes, "received: scrub"},
		{"a port by its name", nobody, from(daemon("hidden", stranger), in), yes, "received: scrub"},
		{"a name wins over a number", nobody, from(daemon("shown", on(1587, stranger)), in), no, "not one of those"},
		{"and the other way round", nobody, from(daemon("hidden", on(1025, stranger)), in), yes, "received: scrub"},
		{"a port that keeps everything", authenticated, with(from(on(1025, stranger), in), as(plain)), no, "not one of those"},

		{"off", off, with(from(stranger, in), as(plain)), no, ""},
		{"off, but not on this port", off, with(from(daemon("insists", stranger), in), as(plain)), yes, "authenticated"},
		{"shadow", shadow, with(from(stranger, in), as(plain)), tried, "authenticated"},
		{"shadow on this port", authenticated, with(from(daemon("tried", stranger), in), as(plain)), tried, "authenticated"},
		{"shadow, but not on this port", shadow, with(from(daemon("insists", stranger), in), as(plain)), yes, "authenticated"},
		{"off on this port", authenticated, with(from(daemon("spared", stranger), in), as(plain)), no, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := scrubFixture(t, c.rule)
			s := p.NewSession(c.mail.conn, &scripted{grant: c.mail.grant, reverse: ReverseDNS{Status: RDNSPass}, listings: Listings{Verdict: NotListed}})
			v := send(s, c.mail)
			want := 0
			if c.want == yes {
				want = 1
			}
			if len(v.Edits) != want {
				t.Errorf("edits %+v, expected %d\n%+v", v.Edits, want, v.Trace)
			}
			if shadow := len(v.Shadow) > 0; shadow != (c.want == tried) {
				t.Errorf("shadow %+v", v.Shadow)
			}
			step := Step{}
			if n := len(v.Trace); n > 0 && v.Trace[n-1].Check == "received" {
				step = v.Trace[n-1]
			}
			result := c.want
			if result == no && step.Check != "" {
				result = "pass"
			}
			if step.Result != result || !strings.Contains(step.Reason, c.cause) {
				t.Errorf("trace %q %q, expected %q for %q", step.Result, step.Reason, result, c.cause)
			}
			if len(v.Edits) > 0 && !p.Scrubs() {
				t.Error("Scrubs says that no header is ever changed")
			}
		})
	}
}

// TestOnlyTheSenderOfTheMessageStaysInItsHeader: the address in envelope-from may stay, as
// the message shows it anyway, and that of any other may tell of the client.
func TestOnlyTheSenderOfTheMessageStaysInItsHeader(t *testing.T) {
	p := scrubFixture(t, Scrub{Authenticated: true})
	s := p.NewSession(client("203.0.113.8", "mail.good.example"), nil)
	for _, other := range []string{"root@laptop.lan", "a@laptop.lan", "b@good.example"} {
		const before, after = "by inner.lan (envelope-from <a@Good.example>)", " id x1; Sun, 22 Nov 2026 10:00:00 +0100"
		s.Mail(plain, Mail{From: "a@good.example"})
		s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
		v := s.EndOfMessage([]HeaderField{{Name: "Received", Value: before + " (envelope-from <" + other + ">)" + after}})
		if len(v.Edits) != 1 || unfolded(v.Edits[0].Value) != before+after {
			t.Errorf("%s: edits %+v", other, v.Edits)
		}
	}
}

func TestVisibilityIsThatOfTheMessageSoFar(t *testing.T) {
	p := scrubFixture(t, Scrub{Relayed: true})
	s := p.NewSession(client("192.0.2.7", "FAIL"), nil)
	expect := func(when, want string) {
		t.Helper()
		visibility, why := s.Visibility(), ""
		if visibility == ClientHidden {
			_, why = s.visibility()
		}
		if !strings.HasPrefix(why, want) || want == "" && visibility != ClientShown {
			t.Errorf("%s: %d, %q, expected %q", when, visibility, why, want)
		}
	}
	const relayed = "relayed for a client that may"
	expect("before MAIL", "")
	s.Mail(Auth{}, Mail{From: "a@good.example"})
	expect("before RCPT", "")
	s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
	expect("to us", "")
	s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"})
	expect("to others", relayed)
	s.Rcpt(Recipient{To: "y@example.test", Mailer: "local"})
	expect("to us again", relayed)
	if v := s.EndOfMessage(received()); len(v.Edits) != 1 {
		t.Errorf("edits %+v", v.Edits)
	}
	expect("after the message", "")
	s.Mail(Auth{}, Mail{From: "a@good.example"})
	s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"})
	s.Abort()
	expect("after RSET", "")
	s.Mail(Auth{}, Mail{From: "a@good.example"})
	s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
	if v := s.EndOfMessage(received()); len(v.Edits) != 0 {
		t.Errorf("the second message: edits %+v", v.Edits)
	}

	p.Shadow = true
	s = p.NewSession(client("192.0.2.7", "FAIL"), nil)
	s.Mail(Auth{}, Mail{From: "a@good.example"})
	s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"})
	expect("with mode: shadow", "")
}

func TestAuthenticationIsThatOfTheMessage(t *testing.T) {
	p := scrubFixture(t, Scrub{Authenticated: true})
	s := p.NewSession(client("203.0.113.8", "mail.good.example"), nil)
	for i, m := range []struct {
		auth  Auth
		edits int
	}{{Auth{}, 0}, {plain, 1}, {Auth{}, 0}} {
		if v := send(s, testMessage{auth: m.auth, from: "a@good.example", to: []string{"x@example.test"}}); len(v.Edits) != m.edits {
			t.Errorf("message %d: edits %+v, expected %d", i+1, v.Edits, m.edits)
		}
	}
}

func TestScrubbingIsToldInTheVerdict(t *testing.T) {
	const was, is = "from laptop.lan (laptop.lan [192.168.0.77]) by inner.lan with SMTP id x1; Sun, 22 Nov 2026 10:00:00 +0100",
		"from SMTP by inner.lan with SMTP id x1; Sun, 22 Nov 2026 10:00:00 +0100"
	p := scrubFixture(t, Scrub{Authenticated: true})
	p.Received.Rules.Fields = []header.FieldRule{{Name: "X-Mailer", Action: header.Remove}, {Name: "Subject", Action: header.Replace, Text: "mail"}}
	fields := append(received(), HeaderField{Name: "X-Mailer", Value: "Mail 2.1"},
		HeaderField{Name: "DKIM-Signature", Value: "v=1; d=example.test; h=from:subject; b=MTIz"})
	end := func() Verdict {
		s := p.NewSession(client("203.0.113.8", "mail.good.example"), nil)
		s.Mail(plain, Mail{From: "odd@good.example"})
		s.Rcpt(Recipient{To: "held@example.test", Mailer: "local"})
		return s.EndOfMessage(fields)
	}
	v := end()
	if got := v.String(); v.Action != ActionQuarantine || !strings.HasSuffix(got, " [edits: Received 1, X-Mailer 1 deleted]") {
		t.Errorf("%s", got)
	}
	step := v.Trace[len(v.Trace)-1]
	want := []string{
		"Received 1 was: " + was, "Received 1 is now: " + is, "X-Mailer 1 is deleted: Mail 2.1",
		"Subject 1 is left alone: " + strings.TrimPrefix(step.Answers[len(step.Answers)-1], "Subject 1 is left alone: "),
	}
	if diff := cmp.Diff(want, step.Answers); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
	if !strings.Contains(step.Answers[len(step.Answers)-1], "example.test") {
		t.Errorf("which signature is not told: %s", step.Answers[len(step.Answers)-1])
	}

	p.Received.Mode = ModeShadow
	v = end()
	if got := v.String(); len(v.Edits) > 0 || !strings.HasSuffix(got, " [shadow: edit Received 1, X-Mailer 1 deleted (received, received)]") {
		t.Errorf("shadow: %s", got)
	}
	fields = []HeaderField{{Name: "Date", Value: "Sun, 22 Nov 2026 10:00:00 +0100"}}
	if v = end(); len(v.Shadow) > 0 || v.Trace[len(v.Trace)-1].Result != "shadow scrub" {
		t.Errorf("nothing to change, in shadow: %+v", v)
	}
}

func TestWhereNoMailIsScrubbedNobodyAsksForHeaders(t *testing.T) {
	keep, scrub := Port{Received: ReceivedKeep}, Port{Received: ReceivedScrub}
	insists := Port{Checks: map[string]Mode{"received": ModeEnforce}}
	for _, c := range []struct {
		name  string
		rule  Scrub
		ports map[string]Port
		want  bool
	}{
		{"nobody", Scrub{}, nil, false},
		{"authenticated", Scrub{Authenticated: true}, nil, true},
		{"relayed", Scrub{Relayed: true}, nil, true},
		{"granted", Scrub{Granted: true}, nil, true},
		{"a network", Scrub{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, nil, true},
		{"a port", Scrub{}, map[string]Port{"587": scrub}, true},
		{"a port that keeps it", Scrub{}, map[string]Port{"587": keep}, false},
		{"off", Scrub{Mode: ModeOff, Authenticated: true}, map[string]Port{"587": scrub}, false},
		{"shadow", Scrub{Mode: ModeShadow, Authenticated: true}, nil, true},
		{"off, but for a port", Scrub{Mode: ModeOff, Authenticated: true}, map[string]Port{"587": insists}, true},
		{"a port for which nobody is named", Scrub{Mode: ModeOff}, map[string]Port{"587": insists}, false},
	} {
		p := &Policy{Received: c.rule, Ports: c.ports}
		if got := p.Scrubs(); got != c.want {
			t.Errorf("%s: %t, expected %t", c.name, got, c.want)
		}
	}
}

// TestRelayedMailIsScrubbedWithoutTheRelayCheck: whether mail is relayed is a fact, also
// where the check is off or only tried.
func TestRelayedMailIsScrubbedWithoutTheRelayCheck(t *testing.T) {
	for _, mode := range []Mode{ModeEnforce, ModeShadow, ModeOff} {
		p := scrubFixture(t, Scrub{Relayed: true})
		p.Checks.Relay.Mode = mode
		office := client("192.0.2.7", "FAIL")
		for to, want := range map[string]int{"x@other.example": 1, "x@example.test": 0} {
			v := send(p.NewSession(office, &scripted{}), testMessage{conn: office, from: "a@good.example", to: []string{to}})
			if len(v.Edits) != want {
				t.Errorf("relay %s, to %s: %d edits, expected %d\n%+v", mode, to, len(v.Edits), want, v.Trace)
			}
		}
	}
}
