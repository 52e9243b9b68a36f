package record

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"milterd/header"
	"milterd/policy"
	"milterd/policy/access"
	"milterd/policy/replay"
)

// answers are what the DNS says, always the same, and a relay grant that comes and
// goes.
type answers struct {
	policy.NoAnswers
	reverse policy.ReverseDNS
	grants  []policy.GrantState
	// last is the state that was told last, asked are those that may have counted
	// since the last MAIL: a grant that was held is not asked for again.
	last  policy.GrantState
	asked map[policy.GrantState]bool
}

func (a *answers) ReverseDNS() policy.ReverseDNS { return a.reverse }

func (a *answers) Grant() policy.GrantState {
	g := a.grants[0]
	if len(a.grants) > 1 {
		a.grants = a.grants[1:]
	}
	if a.last = g; a.asked != nil {
		a.asked[g] = true
	}
	return g
}

// drawPolicy makes any policy.
func drawPolicy(rt *rapid.T, t *testing.T) *policy.Policy {
	flip := func(name string) bool { return rapid.Bool().Draw(rt, name) }
	p := fixture(t, access.Features{
		DelayChecks: flip("delay_checks"), BlocklistRecipients: flip("blocklist_recipients"), Friend: flip("friend"),
		Skip: true, RelayMailFrom: flip("relay_mail_from"), RelayLocalFrom: flip("relay_local_from"),
	})
	mode := rapid.SampledFrom([]policy.Mode{policy.ModeEnforce, policy.ModeEnforce, policy.ModeShadow, policy.ModeOff})
	c := &p.Checks
	c.Recipient.Mode, c.Sender.Mode, c.Client.Mode = mode.Draw(rt, "recipient"), mode.Draw(rt, "sender"), mode.Draw(rt, "client")
	c.Relay.Mode, c.RDNS.Mode = mode.Draw(rt, "relay"), mode.Draw(rt, "rdns")
	c.RDNS.Source = rapid.SampledFrom([]policy.RDNSSource{policy.RDNSSourceSendmail, policy.RDNSSourceOwn}).Draw(rt, "source")
	c.RDNS.Exempt = policy.Exempt{
		Authenticated: flip("exempt authenticated"), Relay: flip("exempt relay"), ConnectOK: flip("exempt ok"),
		Friend: flip("exempt friend"), Postmaster: flip("exempt postmaster"),
	}
	p.Shadow = rapid.IntRange(0, 9).Draw(rt, "shadow") == 0
	p.Received = policy.Scrub{
		Mode: mode.Draw(rt, "received"), Authenticated: flip("scrub authenticated"), Relayed: flip("scrub relayed"), Granted: flip("scrub granted"),
		Rules: header.Rules{Client: true, Version: true, From: "from SMTP", By: "(SMTP server)", Fields: []header.FieldRule{{Name: "X-Mailer", Action: header.Remove}}},
	}
	return p
}

func drawClient(rt *rapid.T) policy.Connection {
	c := client(rapid.SampledFrom([]string{"203.0.113.8", "203.0.113.66", "203.0.113.67", "198.51.100.7", "192.0.2.9", "2001:db8::8", "127.0.0.1"}).Draw(rt, "client"))
	c.Resolve = rapid.SampledFrom([]policy.Resolve{policy.ResolveOK, policy.ResolveFail, policy.ResolveForged, policy.ResolveTemp, ""}).Draw(rt, "resolve")
	c.DaemonPort = rapid.SampledFrom([]uint16{2525, 25, 587}).Draw(rt, "port")
	if rapid.IntRange(0, 9).Draw(rt, "local") == 0 {
		c.Addr = netip.Addr{}
	}
	return c
}

var (
	senders = []string{
		"", "a@good.example", "ok@good.example", "spam@bad.example", "lost@bad.example", "odd@bad.example", "me@example.test",
		"\"a b\"@c.example", "a%b@example.test", "@x.example:a@y.example", "a", "@", "a\x01b@c.example", "(", "\x1b[2J@z.example",
	}
	recipients = []string{
		"x@example.test", "gone@example.test", "held@example.test", "drop@example.test", "friend@example.test", "postmaster@example.test",
		"x@other.example", "x@relayed.example", "x%y.example@example.test", "\"x@y.example\"@example.test", "h.example!u", "x", "<", "[203.0.113.5]",
	}
	greetings = []said{
		{helo: "client.example"}, {helo: "other.example"}, {helo: "client.example", tls: policy.TLS{Version: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384", Bits: 256, Verify: "NO"}},
	}
	identities = []policy.Auth{{}, {}, {Type: "PLAIN", Authen: "shin@example.test", SSF: 256}, {Type: "LOGIN", Authen: "who"}}
	fields     = []policy.HeaderField{
		{Name: "Received", Value: "from laptop.lan (laptop.lan [192.168.0.77])\n\tby inner.example (8.17.1/8.17.1) with ESMTP id 123;\n\tSun, 22 Nov 2026 17:00:00 +0000"},
		{Name: "Received", Value: "from SMTP by x.example; Sun, 22 Nov 2026 17:00:00 +0000"},
		{Name: "Subject", Value: "hi"}, {Name: "X-Mailer", Value: "Mailer 1.0"},
	}
)

// liveVerdict is what the client was told.
type liveVerdict struct {
	verdict policy.Verdict
	// loose: the grant has changed within the message, so no replay is told of its end.
	loose bool
}

// asking is the map door, which is asked about recipients before the filter door is.
type asking func(id string, mail func(policy.Evaluator) policy.Verdict, r policy.Recipient) (policy.Verdict, bool)

// mapDoor is the map door of a connection to what is recorded. It knows the same facts, and
// asks for grants at its own time.
func mapDoor(r *Recorder, p *policy.Policy, facts policy.Connection, a *answers) asking {
	return func(id string, mail func(policy.Evaluator) policy.Verdict, to policy.Recipient) (policy.Verdict, bool) {
		e := r.NewQuestion(id, p, facts, elsewhere{a})
		defer e.Close()
		if v := mail(e); !goes(v) {
			return v, false
		}
		return e.Rcpt(to), true
	}
}

// elsewhere are answers that are given to another than the connection: what it was told
// last stays.
type elsewhere struct{ *answers }

func (e elsewhere) Grant() policy.GrantState {
	last := e.last
	defer func() { e.last = last }()
	return e.answers.Grant()
}

// dialogue has a client do what comes to its mind. ask is nil if there is no map door.
func dialogue(rt *rapid.T, e policy.Evaluator, a *answers, ask asking) (live []liveVerdict) {
	greeting := said{}
	for message := range rapid.IntRange(1, 8).Draw(rt, "messages") {
		if rapid.IntRange(0, 3).Draw(rt, "helo?") == 0 {
			g := rapid.SampledFrom(greetings).Draw(rt, "helo")
			e.Helo(g.helo, g.tls)
			greeting = g
		}
		a.asked = make(map[policy.GrantState]bool)
		if a.last == policy.GrantHeld {
			a.asked[a.last] = true
		}
		id := fmt.Sprintf("4AMH0abc%06d", message)
		e.SetQueueID(id)
		auth := rapid.SampledFrom(identities).Draw(rt, "auth")
		command := policy.Mail{From: rapid.SampledFrom(senders).Draw(rt, "from"), Args: []string{"SIZE=1000"}, Mailer: "esmtp"}
		mail := e.Mail(auth, command)
		live = append(live, liveVerdict{verdict: mail})
		taken, lost, unreached := false, false, false
		for range rapid.IntRange(0, 4).Draw(rt, "recipients") {
			if !goes(mail) || lost {
				break
			}
			to := policy.Recipient{
				To: rapid.SampledFrom(recipients).Draw(rt, "to"), Mailer: rapid.SampledFrom([]string{"esmtp", "local", "error", ""}).Draw(rt, "mailer"),
			}
			if ask != nil {
				v, reached := ask(id, func(e policy.Evaluator) policy.Verdict {
					e.Helo(greeting.helo, greeting.tls)
					return e.Mail(auth, command)
				}, to)
				refuses := rapid.IntRange(0, 5).Draw(rt, "sendmail refuses") == 0
				if reached && (!goes(v) || refuses) {
					live = append(live, liveVerdict{verdict: v})
					lost, unreached = v.Action == policy.ActionDiscard, unreached || goes(v)
				}
				if !reached || !goes(v) || refuses {
					continue
				}
			}
			v := e.Rcpt(to)
			live = append(live, liveVerdict{verdict: v})
			taken, lost = taken || goes(v), v.Action == policy.ActionDiscard
			if rapid.Bool().Draw(rt, "scrub reason") {
				e.Visibility()
			}
		}
		if taken && !lost && rapid.IntRange(0, 4).Draw(rt, "ends") > 0 {
			v := e.EndOfMessage(fields[:rapid.IntRange(0, len(fields)).Draw(rt, "fields")])
			live = append(live, liveVerdict{verdict: v, loose: len(a.asked) > 1 || unreached})
		}
		if rapid.Bool().Draw(rt, "abort") {
			e.Abort()
		}
	}
	return live
}

func goes(v policy.Verdict) bool {
	return v.Action.Accepts()
}

// replayed are the verdicts of a recording that it expects, in order. A session that
// tells of them in another order than they come in is broken.
func replayed(p *policy.Policy, read []*replay.Session, given func(policy.Connection) policy.Answers) (verdicts []policy.Verdict, broken error) {
	for _, s := range read {
		open := s.Expect
		for _, r := range replay.Run(p, s, given).Results {
			if len(open) > 0 && open[0].Stage == string(r.Verdict.Stage) && open[0].Arg == r.Verdict.Arg {
				verdicts, open = append(verdicts, r.Verdict), open[1:]
			}
		}
		if len(open) > 0 {
			return nil, fmt.Errorf("%s: %d expectations are not met in order", s.ID, len(open))
		}
	}
	return verdicts, nil
}

// TestAReplayGivesTheLiveVerdicts: whatever the policy and the client, the recording
// gives every verdict again, with its trace.
func TestAReplayGivesTheLiveVerdicts(t *testing.T) {
	compared, looser := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPolicy(rt, t)
		facts := drawClient(rt)
		reverse := policy.ReverseDNS{Status: policy.RDNSStatus(rapid.IntRange(0, 3).Draw(rt, "reverse")), Detail: "as drawn"}
		state := rapid.SampledFrom([]policy.GrantState{policy.GrantNone, policy.GrantNone, policy.GrantHeld, policy.GrantTemporary})
		a := &answers{reverse: reverse, grants: rapid.SliceOfN(state, 1, 6).Draw(rt, "grants")}

		// At level debug verdicts have their traces.
		log := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))
		r := newRecorder(withDefaults(t, Config{Dir: "/nowhere", AllHeaders: true, Logger: log}))
		conn, evaluator := begin(r, p, facts, a)
		var ask asking
		if rapid.Bool().Draw(rt, "map door") {
			ask = mapDoor(r, p, facts, a)
		}
		live := dialogue(rt, evaluator, a, ask)
		conn.Close()
		read := parse(t, written(t, r))
		given := func(policy.Connection) policy.Answers {
			return &answers{reverse: reverse, grants: []policy.GrantState{0}}
		}
		if found := differences(p, read, given); len(found) > 0 {
			rt.Fatalf("differences: %q", found)
		}
		verdicts, err := replayed(p, read, given)
		if err != nil {
			rt.Fatal(err)
		}
		for _, l := range live {
			if len(verdicts) > 0 && (!l.loose || cmp.Equal(l.verdict, verdicts[0], lookedUpOnce)) {
				if diff := cmp.Diff(l.verdict, verdicts[0], lookedUpOnce); diff != "" {
					rt.Fatalf("(-live +replayed):\n%s", diff)
				}
				verdicts = verdicts[1:]
				compared++
			} else if !l.loose {
				rt.Fatalf("not replayed: %s", l.verdict)
			} else {
				looser++
			}
		}
		if len(verdicts) > 0 {
			rt.Fatalf("replayed, but not live: %v", verdicts)
		}
	})
	if compared < 100 {
		t.Errorf("%d verdicts were compared, %d not", compared, looser)
	}
	t.Logf("%d verdicts were compared, %d not", compared, looser)
}

// lookedUpOnce leaves the keys out that the policy looks a client up by. It does that
// once a connection and shows them where it did, so where a connection becomes several
// sessions they are shown again.
var lookedUpOnce = cmp.Transformer("lookedUpOnce", func(s policy.Step) struct {
	Check, Result, Reason string
	Probes                []access.Probe
	Answers               []string
} {
	if s.Check == "client" || s.Check == "rdns" {
		s.Probes = nil
	}
	return s
})

func withDefaults(t testing.TB, c Config) Config {
	t.Helper()
	c, err := c.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// written is what a Recorder that was not started would write.
func written(t testing.TB, r *Recorder) []byte {
	t.Helper()
	w := newWriter(r)
	var all []byte
	for {
		select {
		case p := <-r.queue:
			read, _ := p.sessions(w.redact)
			for _, s := range read {
				w.line.Reset()
				if err := w.encoder.Encode(s); err != nil {
					t.Fatal(err)
				}
				all = append(all, w.line.Bytes()...)
			}
		default:
			return all
		}
	}
}
