package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy/access"
)

func reply(t testing.TB, s string) Reply {
	t.Helper()
	r, err := ParseReply(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fixture is a policy with every check enforced, as an administrator would have
// it for example.test.
func fixture(t testing.TB, table string) *Policy {
	t.Helper()
	features := access.Features{Skip: true, DelayChecks: true, Friend: true, BlocklistRecipients: true}
	parsed, problems, err := access.Parse("access", strings.NewReader(table), features)
	if err != nil || parsed.LeftOut() > 0 {
		t.Fatalf("access table: %v %v", err, problems)
	}
	reject := TableCheck{Mode: ModeEnforce, Reject: reply(t, "550 5.7.1 Access denied")}
	tempfail := func(s string) Reaction { return Reaction{Action: ActionReject, Reply: reply(t, s)} }
	return &Policy{
		Access:   parsed,
		Features: features,
		Hostname: "mx.example.test", Domain: "example.test", OwnDomains: NewClass("example.test"),
		Local: NewClass("mx.example.test", "example.test", "localhost", "[203.0.113.25]"),
		Relay: NewClass("relayed.example", "198.51.100"), Realms: Domains{Local: true, Relay: true},
		Checks: Checks{
			Port: PortCheck{
				Mode:         ModeEnforce,
				AuthRequired: reply(t, "530 5.7.0 Authentication required"),
				AuthRefused:  reply(t, "503 5.5.1 AUTH not available on this port; use the submission port"),
				TLSRequired:  reply(t, "530 5.7.0 Must issue a STARTTLS command first"),
			},
			Recipient: TableCheck{Mode: ModeEnforce, Reject: reply(t, "550 5.2.1 Mailbox disabled for this recipient")},
			Relay: RelayCheck{
				Mode: ModeEnforce,
				Deny: reply(t, "550 5.7.1 Relaying denied"), DenyAuth: reply(t, "550 5.7.1 Relaying denied. Proper authentication required."),
				Temp:   reply(t, "450 4.4.0 Relaying temporarily denied. Cannot resolve PTR record for {addr}"),
				Fail:   reply(t, "550 5.7.1 Relaying denied. IP name lookup failed {name}"),
				Forged: reply(t, "550 5.7.1 Relaying denied. IP name possibly forged {name}"),

				TrustAuthMech: []string{"PLAIN", "LOGIN"}, LocalMailers: []string{"local", "prog"},
			},
			Sender: reject, Client: reject, SenderDomain: SenderDomainCheck{Mode: ModeOff},
			RDNS: RDNSCheck{
				Mode:   ModeEnforce,
				Temp:   tempfail("450 4.7.25 Access denied. Cannot resolve PTR record for {addr}"),
				Fail:   tempfail("450 4.7.25 Access denied. IP name lookup failed {addr}"),
				Forged: Reaction{Action: ActionAccept},
				Exempt: Exempt{Authenticated: true, Relay: true, ConnectOK: true, Friend: true, Postmaster: true},
			},
		},
		Ports: map[string]Port{
			"25":     {Auth: AuthRefuse},
			"587":    {Auth: AuthRequire},
			"465":    {Auth: AuthRequire, TLS: TLSRequire},
			"26":     {Relay: RelayNone},
			"27":     {Relay: RelayAuthenticated},
			"inside": {Checks: map[string]Mode{"rdns": ModeOff, "client": ModeShadow}},
		},
	}
}

// client makes a connection from an address, with a confirmed name unless the
// name is FAIL, FORGED or TEMP.
func client(addr, name string) Connection {
	c := Connection{DaemonName: "MTA", DaemonPort: 2525, Resolve: ResolveOK, Name: name, PTR: name}
	if addr != "" {
		c.Addr = netip.MustParseAddr(addr)
	}
	switch r := Resolve(name); r {
	case ResolveFail, ResolveForged, ResolveTemp:
		c.Resolve, c.PTR, c.Name = r, "", "["+c.ClientAddr()+"]"
		if r == ResolveForged {
			c.PTR = "forged.example"
		}
	}
	return c
}

func on(port uint16, c Connection) Connection { c.DaemonPort = port; return c }
func daemon(name string, c Connection) Connection {
	c.DaemonName = name
	return c
}

var plain = Auth{Type: "PLAIN", Authen: "shin@example.test"}

// decide runs one message to one recipient; an empty to ends it after MAIL.
func decide(p *Policy, c Connection, auth Auth, from, to, mailer string) Verdict {
	s := p.NewSession(c, nil)
	s.Helo("client.example", TLS{})
	v := s.Mail(auth, Mail{From: from})
	if v.Action != ActionAccept && v.Action != ActionQuarantine || to == "" {
		return v
	}
	return s.Rcpt(Recipient{To: to, Mailer: mailer})
}

const table = `# line 1
Connect:203.0.113.66	REJECT
Connect:bad.example	ERROR:5.7.1:550 Not from there
Connect:192.0.2	RELAY
Connect:trusted.example	RELAY
Connect:203.0.113.80/28	DISCARD
Connect:203.0.113.90	OK
From:spam@good.example	REJECT
From:ok@good.example	OK
From:lost@good.example	DISCARD
From:odd@good.example	QUARANTINE:odd sender
To:gone@example.test	REJECT
To:held@example.test	QUARANTINE:held recipient
To:held@far.example	QUARANTINE:held recipient
To:far.example.net	RELAY
Spam:friend@example.test	FRIEND
`

func TestVerdicts(t *testing.T) {
	p := fixture(t, table)
	good := client("203.0.113.8", "mail.good.example")
	for _, c := range []struct {
		name     string
		conn     Connection
		auth     Auth
		from, to string
		mailer   string
		want     string
	}{
		{"good mail to a local domain is accepted", good, Auth{}, "a@good.example", "x@example.test", "local", "accept"},
		{"the null sender is accepted", good, Auth{}, "", "x@example.test", "local", "accept"},
		{"a local mailer makes any address local", good, Auth{}, "a@good.example", "x@virtual.example", "local", "accept"},
		{"a class w domain is local whatever its mailer", good, Auth{}, "a@good.example", "x@example.test", "esmtp", "accept"},
		{"class R is relayed to, with its subdomains", good, Auth{}, "a@good.example", "x@host.relayed.example", "esmtp", "accept"},
		{"class R matches whole labels only", good, Auth{}, "a@good.example", "x@notrelayed.example", "esmtp", "reject 550 5.7.1 Relaying denied. Proper authentication required. relay"},
		{"To: RELAY is relayed to", good, Auth{}, "a@good.example", "x@sub.far.example.net", "esmtp", "accept"},
		{"nobody else relays", good, Auth{}, "a@good.example", "x@other.example", "esmtp", "reject 550 5.7.1 Relaying denied. Proper authentication required. relay"},
		{"where AUTH is refused it is not offered as a way out", on(25, good), Auth{}, "a@good.example", "x@other.example", "esmtp", "reject 550 5.7.1 Relaying denied relay"},
		{"trusted AUTH relays", on(587, good), plain, "a@good.example", "x@other.example", "esmtp", "accept"},
		{"the mechanism's case does not matter", on(587, good), Auth{Type: "plain"}, "a@good.example", "x@other.example", "esmtp", "accept"},
		{"an untrusted mechanism does not relay", on(587, good), Auth{Type: "GSSAPI"}, "a@good.example", "x@other.example", "esmtp", "reject 550 5.7.1 Relaying denied relay"},
		{"AUTH ANONYMOUS authenticates nobody", on(587, good), Auth{Type: "ANONYMOUS"}, "a@good.example", "", "", "reject 530 5.7.0 Authentication required port"},
		{"a listed network relays", client("192.0.2.7", "FAIL"), Auth{}, "a@good.example", "x@other.example", "esmtp", "accept"},
		{"a class R network relays", client("198.51.100.7", "TEMP"), Auth{}, "a@good.example", "x@other.example", "esmtp", "accept"},
		{"a listed name relays when it is confirmed", client("203.0.113.9", "host.trusted.example"), Auth{}, "a@good.example", "x@other.example", "esmtp", "accept"},
		{"a forged name does not relay", client("203.0.113.9", "FORGED"), Auth{}, "a@good.example", "x@other.example", "esmtp", "reject 550 5.7.1 Relaying denied. IP name possibly forged [203.0.113.9] relay"},
		{"no name, no relay", client("203.0.113.9", "FAIL"), Auth{}, "a@good.example", "x@other.example", "esmtp", "reject 550 5.7.1 Relaying denied. IP name lookup failed [203.0.113.9] relay"},
		{"no answer, no relay for now", client("203.0.113.9", "TEMP"), Auth{}, "a@good.example", "x@other.example", "esmtp", "tempfail 450 4.4.0 Relaying temporarily denied. Cannot resolve PTR record for 203.0.113.9 relay"},
		{"this host relays", client("127.0.0.1", "localhost"), Auth{}, "a@good.example", "x@other.example", "esmtp", "accept"},
		{"a local submission relays", client("", ""), Auth{}, "a@good.example", "x@other.example", "esmtp", "accept"},
		{"a port without relaying takes no network's word", on(26, client("192.0.2.7", "x.example")), Auth{}, "a@good.example", "x@other.example", "esmtp", "reject 550 5.7.1 Relaying denied relay"},
		{"a port without relaying takes no AUTH's word", on(26, good), plain, "a@good.example", "x@other.example", "esmtp", "reject 550 5.7.1 Relaying denied relay"},
		{"a port without relaying takes local mail", on(26, good), Auth{}, "a@good.example", "x@example.test", "local", "accept"},
		{"a port that relays for AUTH only takes no network's word", on(27, client("192.0.2.7", "x.example")), Auth{}, "a@good.example", "x@other.example", "esmtp", "reject 550 5.7.1 Relaying denied. Proper authentication required. relay"},
		{"a port that relays for AUTH only relays for AUTH", on(27, good), plain, "a@good.example", "x@other.example", "esmtp", "accept"},

		{"AUTH on a port that refuses it", on(25, good), plain, "a@good.example", "", "", "reject 503 5.5.1 AUTH not available on this port; use the submission port port"},
		{"no AUTH on a port that needs it", on(587, good), Auth{}, "a@good.example", "", "", "reject 530 5.7.0 Authentication required port"},
		{"no TLS on a port that needs it", on(465, good), plain, "a@good.example", "", "", "reject 530 5.7.0 Must issue a STARTTLS command first port"},

		{"Connect: REJECT by address", client("203.0.113.66", "x.example"), Auth{}, "a@good.example", "x@example.test", "local", "reject 550 5.7.1 Access denied client access:2: connect:203.0.113.66 REJECT"},
		{"Connect: ERROR: by a parent of the name", client("203.0.113.9", "host.bad.example"), Auth{}, "a@good.example", "x@example.test", "local", "reject 550 5.7.1 Not from there client access:3: connect:bad.example ERROR:5.7.1:550 Not from there"},
		{"Connect: DISCARD by prefix length", client("203.0.113.85", "x.example"), Auth{}, "a@good.example", "x@example.test", "local", "discard client access:6: connect:203.0.113.80/28 DISCARD"},
		{"an exact key wins over a prefix length", client("203.0.113.90", "x.example"), Auth{}, "a@good.example", "x@example.test", "local", "accept"},
		{"a shadowed client check on one port lets pass", daemon("inside", client("203.0.113.66", "x.example")), Auth{}, "a@good.example", "x@example.test", "local", "accept"},
		{"trusted AUTH skips the client check", on(587, client("203.0.113.66", "x.example")), plain, "a@good.example", "x@example.test", "local", "accept"},
		{"From: OK skips the client check", client("203.0.113.66", "x.example"), Auth{}, "ok@good.example", "x@example.test", "local", "accept"},
		{"a friend skips the client check", client("203.0.113.66", "x.example"), Auth{}, "a@good.example", "friend@example.test", "local", "accept"},

		{"From: REJECT", good, Auth{}, "Spam@Good.Example", "x@example.test", "local", "reject 550 5.7.1 Access denied sender access:8: from:spam@good.example REJECT"},
		{"From: REJECT with a detail", good, Auth{}, "spam+more@good.example", "x@example.test", "local", "reject 550 5.7.1 Access denied sender access:8: from:spam@good.example REJECT"},
		{"From: DISCARD", good, Auth{}, "lost@good.example", "x@example.test", "local", "discard sender access:10: from:lost@good.example DISCARD"},
		{"From: QUARANTINE", good, Auth{}, "odd@good.example", "x@example.test", "local", "quarantine odd sender sender access:11: from:odd@good.example QUARANTINE:odd sender"},
		{"a friend skips the sender check", good, Auth{}, "spam@good.example", "friend@example.test", "local", "accept"},

		{"To: REJECT", good, Auth{}, "a@good.example", "gone@example.test", "local", "reject 550 5.2.1 Mailbox disabled for this recipient recipient access:12: to:gone@example.test REJECT"},
		{"To: REJECT counts for the authenticated, too", on(587, good), plain, "a@good.example", "gone@example.test", "local", "reject 550 5.2.1 Mailbox disabled for this recipient recipient access:12: to:gone@example.test REJECT"},
		{"To: QUARANTINE", good, Auth{}, "a@good.example", "held@example.test", "local", "quarantine held recipient recipient access:13: to:held@example.test QUARANTINE:held recipient"},
		{"To: QUARANTINE does not open the relay", good, Auth{}, "a@good.example", "held@far.example", "esmtp", "reject 550 5.7.1 Relaying denied. Proper authentication required. relay"},

		{"rdns FAIL", client("203.0.113.9", "FAIL"), Auth{}, "a@good.example", "x@example.test", "local", "tempfail 450 4.7.25 Access denied. IP name lookup failed 203.0.113.9 rdns"},
		{"rdns TEMP, IPv6", client("2001:db8::9", "TEMP"), Auth{}, "a@good.example", "x@example.test", "local", "tempfail 450 4.7.25 Access denied. Cannot resolve PTR record for IPv6:2001:db8:0:0:0:0:0:9 rdns"},
		{"rdns FORGED is accepted by default", client("203.0.113.9", "FORGED"), Auth{}, "a@good.example", "x@example.test", "local", "accept"},
		{"postmaster is exempt from rdns", client("203.0.113.9", "FAIL"), Auth{}, "a@good.example", "Postmaster@example.test", "local", "accept"},
		{"abuse is exempt from rdns", client("203.0.113.9", "FAIL"), Auth{}, "a@good.example", "abuse@example.test", "local", "accept"},
		{"postmaster without a domain is exempt from rdns", client("203.0.113.9", "FAIL"), Auth{}, "a@good.example", "postmaster", "local", "accept"},
		{"a postmaster with a long s is another mailbox", client("203.0.113.9", "FAIL"), Auth{}, "a@good.example", "po\u017ftmaster@example.test", "local", "tempfail 450 4.7.25 Access denied. IP name lookup failed 203.0.113.9 rdns"},
		{"somebody else's postmaster is not", client("203.0.113.9", "FAIL"), Auth{}, "a@good.example", "postmaster@relayed.example", "esmtp", "tempfail 450 4.7.25 Access denied. IP name lookup failed 203.0.113.9 rdns"},
		{"a client that may relay is exempt from rdns", client("192.0.2.7", "FAIL"), Auth{}, "a@good.example", "x@example.test", "local", "accept"},
		{"From: OK is exempt from rdns", client("203.0.113.9", "FAIL"), Auth{}, "ok@good.example", "x@example.test", "local", "accept"},
		{"Connect: OK is exempt from rdns", client("203.0.113.90", "FAIL"), Auth{}, "a@good.example", "x@example.test", "local", "accept"},
		{"a friend is exempt from rdns", client("203.0.113.9", "FAIL"), Auth{}, "a@good.example", "friend@example.test", "local", "accept"},
		{"trusted AUTH is exempt from rdns", on(587, client("203.0.113.9", "FAIL")), plain, "a@good.example", "x@example.test", "local", "accept"},
		{"rdns is off on one listener", daemon("inside", client("203.0.113.9", "FAIL")), Auth{}, "a@good.example", "x@example.test", "local", "accept"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := decide(p, c.conn, c.auth, c.from, c.to, c.mailer)
			got := strings.TrimSpace(strings.Join(strings.Fields(string(v.Action)+" "+v.Reply.String()+" "+v.Check), " "))
			if strings.HasPrefix(v.Rule, "access:") {
				got += " " + v.Rule
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s%+v", diff, v.Trace)
			}
		})
	}
}

func TestCompressedIPv6KeysMatchWhereSendmailWritesThem(t *testing.T) {
	p := fixture(t, "")
	p.Features.CompressedIPv6 = true
	parsed, problems, err := access.Parse("access", strings.NewReader("Connect:IPv6:2001:db8::8 RELAY\n"), p.Features)
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	p.Access = parsed
	if v := decide(p, client("2001:db8::8", "FAIL"), Auth{}, "a@good.example", "x@other.example", "esmtp"); v.Action != ActionAccept {
		t.Errorf("compressed: %s", v)
	}
	if v := decide(p, client("::1", "localhost"), Auth{}, "a@good.example", "x@other.example", "esmtp"); v.Action != ActionAccept {
		t.Errorf("loopback: %s", v)
	}
	p.Features.CompressedIPv6 = false
	if v := decide(p, client("2001:db8::8", "FAIL"), Auth{}, "a@good.example", "x@other.example", "esmtp"); v.Action != ActionReject {
		t.Errorf("in full: %s", v)
	}
}

func TestADaemonNameAddsToThePortsRules(t *testing.T) {
	p := fixture(t, table)
	p.Ports["MSA"] = Port{Checks: map[string]Mode{"rdns": ModeOff}}
	if v := decide(p, daemon("MSA", on(587, client("203.0.113.8", "mail.good.example"))), Auth{}, "a@good.example", "", ""); v.Reply.Code != 530 {
		t.Errorf("587 by name: %s", v)
	}
}

func TestWithoutDelayChecksTheClientIsRefusedAtMail(t *testing.T) {
	p := fixture(t, table)
	p.Features.DelayChecks, p.Features.Friend = false, false
	for _, c := range []struct {
		name, addr, ptr, from, want string
	}{
		{"client", "203.0.113.66", "x.example", "ok@good.example", "mail <ok@good.example>: reject 550 5.7.1 Access denied"},
		{"client before sender", "203.0.113.66", "x.example", "lost@good.example", "mail <lost@good.example>: reject"},
		{"sender", "203.0.113.8", "mail.good.example", "spam@good.example", "mail <spam@good.example>: reject 550 5.7.1 Access denied (sender"},
		{"Connect: OK does not excuse the sender", "203.0.113.90", "x.example", "spam@good.example", "mail <spam@good.example>: reject"},
		{"rdns waits for RCPT, so that postmaster can be exempt", "203.0.113.9", "FAIL", "a@good.example", "rcpt <x@example.test>: tempfail 450 4.7.25"},
	} {
		v := decide(p, client(c.addr, c.ptr), Auth{}, c.from, "x@example.test", "local")
		if !strings.HasPrefix(v.String(), c.want) {
			t.Errorf("%s: %s, want %s…", c.name, v, c.want)
		}
	}
	p.Checks.RDNS.Exempt.Postmaster = false
	if v := decide(p, client("203.0.113.9", "FAIL"), Auth{}, "a@good.example", "x@example.test", "local"); v.Stage != StageMail || v.Check != "rdns" {
		t.Errorf("without the postmaster exemption rdns is given at MAIL, got %s", v)
	}
}

func TestHaterSparesEveryoneElse(t *testing.T) {
	p := fixture(t, "Connect:203.0.113.66 REJECT\nSpam:hater@example.test HATER\n")
	p.Features.Friend, p.Features.Hater = false, true
	bad := client("203.0.113.66", "x.example")
	if v := decide(p, bad, Auth{}, "a@good.example", "hater@example.test", "local"); v.Action != ActionReject {
		t.Errorf("hater: %s", v)
	}
	if v := decide(p, bad, Auth{}, "a@good.example", "other@example.test", "local"); v.Action != ActionAccept {
		t.Errorf("no hater: %s", v)
	}
}

func TestExemptionsCanBeSwitchedOff(t *testing.T) {
	noName := client("203.0.113.9", "FAIL")
	for _, c := range []struct {
		name string
		off  func(*Exempt)
		conn Connection
		auth Auth
		from string
		to   string
	}{
		{"authenticated", func(x *Exempt) { x.Authenticated = false }, on(587, noName), plain, "a@good.example", "x@example.test"},
		{"relay", func(x *Exempt) { x.Relay = false }, client("192.0.2.7", "FAIL"), Auth{}, "a@good.example", "x@example.test"},
		{"connect_ok", func(x *Exempt) { x.ConnectOK = false }, client("203.0.113.90", "FAIL"), Auth{}, "a@good.example", "x@example.test"},
		{"friend", func(x *Exempt) { x.Friend = false }, noName, Auth{}, "a@good.example", "friend@example.test"},
		{"postmaster", func(x *Exempt) { x.Postmaster = false }, noName, Auth{}, "a@good.example", "postmaster@example.test"},
	} {
		p := fixture(t, table)
		if v := decide(p, c.conn, c.auth, c.from, c.to, "local"); v.Action != ActionAccept {
			t.Errorf("%s on: %s", c.name, v)
		}
		if c.name == "relay" || c.name == "connect_ok" {
			// Connect: RELAY is an accepting Connect: entry as well.
			p.Checks.RDNS.Exempt.Relay, p.Checks.RDNS.Exempt.ConnectOK = false, false
		}
		c.off(&p.Checks.RDNS.Exempt)
		if v := decide(p, c.conn, c.auth, c.from, c.to, "local"); v.Check != "rdns" {
			t.Errorf("%s off: %s", c.name, v)
		}
	}
}

func TestShadowModeRefusesNothingAndTellsEverything(t *testing.T) {
	p := fixture(t, table)
	p.Shadow = true
	v := decide(p, client("203.0.113.66", "FAIL"), Auth{}, "spam@good.example", "x@other.example", "esmtp")
	if v.Action != ActionAccept {
		t.Errorf("verdict %s", v)
	}
	var checks []string
	for _, s := range v.Shadow {
		checks = append(checks, s.Check+" "+string(s.Action))
	}
	want := []string{"relay reject", "sender reject", "client reject", "rdns tempfail"}
	if diff := cmp.Diff(want, checks); diff != "" {
		t.Errorf("shadow verdicts (-want +got):\n%s", diff)
	}
	if v := decide(p, on(587, client("203.0.113.8", "x.example")), Auth{}, "a@good.example", "", ""); v.Action != ActionAccept || len(v.Shadow) != 1 {
		t.Errorf("port check in shadow mode: %s", v)
	}
}

func TestAQuarantineIsGivenAtTheEndOfItsMessageOnly(t *testing.T) {
	s := fixture(t, table).NewSession(client("203.0.113.8", "mail.good.example"), nil)
	s.Mail(Auth{}, Mail{From: "odd@good.example"})
	s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
	if v := s.EndOfMessage(nil); v.Action != ActionQuarantine || v.Reply.Text != "odd sender" || v.Stage != StageEOM || v.Arg != "" {
		t.Errorf("first message: %s", v)
	}
	s.Mail(Auth{}, Mail{From: "a@good.example"})
	s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
	if v := s.EndOfMessage(nil); v.Action != ActionAccept {
		t.Errorf("second message: %s", v)
	}
	s.Mail(Auth{}, Mail{From: "odd@good.example"})
	s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
	s.Abort()
	s.Mail(Auth{}, Mail{From: "a@good.example"})
	if v := s.EndOfMessage(nil); v.Action != ActionAccept {
		t.Errorf("after an abort: %s", v)
	}
}

func TestAuthenticationDoesNotOutliveItsMessage(t *testing.T) {
	s := fixture(t, table).NewSession(client("203.0.113.8", "mail.good.example"), nil)
	s.Mail(plain, Mail{From: "a@good.example"})
	if v := s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"}); v.Action != ActionAccept {
		t.Errorf("authenticated: %s", v)
	}
	s.Mail(Auth{}, Mail{From: "a@good.example"})
	if v := s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"}); v.Action != ActionReject {
		t.Errorf("not authenticated: %s", v)
	}
}

func TestAGrantRelaysAndAClientCertificateDoes(t *testing.T) {
	p := fixture(t, "CERTIssuer:/CN=ca SUBJECT\nCERTSubject:/CN=client RELAY\n")
	p.Checks.Relay.GrantTemp = reply(t, "451 4.7.1 later")
	for state, want := range map[GrantState]Action{GrantHeld: ActionAccept, GrantNone: ActionReject, GrantTemporary: ActionTempfail, GrantUnknown: ActionTempfail} {
		s := p.NewSession(client("203.0.113.8", "FAIL"), &scripted{grant: state})
		s.Mail(Auth{}, Mail{From: "a@good.example"})
		if v := s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"}); v.Action != want {
			t.Errorf("grant %d: %s", state, v)
		}
	}
	for verify, want := range map[string]Action{"OK": ActionAccept, "TRUSTED": ActionAccept, "NO": ActionReject, "FAIL": ActionReject} {
		s := p.NewSession(client("203.0.113.8", "mail.good.example"), nil)
		s.Helo("client.example", TLS{Version: "TLSv1.3", Verify: verify, CertIssuer: "/CN=ca", CertSubject: "/CN=client"})
		s.Mail(Auth{}, Mail{From: "a@good.example"})
		if v := s.Rcpt(Recipient{To: "x@other.example", Mailer: "esmtp"}); v.Action != want {
			t.Errorf("certificate verified %s: %s", verify, v)
		}
	}
}

func TestAGrantOutranksTheEntryOfANetworkOnly(t *testing.T) {
	p := fixture(t, "Connect:203.0.113 REJECT\nConnect:203.0.113.66 REJECT\nConnect:192.0.2.0/24 DISCARD\nConnect:dialup.example REJECT\nConnect:198.51.100.77/32 REJECT\n")
	p.Checks.Relay.GrantTemp = reply(t, "451 4.7.1 later")
	for _, c := range []struct {
		name  string
		conn  Connection
		grant GrantState
		want  Action
	}{
		{"a grant in a refused network", client("203.0.113.8", "FAIL"), GrantHeld, ActionAccept},
		{"no grant in a refused network", client("203.0.113.8", "FAIL"), GrantNone, ActionReject},
		{"a grant that nobody can tell of", client("203.0.113.8", "FAIL"), GrantTemporary, ActionTempfail},
		{"nor whether there ever was one", client("203.0.113.8", "FAIL"), GrantUnknown, ActionTempfail},
		{"nobody can tell, and the name is refused", client("198.51.100.8", "p8.dialup.example"), GrantTemporary, ActionReject},
		{"nobody can tell, and the very address is refused", client("203.0.113.66", "FAIL"), GrantTemporary, ActionReject},
		{"a grant in a network by prefix length", client("192.0.2.8", "FAIL"), GrantHeld, ActionAccept},
		{"a grant of an address that is refused as a network of one", client("198.51.100.77", "FAIL"), GrantHeld, ActionReject},
		{"a grant of an address that is refused", client("203.0.113.66", "FAIL"), GrantHeld, ActionReject},
		{"a grant of a client whose name is refused", client("198.51.100.8", "p8.dialup.example"), GrantHeld, ActionReject},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := p.NewSession(c.conn, &scripted{grant: c.grant})
			s.Mail(Auth{}, Mail{From: "a@good.example"})
			// Mail for this host: who relays is another check's to say.
			if v := s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"}); v.Action != c.want {
				t.Errorf("%s, expected %s", v, c.want)
			}
		})
	}
}

// TestASessionAnswersTheSameForEveryRecipient: what is worked out once a
// connection or message must not change later verdicts.
func TestASessionAnswersTheSameForEveryRecipient(t *testing.T) {
	p := fixture(t, table)
	conn := client("203.0.113.66", "FAIL")
	s := p.NewSession(conn, nil)
	for range 2 {
		s.Mail(Auth{}, Mail{From: "a@good.example"})
		for _, to := range []string{"x@example.test", "x@other.example", "postmaster@example.test", "friend@example.test", "gone@example.test", "x@example.test"} {
			got := s.Rcpt(Recipient{To: to, Mailer: "esmtp"})
			want := decide(p, conn, Auth{}, "a@good.example", to, "esmtp")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-alone +in a session):\n%s", to, diff)
			}
		}
	}
}

func TestAVerdictIsOneLineThatNoTerminalActsOn(t *testing.T) {
	p := fixture(t, table)
	evil := "\x1b]0;x\a\u009b31m\r\nrcpt <>: accept"
	conn := client("203.0.113.8", "FORGED")
	conn.Name = evil
	v := decide(p, on(26, conn), Auth{Type: evil, Authen: evil}, evil+"@good.example", evil+"@other.example", evil)
	for _, r := range v.String() {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			t.Fatalf("%q", v.String())
		}
	}
	if r := v.Reply.String(); strings.ContainsAny(r, "\r\n\x1b") {
		t.Errorf("reply %q", r)
	}
}
