package record

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/access"
	"milterd/policy/replay"
)

// childDir tells the test binary that it is the process that gets killed.
const childDir = "MILTERD_RECORD_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		recordForEver(dir)
	}
	goleak.VerifyTestMain(m)
}

const table = `Connect:198.51.100.7 REJECT
Connect:203.0.113.66 RELAY
Connect:203.0.113.67 OK
Connect:good.example OK
From:spam@bad.example REJECT
From:lost@bad.example DISCARD
From:odd@bad.example QUARANTINE:odd
From:ok@good.example OK
To:gone@example.test ERROR:5.1.1:550 gone
To:held@example.test QUARANTINE:held
To:drop@example.test DISCARD
To:friend@example.test FRIEND
To:relayed.example RELAY
`

func reply(t testing.TB, s string) policy.Reply {
	t.Helper()
	r, err := policy.ParseReply(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fixture is a policy for example.test.
func fixture(t testing.TB, features access.Features) *policy.Policy {
	t.Helper()
	// Not every line means something with all features.
	parsed, _, err := access.Parse("access", strings.NewReader(table), features)
	if err != nil {
		t.Fatal(err)
	}
	rejecting := policy.TableCheck{Reject: reply(t, "550 5.7.1 Access denied to {sender}")}
	refuse := func(s string) policy.Reaction {
		return policy.Reaction{Action: policy.ActionReject, Reply: reply(t, s)}
	}
	exempt := policy.Exempt{Authenticated: true, Relay: true, ConnectOK: true, Friend: true, Postmaster: true}
	return &policy.Policy{
		Access: parsed, Features: features, Hostname: "mx.example.test", Domain: "example.test", OwnDomains: policy.NewClass("example.test"),
		Local: policy.NewClass("example.test", "mx.example.test"), Relay: policy.NewClass("192.0.2"),
		Checks: policy.Checks{
			Port:      policy.PortCheck{AuthRequired: reply(t, "530 5.7.0 Authentication required"), AuthRefused: reply(t, "503 5.5.1 not here"), TLSRequired: reply(t, "530 5.7.0 TLS")},
			Recipient: rejecting, Sender: rejecting, Client: policy.TableCheck{Reject: reply(t, "550 5.7.1 Access denied to {addr}")},
			Relay: policy.RelayCheck{
				Deny: reply(t, "550 5.7.1 <{recipient}>: Relaying denied"), DenyAuth: reply(t, "550 5.7.1 Relaying denied. Proper authentication required."),
				Temp: reply(t, "450 4.4.0 temp"), Fail: reply(t, "550 5.7.1 fail {name}"), Forged: reply(t, "550 5.7.1 forged {ptr}"), GrantTemp: reply(t, "451 4.7.1 grant"),
				TrustAuthMech: []string{"PLAIN"}, LocalMailers: []string{"local"},
			},
			SenderDomain: policy.SenderDomainCheck{Mode: policy.ModeOff},
			RDNS:         policy.RDNSCheck{Fail: refuse("450 4.7.25 no name for {addr}"), Forged: refuse("450 4.7.25 {helo} forged"), Temp: refuse("450 4.7.25 temp"), Exempt: exempt},
		},
		Ports: map[string]policy.Port{"587": {Auth: policy.AuthRequire}, "25": {Auth: policy.AuthRefuse}},
	}
}

// client is a connection from an address, whose name is confirmed.
func client(addr string) policy.Connection {
	return policy.Connection{
		Addr: netip.MustParseAddr(addr), Port: 40112, Name: "mail.client.example", PTR: "mail.client.example",
		Resolve: policy.ResolveOK, DaemonName: "MTA", DaemonPort: 2525, DaemonAddr: "203.0.113.25",
	}
}

// open begins to record into a directory of the test's.
func open(t testing.TB, config Config) *Recorder {
	t.Helper()
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	r, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, r) })
	return r
}

// finish ends a recording, and waits for it.
func finish(t testing.TB, r *Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// begin records a connection that the policy judges.
func begin(r *Recorder, p *policy.Policy, facts policy.Connection, answers policy.Answers) (*conn, policy.Evaluator) {
	if answers == nil {
		answers = policy.NoAnswers{}
	}
	e := r.NewSession(p, facts, answers)
	c, _ := e.(*conn) // nil if it is not in the sample
	return c, e
}

// one records a connection with one message.
func one(r *Recorder, p *policy.Policy, from string, to ...string) {
	_, evaluator := begin(r, p, client("203.0.113.8"), nil)
	evaluator.Helo("client.example", policy.TLS{})
	evaluator.Mail(policy.Auth{}, policy.Mail{From: from})
	for _, to := range to {
		evaluator.Rcpt(policy.Recipient{To: to, Mailer: "local"})
	}
	evaluator.EndOfMessage(nil)
	evaluator.Abort()
	evaluator.Close()
}

// names lists a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// content is what the files of a recording hold, uncompressed, the oldest first.
func content(t testing.TB, dir string) []byte {
	t.Helper()
	var all []byte
	for _, name := range names(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var from io.Reader = bytes.NewReader(data)
		switch filepath.Ext(name) {
		case ".gz":
			from, err = gzip.NewReader(from)
		case ".zst":
			from, err = unpacked(from)
		}
		if err != nil {
			t.Fatal(name, err)
		}
		data, err = io.ReadAll(from)
		if err != nil {
			t.Fatal(name, err)
		}
		all = append(all, data...)
	}
	return all
}

func gunzip(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	from, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = io.ReadAll(from); err != nil {
		t.Fatal(err)
	}
	return data
}

func unpacked(from io.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// sessions reads a recording back.
func sessions(t testing.TB, dir string) []*replay.Session {
	t.Helper()
	return parse(t, content(t, dir))
}

func parse(t testing.TB, data []byte) []*replay.Session {
	t.Helper()
	var read []*replay.Session
	if len(data) == 0 {
		return nil
	}
	if err := replay.Read("recording.jsonl", bytes.NewReader(data), func(s *replay.Session) {
		kept := *s
		read = append(read, &kept)
	}); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(read))
	for i, s := range read {
		ids[i] = s.ID
	}
	slices.Sort(ids)
	if len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("an id stands for two sessions: %q", ids)
	}
	return read
}

func newClock() *testkit.Clock {
	return testkit.NewClock(time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC))
}

// differences replays sessions and tells what is not as expected.
func differences(p *policy.Policy, read []*replay.Session, answers func(policy.Connection) policy.Answers) []string {
	var found []string
	for _, s := range read {
		outcome := replay.Run(p, s, answers)
		for _, r := range outcome.Results {
			for _, d := range r.Differences {
				found = append(found, fmt.Sprintf("%s: %s, expected %s: %s", s.ID, r.Verdict, d.Place, d.Want))
			}
		}
		for _, x := range outcome.Missing {
			found = append(found, fmt.Sprintf("%s: no verdict on %s <%s>", s.ID, x.Stage, x.Arg))
		}
	}
	return found
}
