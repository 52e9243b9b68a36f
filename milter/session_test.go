package milter

import (
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	gomilter "github.com/d--j/go-milter"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"milterd/milter/door"
	"milterd/policy"
)

// want compares one step of a client's session with the expected action.
func want(t *testing.T, step string, action *gomilter.Action, err error, expected string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
	got := map[gomilter.ActionType]string{
		gomilter.ActionContinue: "continue", gomilter.ActionAccept: "accept", gomilter.ActionDiscard: "discard",
		gomilter.ActionRejectWithCode: action.SMTPReply, gomilter.ActionTempFail: "tempfail", gomilter.ActionReject: "reject",
	}[action.Type]
	if got != expected {
		t.Fatalf("%s: got %q, want %q", step, got, expected)
	}
}

func sameAddr(a, b netip.Addr) bool { return a == b }

func expectNotes(t *testing.T, s *script, want ...any) {
	t.Helper()
	if diff := cmp.Diff(want, s.taken(), cmp.Comparer(sameAddr), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("what the policy was told (-want +got):\n%s", diff)
	}
}

// end sends the body and the end of the message.
func end(t *testing.T, c *gomilter.ClientSession) ([]gomilter.ModifyAction, *gomilter.Action) {
	t.Helper()
	for _, step := range []func() (*gomilter.Action, error){
		c.DataStart, c.HeaderEnd, func() (*gomilter.Action, error) { return c.BodyChunk([]byte("hi")) },
	} {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	edits, action, err := c.End()
	if err != nil {
		t.Fatal(err)
	}
	return edits, action
}

func TestFactsReachThePolicy(t *testing.T) {
	ts := serve(t, Config{})
	macros := bag(map[string]string{
		"{client_name}": "mx.good.example", "{client_ptr}": "mx.good.example", "{client_resolve}": "OK",
		"{daemon_name}": "MTA-v4", "{daemon_port}": "25", "{daemon_addr}": "203.0.113.25", "{daemon_flags}": "EE a",
		"{verify}": "NONE",
	})
	c, err := gomilter.NewClient("unix", ts.addr).Session(macros)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	action, err := c.Conn("mx.good.example", gomilter.FamilyInet, 40112, "203.0.113.8")
	want(t, "CONNECT", action, err, "continue")
	action, err = c.Helo("mx.good.example")
	want(t, "HELO", action, err, "continue")
	for name, value := range map[string]string{
		"{tls_version}": "TLSv1.3", "{cipher}": "TLS_AES_256_GCM_SHA384", "{cipher_bits}": "256", "{verify}": "OK",
		"{cert_subject}": "/CN=mx", "{cert_issuer}": "/CN=ca",
	} {
		macros.Set(name, value)
	}
	action, err = c.Helo("mx.good.example")
	want(t, "HELO after STARTTLS", action, err, "continue")
	for name, value := range map[string]string{
		"i": "5AMEPfGV012345", "{auth_type}": "PLAIN", "{auth_authen}": "shin@example.test", "{auth_author}": "shin", "{auth_ssf}": "256",
		"{mail_mailer}": "esmtp", "{mail_host}": "good.example.", "{mail_addr}": "a@good.example",
	} {
		macros.Set(name, value)
	}
	action, err = c.Mail("a@good.example", "SIZE=1000 BODY=8BITMIME")
	want(t, "MAIL", action, err, "continue")
	macros.Set("{rcpt_mailer}", "local")
	macros.Set("{rcpt_addr}", "shin")
	action, err = c.Rcpt("shin@our.example", "NOTIFY=NEVER")
	want(t, "RCPT", action, err, "continue")
	macros.Set("{rcpt_mailer}", "esmtp")
	macros.Set("{rcpt_host}", "other.example.")
	macros.Set("{rcpt_addr}", "x@other.example")
	action, err = c.Rcpt("x@other.example", "")
	want(t, "second RCPT", action, err, "continue")
	_, action = end(t, c)
	want(t, "end of message", action, nil, "accept")

	expectNotes(t, ts.script,
		policy.Connection{
			Addr: netip.MustParseAddr("203.0.113.8"), Port: 40112, Name: "mx.good.example", PTR: "mx.good.example", Resolve: "OK",
			DaemonName: "MTA-v4", DaemonPort: 25, DaemonAddr: "203.0.113.25", DaemonFlags: "EE a",
		},
		heloNote{Name: "mx.good.example"},
		heloNote{"mx.good.example", policy.TLS{
			Version: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384", Bits: 256, Verify: "OK", CertSubject: "/CN=mx", CertIssuer: "/CN=ca",
		}},
		mailNote{
			policy.Auth{Type: "PLAIN", Authen: "shin@example.test", Author: "shin", SSF: 256},
			policy.Mail{From: "a@good.example", Args: []string{"SIZE=1000", "BODY=8BITMIME"}, Mailer: "esmtp", Host: "good.example.", Addr: "a@good.example"},
		},
		policy.Recipient{To: "shin@our.example", Args: []string{"NOTIFY=NEVER"}, Mailer: "local", Addr: "shin"},
		policy.Recipient{To: "x@other.example", Mailer: "esmtp", Host: "other.example.", Addr: "x@other.example"},
		endNote{},
	)

	// The client logs out, as it were: another message in the same connection.
	for _, name := range []string{"{auth_type}", "{auth_authen}", "{auth_author}", "{auth_ssf}"} {
		macros.Set(name, "")
	}
	action, err = c.Mail("", "")
	want(t, "second MAIL", action, err, "continue")
	expectNotes(t, ts.script,
		abortNote{},
		mailNote{Mail: policy.Mail{Mailer: "esmtp", Host: "good.example.", Addr: "a@good.example"}},
	)
	for _, line := range []string{
		"msg=accept queue=5AMEPfGV012345 client=203.0.113.8 name=mx.good.example daemon=MTA-v4 daemon_port=25 " +
			`helo=mx.good.example auth=PLAIN:shin@example.test from=a@good.example to="shin@our.example x@other.example"`,
	} {
		if !strings.Contains(ts.log.String(), line) {
			t.Errorf("the log does not hold %q:\n%s", line, ts.log.String())
		}
	}
}

func TestConnectFacts(t *testing.T) {
	v4, v6 := netip.MustParseAddr("203.0.113.8"), netip.MustParseAddr("2001:db8::8")
	tests := []struct {
		name   string
		macros map[string]string
		host   string
		family gomilter.ProtoFamily
		addr   string
		want   policy.Connection
	}{
		{"an IPv6 client", nil, "mx6.example", gomilter.FamilyInet6, "2001:db8::8",
			policy.Connection{Addr: v6, Port: 25, Name: "mx6.example"}},
		{"an IPv4 client on an IPv6 socket", nil, "mx.example", gomilter.FamilyInet6, "::ffff:203.0.113.8",
			policy.Connection{Addr: v4, Port: 25, Name: "mx.example"}},
		{"a local submission has no address", nil, "localhost", gomilter.FamilyUnknown, "",
			policy.Connection{Name: "localhost"}},
		{"a unix socket is no address", nil, "localhost", gomilter.FamilyUnix, "/run/x",
			policy.Connection{Name: "localhost"}},
		{"a client that the MTA cannot name the family of keeps its address", map[string]string{"{client_addr}": "IPv6:2001:db8:0:0:0:0:0:8"}, "localhost", gomilter.FamilyUnknown, "",
			policy.Connection{Addr: v6, Name: "localhost"}},
		{"sendmail's 0 is no address", map[string]string{"{client_addr}": "0"}, "localhost", gomilter.FamilyUnknown, "",
			policy.Connection{Name: "localhost"}},
		{"an address with a zone, which no client has", map[string]string{"{client_addr}": "fe80::1%eth0"}, "localhost", gomilter.FamilyUnknown, "",
			policy.Connection{Addr: netip.MustParseAddr("fe80::1"), Name: "localhost"}},
		{"{client_name} is better than the host argument",
			map[string]string{"{client_name}": "[203.0.113.8]", "{client_ptr}": "liar.example", "{client_resolve}": "FORGED"},
			"liar.example", gomilter.FamilyInet, "203.0.113.8",
			policy.Connection{Addr: v4, Port: 25, Name: "[203.0.113.8]", PTR: "liar.example", Resolve: policy.ResolveForged}},
		{"an unknown {client_resolve} is none", map[string]string{"{client_resolve}": "MAYBE"}, "mx.example", gomilter.FamilyInet, "203.0.113.8",
			policy.Connection{Addr: v4, Port: 25, Name: "mx.example"}},
		{"a {daemon_port} that is no port is none", map[string]string{"{daemon_port}": "70000"}, "mx.example", gomilter.FamilyInet, "203.0.113.8",
			policy.Connection{Addr: v4, Port: 25, Name: "mx.example"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ts := serve(t, Config{})
			c := client(t, ts.addr, tt.macros)
			begin(t, c, tt.host, tt.family, tt.addr)
			// CONNECT and HELO have no answer to wait for, MAIL has.
			action, err := c.Mail("", "")
			want(t, "MAIL", action, err, "continue")
			if diff := cmp.Diff(any(tt.want), ts.script.taken()[0], cmp.Comparer(sameAddr)); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAClientThatIsNotKnownIsNoLocalSubmission: a local submission may relay.
func TestAClientThatIsNotKnownIsNoLocalSubmission(t *testing.T) {
	for _, family := range []gomilter.ProtoFamily{gomilter.FamilyUnknown, gomilter.FamilyUnix} {
		for _, addr := range []string{"unknown", "[UNIX: /run/x]", "203.0.113", "203.0.113.8 ", "IPv6:", "00", "0.0.0"} {
			ts := serve(t, Config{})
			c := client(t, ts.addr, map[string]string{"{client_addr}": addr})
			begin(t, c, "localhost", family, "x")
			action, err := c.Mail("a@good.example", "")
			want(t, "MAIL", action, err, "451 4.3.0 Temporary system failure. Please try again later")
			if told := ts.script.taken(); len(told) > 0 || !ts.log.Has("the facts of this connection are not known") {
				t.Errorf("family %c, {client_addr} %q: the policy is told %v\n%s", family, addr, told, ts.log)
			}
		}
	}
}

// begin sends CONNECT and HELO.
func begin(t *testing.T, c *gomilter.ClientSession, host string, family gomilter.ProtoFamily, addr string) {
	t.Helper()
	action, err := c.Conn(host, family, 25, addr)
	want(t, "CONNECT", action, err, "continue")
	action, err = c.Helo(host)
	want(t, "HELO", action, err, "continue")
}

func TestVerdictsBecomeAnswers(t *testing.T) {
	accept := policy.Verdict{Action: policy.ActionAccept}
	discard := policy.Verdict{Action: policy.ActionDiscard, Check: "client"}
	quarantine := policy.Verdict{Action: policy.ActionQuarantine, Check: "client", Reply: policy.Reply{Text: "held\r\nfor a look"}}
	denied := reject(550, "5.7.1", "Access denied")
	later := policy.Verdict{Action: policy.ActionTempfail, Check: "rdns", Reply: policy.Reply{Code: 450, Enhanced: "4.7.25", Text: "100% sure: later"}}
	const failed = "451 4.3.0 Temporary system failure. Please try again later"
	tests := []struct {
		name            string
		mail, rcpt, eom policy.Verdict
		want            []string // answers up to the one that ends the message
		quarantined     string
	}{
		{"all accepted", accept, accept, accept, []string{"continue", "continue", "accept"}, ""},
		{"MAIL rejected", denied, accept, accept, []string{"550 5.7.1 Access denied"}, ""},
		{"MAIL refused for now, with a percent sign", later, accept, accept, []string{"450 4.7.25 100%% sure: later"}, ""},
		{"MAIL discarded", discard, accept, accept, []string{"discard"}, ""},
		{"RCPT rejected, the message goes on", accept, denied, accept, []string{"continue", "550 5.7.1 Access denied", "accept"}, ""},
		{"RCPT discards the message", accept, discard, accept, []string{"continue", "discard"}, ""},
		{"end of message rejected", accept, accept, denied, []string{"continue", "continue", "550 5.7.1 Access denied"}, ""},
		{"end of message discarded", accept, accept, discard, []string{"continue", "continue", "discard"}, ""},
		{"quarantine is ordered at the end of the message", quarantine, quarantine, quarantine, []string{"continue", "continue", "accept"}, "held??for a look"},
		{"a verdict without action", policy.Verdict{}, accept, accept, []string{failed}, ""},
		{"a rejection without reply", policy.Verdict{Action: policy.ActionReject}, accept, accept, []string{failed}, ""},
		{"a rejection that is a success", reject(250, "2.0.0", "fine"), accept, accept, []string{failed}, ""},
		{"codes of two classes", reject(550, "4.7.1", "which"), accept, accept, []string{failed}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ts := serve(t, Config{})
			ts.script.verdict = func(stage policy.Stage, _ string) policy.Verdict {
				return map[policy.Stage]policy.Verdict{policy.StageMail: tt.mail, policy.StageRcpt: tt.rcpt, policy.StageEOM: tt.eom}[stage]
			}
			c := client(t, ts.addr, nil)
			begin(t, c, "mx.example", gomilter.FamilyInet, "203.0.113.8")
			action, err := c.Mail("a@good.example", "")
			want(t, "MAIL", action, err, tt.want[0])
			if len(tt.want) == 1 {
				return
			}
			action, err = c.Rcpt("b@our.example", "")
			want(t, "RCPT", action, err, tt.want[1])
			if len(tt.want) == 2 {
				return
			}
			edits, action := end(t, c)
			want(t, "end of message", action, nil, tt.want[2])
			var reasons []string
			for _, edit := range edits {
				if edit.Type == gomilter.ActionQuarantine {
					reasons = append(reasons, edit.Reason)
				}
			}
			if got := strings.Join(reasons, ","); got != tt.quarantined {
				t.Errorf("quarantined %q, want %q", got, tt.quarantined)
			}
			if n := ts.Stats().Verdicts[VerdictKey{policy.StageEOM, tt.eom.Check, tt.eom.Action, false}]; n == 0 {
				t.Errorf("the verdict was not counted: %v", ts.Stats().Verdicts)
			}
		})
	}
}

func TestQuarantineNeedsAnMTAThatDoes(t *testing.T) {
	ts := serve(t, Config{})
	ts.script.verdict = func(stage policy.Stage, _ string) policy.Verdict {
		return policy.Verdict{Action: policy.ActionQuarantine, Check: "client", Reply: policy.Reply{Text: "held"}}
	}
	c := client(t, ts.addr, nil, gomilter.WithoutAction(gomilter.OptQuarantine))
	begin(t, c, "mx.example", gomilter.FamilyInet, "203.0.113.8")
	action, err := c.Mail("a@good.example", "")
	want(t, "MAIL", action, err, "continue")
	action, err = c.Rcpt("b@our.example", "")
	want(t, "RCPT", action, err, "continue")
	_, action = end(t, c)
	want(t, "end of message", action, nil, "451 4.3.0 Temporary system failure. Please try again later")
}

func TestSequences(t *testing.T) {
	const failed = "y451 4.3.0 Temporary system failure. Please try again later"
	connect, helo := connectFrame("203.0.113.8"), frame('H', "mx.example\x00")
	mail, rcpt := frame('M', "<a@good.example>\x00"), frame('R', "<b@our.example>\x00")
	eom, abort, quitNC := frame('E'), frame('A'), frame('K')
	tests := []struct {
		name   string
		frames []byte
		want   []string
	}{
		{"several messages", join(connect, helo, mail, rcpt, eom, mail, rcpt, rcpt, eom), []string{"c", "c", "a", "c", "c", "c", "a"}},
		{"ABORT ends a message", join(connect, helo, mail, rcpt, abort, rcpt), []string{"c", "c", failed}},
		{"two ABORTs", join(connect, helo, mail, abort, abort, mail, rcpt), []string{"c", "c", "c"}},
		{"MAIL after MAIL begins anew", join(connect, helo, mail, mail, rcpt, eom), []string{"c", "c", "c", "a"}},
		{"no HELO", join(connect, mail, rcpt), []string{"c", "c"}},
		{"HELO in a message ends it", join(connect, helo, mail, helo, rcpt), []string{"c", failed}},
		{"MAIL without CONNECT is not taken for a local one", join(helo, mail), []string{failed}},
		{"RCPT without MAIL", join(connect, helo, rcpt), []string{failed}},
		{"the end of no message", join(connect, helo, eom), []string{failed}},
		{"the end of a message comes once", join(connect, helo, mail, rcpt, eom, eom), []string{"c", "c", "a", failed}},
		{"QUIT_NC forgets the client", join(connect, helo, mail, quitNC, mail), []string{"c", failed}},
		{"QUIT_NC and another client", join(connect, helo, mail, rcpt, quitNC, connect, helo, mail, rcpt), []string{"c", "c", "c", "c"}},
		{"CONNECT again is another client", join(connect, helo, mail, connect, rcpt), []string{"c", failed}},
		{"events that were not asked for", join(connect, helo, mail, rcpt, frame('T'), frame('L', "a\x00b\x00"), frame('N'), frame('B', "x"), frame('U', "FOO\x00"), eom),
			[]string{"c", "c", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ts := serve(t, Config{})
			p := negotiated(t, ts.addr)
			p.send(tt.frames)
			for _, want := range tt.want {
				p.expect(want)
			}
			if s := ts.Stats(); s.Malformed != 0 || s.Panics != 0 {
				t.Errorf("malformed %d, panics %d, want none", s.Malformed, s.Panics)
			}
		})
	}
}

func TestTLSThatBeginsAfterTheLastHELOIsSeenAtMAIL(t *testing.T) {
	ts := serve(t, Config{})
	macros := bag(nil)
	c, err := gomilter.NewClient("unix", ts.addr).Session(macros)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin(t, c, "one.example", gomilter.FamilyInet, "203.0.113.8")
	macros.Set("{tls_version}", "TLSv1.3")
	action, err := c.Mail("a@one.example", "")
	want(t, "MAIL", action, err, "continue")
	expectNotes(t, ts.script,
		policy.Connection{Addr: netip.MustParseAddr("203.0.113.8"), Port: 25, Name: "one.example"},
		heloNote{Name: "one.example"},
		heloNote{Name: "one.example", TLS: policy.TLS{Version: "TLSv1.3"}},
		mailNote{Mail: policy.Mail{From: "a@one.example"}},
	)
}

func TestAnotherConnectionOnTheSameFilterConnection(t *testing.T) {
	ts := serve(t, Config{})
	c := client(t, ts.addr, map[string]string{"{tls_version}": "TLSv1.3", "{auth_type}": "PLAIN"})
	begin(t, c, "one.example", gomilter.FamilyInet, "203.0.113.8")
	action, err := c.Mail("a@one.example", "")
	want(t, "MAIL of the first client", action, err, "continue")
	ts.script.taken()

	if err := c.Reset(bag(nil)); err != nil {
		t.Fatal(err)
	}
	begin(t, c, "two.example", gomilter.FamilyInet, "203.0.113.9")
	action, err = c.Mail("a@two.example", "")
	want(t, "MAIL of the second client", action, err, "continue")
	expectNotes(t, ts.script,
		policy.Connection{Addr: netip.MustParseAddr("203.0.113.9"), Port: 25, Name: "two.example"},
		heloNote{Name: "two.example"},
		mailNote{Mail: policy.Mail{From: "a@two.example"}},
	)
}

func TestSnapshotIsKept(t *testing.T) {
	old, young := &door.Snapshot{Policy: &policy.Policy{Hostname: "old"}}, &door.Snapshot{Policy: &policy.Policy{Hostname: "young"}}
	var current atomic.Pointer[door.Snapshot]
	current.Store(old)
	ts := serve(t, Config{
		Current: func() door.Snapshot { return *current.Load() },
		NewEvaluator: func(p *policy.Policy, _ policy.Connection, _ policy.Answers) policy.Evaluator {
			return &script{verdict: func(policy.Stage, string) policy.Verdict { return reject(550, "5.7.1", p.Hostname) }}
		},
	})
	mail := frame('M', "<>\x00")
	before := negotiated(t, ts.addr)
	before.send(connectFrame("203.0.113.8"), mail)
	before.expect("y550 5.7.1 old")

	current.Store(young)
	after := negotiated(t, ts.addr)
	after.send(connectFrame("203.0.113.8"), mail)
	after.expect("y550 5.7.1 young")
	before.send(mail)
	before.expect("y550 5.7.1 old")
	before.send(frame('K'), connectFrame("203.0.113.8"), mail)
	before.expect("y550 5.7.1 young")
}

func TestThePolicyItselfIsTheDefault(t *testing.T) {
	denied := policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Relaying denied"}
	p := &policy.Policy{
		Local: policy.NewClass("our.example"),
		Checks: policy.Checks{Relay: policy.RelayCheck{
			Mode: policy.ModeEnforce, Deny: denied, DenyAuth: denied, Temp: denied, Fail: denied, Forged: denied,
		}},
	}
	current := func() door.Snapshot { return door.Snapshot{Policy: p} }
	ts := serve(t, Config{Current: current, NewEvaluator: policyEvaluator(slog.New(slog.DiscardHandler))})
	peer := negotiated(t, ts.addr)
	peer.begin()
	peer.send(frame('D', "R{rcpt_mailer}\x00esmtp\x00{rcpt_host}\x00other.example.\x00{rcpt_addr}\x00x@other.example\x00"),
		frame('R', "<x@other.example>\x00"))
	peer.expect("y550 5.7.1 Relaying denied")
	peer.send(frame('D', "R{rcpt_mailer}\x00local\x00{rcpt_addr}\x00shin\x00"), frame('R', "<shin@our.example>\x00"))
	peer.expect("c")
}

func TestTooManyRecipients(t *testing.T) {
	ts := serve(t, Config{Limits: Limits{Recipients: 2}})
	p := negotiated(t, ts.addr)
	p.begin()
	rcpt := frame('R', "<b@our.example>\x00")
	p.send(rcpt, rcpt, rcpt, frame('E'))
	p.expect("c")
	p.expect("c")
	p.expect("y452 4.5.3 Too many recipients")
	p.expect("a")
	p.send(frame('M', "<>\x00"), rcpt)
	p.expect("c")
	p.expect("c")
}

// The classic open relay: behind a bridge everyone looks like its gateway, whose network
// may relay.
func TestAGatewayThatHidesTheClientsRelaysNothing(t *testing.T) {
	denied := policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Relaying denied"}
	p := &policy.Policy{
		Relay: policy.NewClass("10.88"),
		Checks: policy.Checks{Relay: policy.RelayCheck{
			Mode: policy.ModeEnforce, Deny: denied, DenyAuth: denied, Temp: denied, Fail: denied, Forged: denied,
		}},
	}
	now := door.Snapshot{Policy: p, NAT: door.NewNATGuard(slog.New(slog.DiscardHandler))}
	ts := serve(t, Config{Current: func() door.Snapshot { return now }, NewEvaluator: policyEvaluator(slog.New(slog.DiscardHandler))})
	peer := negotiated(t, ts.addr)
	relay := func(addr, want string) {
		t.Helper()
		peer.send(connectFrame(addr), frame('M', "<>\x00"))
		peer.expect("c")
		peer.send(frame('R', "<x@other.example>\x00"))
		peer.expect(want)
		peer.send(frame('K'))
	}
	relay("10.88.0.1", "c")
	for range 50 {
		peer.send(connectFrame("10.88.0.1"), frame('K'))
	}
	relay("10.88.0.1", "y451 4.7.1 Relaying temporarily denied. Your own address is not known")
	relay("10.88.0.2", "c")
}

func TestOnlyALogAtLevelDebugHasTraces(t *testing.T) {
	for level, want := range map[slog.Level]bool{slog.LevelDebug: true, slog.LevelInfo: false} {
		logger := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: level}))
		evaluator := policyEvaluator(logger)(&policy.Policy{}, policy.Connection{}, nil)
		if got := len(evaluator.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"}).Trace) > 0; got != want {
			t.Errorf("%v: a trace: %v, expected %v", level, got, want)
		}
	}
}
