package integration_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"milterd/integration/harness"
)

// startDoors runs the scene doors, with more for its configuration.
func startDoors(t *testing.T, config string) *harness.Env {
	t.Helper()
	_, options := readScene(t, "doors", "doors")
	options.Config += config
	return start(t, options)
}

// dialFrom connects a client from an address to a port of the server and reads the
// greeting.
func dialFrom(t *testing.T, from, port string) *client {
	t.Helper()
	conn, err := harness.Dial(from, net.JoinHostPort(harness.ServerAddr4, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t, conn}
}

// relay tries to relay from an address and returns the reply to RCPT.
func relay(t *testing.T, from string) string {
	t.Helper()
	c := dialFrom(t, from, "25")
	c.expect("220")
	c.say("EHLO laptop.lan", "250")
	c.say("MAIL FROM:<a@good.example>", "250")
	reply := c.say("RCPT TO:<x@other.example>", "")
	c.say("QUIT", "221")
	return reply
}

// mailbox is the mail host of other.example, which keeps what it gets.
type mailbox struct {
	mu       sync.Mutex
	messages []string
}

func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return m, nil }
func (m *mailbox) Mail(string, *smtp.MailOptions) error        { return nil }
func (m *mailbox) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (m *mailbox) Reset()                                      {}
func (m *mailbox) Logout() error                               { return nil }
func (m *mailbox) taken() []string                             { m.mu.Lock(); defer m.mu.Unlock(); return slices.Clone(m.messages) }
func (m *mailbox) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = append(m.messages, string(text))
	return err
}

// startMailbox starts the mail host.
func startMailbox(t *testing.T) *mailbox {
	t.Helper()
	m := new(mailbox)
	server := smtp.NewServer(m)
	server.Domain = "other.example"
	ln, err := net.Listen("tcp", "198.51.100.80:25")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			t.Error(err)
		}
	})
	return m
}

// TestADeliveredMessageHasNoTraceOfItsClient lets sendmail deliver to the next mail
// host, and looks at every byte that this one gets.
func TestADeliveredMessageHasNoTraceOfItsClient(t *testing.T) {
	startDoors(t, "")
	next := startMailbox(t)
	c := dialFrom(t, "192.0.2.20", "587")
	banner := c.expect("220")
	if version := regexp.MustCompile(`\d+\.\d+\.\d+|(?i)sendmail`).FindString(strings.TrimPrefix(banner, "220 "+harness.Hostname)); version != "" {
		t.Errorf("the greeting shows %q: %s", version, banner)
	}
	c.say("EHLO VAIO-QX77.lan", "250")
	if reply, err := c.conn.Auth("PLAIN", "shin", "secret"); err != nil || reply.Code != 235 {
		t.Fatal(reply, err)
	}
	c.say("MAIL FROM:<shin@example.test>", "250")
	c.say("RCPT TO:<x@other.example>", "250")
	c.say("DATA", "354")
	message := strings.Split(`Received: from VAIO-QX77 (laptop-9.lan [192.168.0.77])
	by inner.lan (8.11.1/8.11.2) with SMTP id x123
	for <x@other.example>; Sun, 22 Nov 2026 10:00:00 +0100
Received: from unknown (HELO VAIO-QX77) (shin@192.168.0.77)
  by inner.lan with SMTP; 22 Nov 2026 08:59:59 -0000
Received: (qmail 4711 invoked by uid 1000); 22 Nov 2026 08:59:58 -0000
From: shin@example.test
To: x@other.example
Subject: out
X-Mailer: Mail 2.1 (WinXP)
Date: Sun, 22 Nov 2026 10:00:00 +0100
Message-Id: <1@example.test>

Hello
`, "\n")
	for _, line := range message {
		if err := c.conn.Send(line); err != nil {
			t.Fatal(err)
		}
	}
	c.say(".", "250")
	c.say("QUIT", "221")

	if out, err := exec.Command("/usr/sbin/sendmail", "-q").CombinedOutput(); err != nil {
		t.Fatalf("queue run: %v\n%s", err, out)
	}
	if err := harness.Poll(30*time.Second, "the mail to arrive", func() (bool, error) { return len(next.taken()) == 1, nil }); err != nil {
		t.Fatal(err)
	}
	got := next.taken()[0]
	head, body, _ := strings.Cut(strings.ReplaceAll(got, "\r\n", "\n"), "\n\n")
	for _, private := range []string{"VAIO", "laptop", "line20", "192.0.2.20", "192.168", "shin@192", "8.1", "qmail", "uid", "WinXP", "authenticated", "PLAIN"} {
		if strings.Contains(strings.ToLower(got), strings.ToLower(private)) {
			t.Errorf("%q is in the message", private)
		}
	}
	var names []string
	for line := range strings.Lines(head) {
		if name, _, ok := strings.Cut(line, ":"); ok && !strings.ContainsAny(line[:1], " \t") {
			names = append(names, name)
		}
	}
	if want := strings.Fields("Received Received Received Received From To Subject X-Mailer Date Message-Id"); !slices.Equal(names, want) {
		t.Errorf("fields %v, expected %v", names, want)
	}
	if body != "Hello\n\n" && body != "Hello\n" {
		t.Errorf("body %q", body)
	}
	t.Logf("the header that was delivered:\n%s", head)
}

func TestARelayEntryTakesEffectWhenTheTextIsSaved(t *testing.T) {
	env := startDoors(t, "")
	_, options := readScene(t, "doors", "doors")
	const from, taken = "203.0.113.8", "250"
	if reply := relay(t, from); !strings.HasPrefix(reply, "550 5.7.1") {
		t.Fatalf("before: %s", reply)
	}
	for _, step := range []struct{ name, entries, want string }{
		{"added", "Connect:203.0.113.8\tRELAY\n", taken},
		{"removed", "", "550 5.7.1"},
		{"added as a network by length", "Connect:203.0.113.0/28\tRELAY\n", taken},
		{"outranked by an address", "Connect:203.0.113.0/28\tRELAY\nConnect:203.0.113.8\tREJECT\n", "550 5.7.1"},
	} {
		begun := time.Now()
		if err := env.WriteFile("access", options.Files["access"]+step.entries); err != nil {
			t.Fatal(err)
		}
		err := harness.Poll(20*time.Second, step.want, func() (bool, error) { return strings.HasPrefix(relay(t, from), step.want), nil })
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		t.Logf("%s: in force after %v", step.name, time.Since(begun).Round(time.Millisecond))
	}
}

// TestBothDoorsDown: sendmail puts everybody off, those who may relay as well, and
// works again without being touched.
func TestBothDoorsDown(t *testing.T) {
	env := startDoors(t, "")
	const relaying = "198.51.100.33"
	if reply := relay(t, relaying); !strings.HasPrefix(reply, "250") {
		t.Fatal(reply)
	}
	open := dialFrom(t, relaying, "25")
	open.expect("220")
	open.say("EHLO office.good.example", "250")
	open.say("MAIL FROM:<a@good.example>", "250")
	if err := env.Milterd.Kill(); err != nil {
		t.Fatal(err)
	}
	open.say("RCPT TO:<x@other.example>", "451")
	for _, from := range []string{relaying, goodClient, "203.0.113.8"} {
		c := dialFrom(t, from, "25")
		greeting := c.expect("")
		if strings.HasPrefix(greeting, "4") {
			continue // put off at the greeting
		}
		c.say("EHLO mx.good.example", "")
		if reply := c.say("MAIL FROM:<a@good.example>", ""); !strings.HasPrefix(reply, "4") {
			t.Errorf("%s: MAIL gets %q", from, reply)
			for _, to := range []string{"x@other.example", "shin@example.test"} {
				t.Errorf("%s: RCPT %s gets %q", from, to, c.say("RCPT TO:<"+to+">", ""))
			}
		}
	}
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
	if reply := relay(t, relaying); !strings.HasPrefix(reply, "250") {
		t.Errorf("after the start: %s", reply)
	}
	if reply := relay(t, "203.0.113.8"); !strings.HasPrefix(reply, "550") {
		t.Errorf("a stranger after the start: %s", reply)
	}
}

// TestSendmailsOwnLimitsComeFromTheTextFile: ClientRate: and ClientConn: are
// sendmail's to keep, and milterd's to tell.
func TestSendmailsOwnLimitsComeFromTheTextFile(t *testing.T) {
	startDoors(t, "")
	first := dialFrom(t, "192.0.2.12", "25")
	first.expect("220")
	dialFrom(t, "192.0.2.12", "25").expect("421 4.3.2 Too many open connections")

	rated := dialFrom(t, "192.0.2.11", "25")
	rated.expect("220")
	rated.say("QUIT", "221")
	dialFrom(t, "192.0.2.11", "25").expect("421 4.3.2 Connection rate limit exceeded")

	// Others have neither limit.
	for range 3 {
		dialFrom(t, "192.0.2.20", "25").expect("220")
	}
}

// TestExplainShowsTheKeysThatSendmailAsksFor compares the keys that the real sendmail
// asks at the map door with those of -check -explain for the same session.
func TestExplainShowsTheKeysThatSendmailAsksFor(t *testing.T) {
	env := startDoors(t, "\nlog: {level: debug}\n")
	c := dialFrom(t, "192.0.2.20", "25")
	c.expect("220")
	c.say("EHLO line20.access.example", "250")
	mark := env.Milterd.Log.Len()
	c.say("MAIL FROM:<a@sub.good.example>", "250")
	// milterd's answer to the question about this one ends the checks: no key is asked.
	c.say("RCPT TO:<x@other.example>", "550 5.7.1")
	if keys := lookups(env, mark); len(keys) > 0 {
		t.Errorf("for a recipient that is refused sendmail asks %q", keys)
	}
	c.say("RCPT TO:<shin@example.test>", "250")
	c.say("QUIT", "221")

	session := filepath.Join(t.TempDir(), "session.yaml")
	writeFile(t, session, `id: asked
connect: {addr: 192.0.2.20, name: line20.access.example, ptr: line20.access.example, resolve: OK, daemon: MTA, daemon_port: 25}
messages:
  - mail: {from: a@sub.good.example}
    rcpt: [{to: shin@example.test, mailer: local}]
`)
	out, err := exec.Command(world.Binary, "-config", harness.ConfigFile, "-check", "-json", session).Output()
	if err != nil {
		t.Fatal(err)
	}
	explained := explainedKeys(t, string(out))
	if len(explained) < 25 {
		t.Fatalf("only %d keys are explained", len(explained))
	}
	// A search for the client ends at its first key, by milterd's answer.
	client := slices.IndexFunc(explained, func(key string) bool { return strings.HasPrefix(key, "connect:") })
	want := append(explained[:client:client], "connect:line20.access.example", "connect:192.0.2.20")
	// The log is written behind the answers.
	err = harness.Poll(10*time.Second, "the look-ups in the log", func() (bool, error) { return len(lookups(env, mark)) >= len(want), nil })
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, lookups(env, mark)); diff != "" {
		t.Errorf("(-explained +asked):\n%s", diff)
	}
}

// lookups are the keys that sendmail has asked for, those with the tags that
// milterd's checks look up, and those without a tag. The log shows a separator of the
// question as ?, and has the queue id and the client's address behind the tag.
func lookups(env *harness.Env, mark int) []string {
	var keys []string
	for _, line := range env.Milterd.Log.FindAll(mark, `msg="map look-up" map=access`) {
		_, rest, _ := strings.Cut(line, " key=")
		key, _, _ := strings.Cut(rest, " ")
		key = strings.Trim(key, `"`)
		if parts := strings.Split(key, "?"); len(parts) > 1 {
			key = strings.ToLower(parts[0]) + ":" + parts[len(parts)-1]
		}
		tag, _, tagged := strings.Cut(key, ":")
		if !tagged || slices.Contains([]string{"connect", "from", "to", "spam", "ipv6"}, tag) {
			keys = append(keys, key)
		}
	}
	return keys
}

// explainedKeys are the keys of all traces, but for networks by prefix length, which
// are milterd's own.
func explainedKeys(t *testing.T, out string) []string {
	t.Helper()
	var keys []string
	for line := range strings.Lines(out) {
		var v struct {
			Trace []struct{ Keys []struct{ Key string } }
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		for _, step := range v.Trace {
			for _, k := range step.Keys {
				if !strings.Contains(k.Key, "/") {
					keys = append(keys, k.Key)
				}
			}
		}
	}
	return keys
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
