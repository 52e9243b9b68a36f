package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"milterd/configs"
	"milterd/dnscheck"
	"milterd/integration/testkit"
	"milterd/integration/testkit/dnstest"
	"milterd/policy"
	"milterd/policy/replay"
)

const queryKey = "s3cr3tqu3rykey"

// dnsConfig has every check that asks the DNS.
const dnsConfig = `
access: {file: access}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
dns: {try_timeout: 9s, attempts: 1, timeout: 9s, deadline: 9s}
checks:
  sender_domain: {mode: enforce, bad_mx: {action: reject}}
  rdns: {source: own, forged: {action: reject}, generic: {action: reject, builtin: true}}
  dnsbl:
    threshold: 2
    lists:
      bl.example: {weight: 2, txt: true}
      "{key}.paid.example": {key: ` + queryKey + `, name: paid, weight: 2, txt: true, reply: "550 5.7.1 Listed: {reason}"}
      wl.example: {weight: -2}
      wait.example: {weight: 2, on_temporary: tempfail}
      names.example: {kind: domain, weight: 2}
`

func dnsFixture(t *testing.T, text string) (*configs.Config, *policy.Policy) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"access": "", "milterd.yaml": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := configs.Load(filepath.Join(dir, "milterd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := config.Policy()
	if err != nil {
		t.Fatal(err)
	}
	return config, p
}

func startDNS(t testing.TB, o dnstest.Options) *dnstest.Server {
	t.Helper()
	server, err := dnstest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func startClient(t *testing.T, config *configs.Config, server *dnstest.Server) *dnscheck.Client {
	t.Helper()
	settings := config.DNS.Client
	settings.Servers = []string{server.Addr()}
	client, err := dnscheck.NewClient(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// worldLines is what the DNS knows about clients 1 to 12 and a few senders.
func worldLines() []string {
	lines := []string{
		"good.example. MX 10 mx.good.example.", "mx.good.example. A 203.0.113.5", "mx.good.example. AAAA NODATA",
		"null.example. MX 0 .", "bad.example. MX 5 mx.bad.example.", "mx.bad.example. A 10.0.0.1", "dead.example. SERVFAIL", "missing.example. NXDOMAIN",
	}
	for i := 1; i <= 12; i++ {
		lines = append(lines, fmt.Sprintf("%d.113.0.203.in-addr.arpa. PTR mail%d.good.example.", i, i), fmt.Sprintf("mail%d.good.example. A 203.0.113.%d", i, i))
	}
	return append(lines,
		"2.113.0.203.in-addr.arpa. PTR also.good.example.", "3.113.0.203.in-addr.arpa. NXDOMAIN", "4.113.0.203.in-addr.arpa. SERVFAIL", "mail5.good.example. A NODATA",
		"6.113.0.203.bl.example. A 127.0.0.2", "6.113.0.203.bl.example. TXT \"on a list\"",
		"7.113.0.203."+queryKey+".paid.example. A 127.0.0.2", "7.113.0.203."+queryKey+".paid.example. TXT \"see "+queryKey+".paid.example\"",
		"8.113.0.203.bl.example. A 127.0.0.2", "8.113.0.203.wl.example. A 127.0.0.2",
		"9.113.0.203.wait.example. SERVFAIL", "mail10.good.example.names.example. A 127.0.1.2",
		"11.113.0.203.bl.example. A 127.255.255.254", "12.113.0.203."+queryKey+".paid.example. SERVFAIL")
}

// worldSessions are sessions about that world, for every sender a session of each
// client.
func worldSessions() []*replay.Session {
	var sessions []*replay.Session
	for i := 1; i <= 12; i++ {
		for _, from := range []string{"a@good.example", "", "a@null.example", "a@bad.example", "a@dead.example", "a@missing.example"} {
			sessions = append(sessions, &replay.Session{
				ID: fmt.Sprintf("%d-%s", i, from), File: "world", Line: 1, HELO: fmt.Sprintf("mail%d.good.example", i),
				Connect:  replay.Connect{Addr: fmt.Sprintf("203.0.113.%d", i), Name: fmt.Sprintf("[203.0.113.%d]", i), Resolve: "FORGED", DaemonPort: 25},
				Messages: []replay.Message{{Mail: replay.Mail{From: from}, Rcpt: []replay.Rcpt{{To: "x@example.test", Mailer: "local"}, {To: "postmaster@example.test", Mailer: "local"}}}},
			})
		}
	}
	return sessions
}

// TestLiveAndFrozenAnswersGiveTheSameVerdicts decides sessions with a real DNS
// server and records the answers, then decides them again from the record: the
// verdicts, texts and traces must be the same, and the query key of a list must
// be in none of them.
func TestLiveAndFrozenAnswersGiveTheSameVerdicts(t *testing.T) {
	config, p := dnsFixture(t, dnsConfig)
	server := startDNS(t, dnstest.Options{Lines: worldLines()})
	client := startClient(t, config, server)
	recorded, err := config.Lookups(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	actions := make(map[policy.Action]int)
	for _, s := range worldSessions() {
		live, err := config.Lookups(client, nil)
		if err != nil {
			t.Fatal(err)
		}
		recorder := dnscheck.NewRecorder(live.Resolver)
		live.Resolver, live.ListResolver = recorder, recorder.With(live.ListResolver)
		first := replay.Run(p, s, func(c policy.Connection) policy.Answers { return live.NewAnswers(t.Context(), c, nil) })
		s.DNS = recorder.Lines()
		answers, _, err := recorded.Frozen(s.DNS)
		if err != nil {
			t.Fatal(err)
		}
		second := replay.Run(p, s, answers)
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("%s (-live +frozen):\n%s\ndns: %s", s.ID, diff, strings.Join(s.DNS, "\n"))
		}
		var shown bytes.Buffer
		if err := replay.WriteText(&shown, s, first, true); err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(&shown).Encode(s); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(shown.String(), queryKey) {
			t.Errorf("%s shows the query key:\n%s", s.ID, shown.String())
		}
		for _, r := range first.Results {
			actions[r.Verdict.Action]++
		}
	}
	for _, action := range []policy.Action{policy.ActionAccept, policy.ActionReject, policy.ActionTempfail} {
		if actions[action] == 0 {
			t.Errorf("no session ended in %s: %v", action, actions)
		}
	}
	if server.Count("7.113.0.203."+queryKey+".paid.example.", dns.TypeA) == 0 {
		t.Error("the paid list was never asked with its key")
	}
}

// TestWithAllDNSDeadEveryCheckTakesItsTemporaryResult asks a server that never
// answers, from many sessions at once.
func TestWithAllDNSDeadEveryCheckTakesItsTemporaryResult(t *testing.T) {
	config, p := dnsFixture(t, strings.Replace(dnsConfig, "{try_timeout: 9s, attempts: 1, timeout: 9s, deadline: 9s}", "{try_timeout: 200ms, attempts: 1, timeout: 400ms, deadline: 600ms}", 1))
	server := startDNS(t, dnstest.Options{Unknown: dnstest.UnknownTimeout})
	client := startClient(t, config, server)
	live, err := config.Lookups(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	decide := func(i int, to string) policy.Verdict {
		c := policy.Connection{Addr: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), Name: "[203.0.113.1]", Resolve: policy.ResolveTemp, DaemonPort: 25}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answers := live.NewAnswers(ctx, c, nil)
		session := p.NewSession(c, answers)
		session.Helo("mx.good.example", policy.TLS{})
		session.Mail(policy.Auth{}, policy.Mail{From: ""})
		return session.Rcpt(policy.Recipient{To: to, Mailer: "local"})
	}
	if v := decide(1, "x@example.test"); v.Check != "rdns" || v.Action != policy.ActionTempfail {
		t.Errorf("rdns: %s", v)
	}
	if v := decide(1, "postmaster@example.test"); v.Action != policy.ActionAccept {
		t.Errorf("postmaster, whom no DNS check applies to: %s", v)
	}
	before := runtime.NumGoroutine()
	const rounds, wide = 5, 400
	for round := range rounds {
		verdicts := make(chan policy.Verdict, wide)
		for i := range wide {
			go func() { verdicts <- decide(round*wide+i, "x@example.test") }()
		}
		for range wide {
			if v := <-verdicts; v.Action != policy.ActionTempfail {
				t.Fatalf("with all DNS dead: %s", v)
			}
		}
	}
	testkit.Eventually(t, fmt.Sprintf("after %d sessions as many goroutines as before", rounds*wide), func() bool { return runtime.NumGoroutine() <= before+50 })
}

// TestLookupsBeginAtCONNECT: what a client's checks need is asked for before it
// has said anything, and a port without the checks asks nothing.
func TestLookupsBeginAtCONNECT(t *testing.T) {
	config, p := dnsFixture(t, dnsConfig+"ports: {2525: {checks: {rdns: off, dnsbl: off, sender_domain: off}}}\n")
	server := startDNS(t, dnstest.Options{Lines: worldLines()})
	live, err := config.Lookups(startClient(t, config, server), nil)
	if err != nil {
		t.Fatal(err)
	}
	begin := func(port uint16) *policy.Session {
		c := policy.Connection{Addr: netip.MustParseAddr("203.0.113.1"), Name: "mail1.good.example", Resolve: policy.ResolveOK, DaemonPort: port}
		answers := live.NewAnswers(t.Context(), c, nil)
		session := p.NewSession(c, answers)
		return session
	}
	quiet := begin(2525)
	quiet.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	if v := quiet.Rcpt(policy.Recipient{To: "x@example.test", Mailer: "local"}); v.Action != policy.ActionAccept || server.Total() != 0 {
		t.Errorf("a port without the checks: %s, %d queries", v, server.Total())
	}
	session := begin(25)
	asked := func(name string, qtype uint16) {
		t.Helper()
		testkit.Eventually(t, name+" is asked for", func() bool { return server.Count(name, qtype) > 0 })
	}
	asked("1.113.0.203.in-addr.arpa.", dns.TypePTR)
	asked("1.113.0.203.bl.example.", dns.TypeA)
	if n := server.Count("good.example.", dns.TypeMX); n != 0 {
		t.Errorf("the sender's domain was asked for %d times before there was a sender", n)
	}
	session.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	asked("good.example.", dns.TypeMX)
	asked("good.example.names.example.", dns.TypeA)
	if v := session.Rcpt(policy.Recipient{To: "x@example.test", Mailer: "local"}); v.Action != policy.ActionAccept {
		t.Errorf("verdict %s", v)
	}
}

// TestMessagesGivenUpLeaveNothingBehind begins message after message on silent
// DNS: the look-ups of the messages before must not pile up.
func TestMessagesGivenUpLeaveNothingBehind(t *testing.T) {
	config, p := dnsFixture(t, dnsConfig)
	server := startDNS(t, dnstest.Options{Unknown: dnstest.UnknownTimeout})
	live, err := config.Lookups(startClient(t, config, server), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := policy.Connection{Addr: netip.MustParseAddr("203.0.113.1"), Name: "mail.good.example", Resolve: policy.ResolveOK, DaemonPort: 25}
	answers := live.NewAnswers(t.Context(), c, nil)
	session := p.NewSession(c, answers)
	session.Helo("mail.good.example", policy.TLS{})
	before := runtime.NumGoroutine()
	for i := range 500 {
		session.Mail(policy.Auth{}, policy.Mail{From: fmt.Sprintf("a@n%d.example", i)})
		session.Abort()
		answers.EndMessage()
	}
	testkit.Eventually(t, "after 500 messages as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before+20 })
}
