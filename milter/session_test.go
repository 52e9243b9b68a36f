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

	"milterd/integration/testkit"
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
			check := tt.eom.Check
			if check == "" {
				check = "none"
			}
			if n := testkit.Metric(t, ts, "milterd_verdicts_total", string(tt.eom.Action), check, "enforce", "eom"); n == 0 {
				t.Error("the verdict was not counted")
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
			if s := ts.counter; s.Malformed.Load() != 0 || s.Panics.Load() != 0 {
				t.Errorf("malformed %d, panics %d, want none", s.Malformed.Load(), s.Panics.Load())
			}
		})
	}
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
	ts := serve(t, Config{Current: current, NewEvaluator: policyEvaluator})
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
	p.send(rcpt, frame('R', "<c@our.example>\x00"), frame('R', "<d@our.example>\x00"), frame('E'))
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
	ts := serve(t, Config{Current: func() door.Snapshot { return now }, NewEvaluator: policyEvaluator})
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
		s := newSession(NewServer(Config{Logger: logger}), nil, false, false)
		s.current.Policy = &policy.Policy{}
		s.evaluate(nil)
		if got := len(s.evaluator.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"}).Trace) > 0; got != want {
			t.Errorf("%v: a trace: %v, expected %v", level, got, want)
		}
	}
}
