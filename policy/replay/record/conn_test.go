package record

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
	"milterd/policy/access"
	"milterd/policy/replay"
)

// told is what a connection said, and what was recorded of it: one line an object,
// "ID MESSAGES: STAGE ACTION, …".
func told(t *testing.T, r *Recorder) []string {
	t.Helper()
	var lines []string
	for _, s := range parse(t, written(t, r)) {
		var x []string
		for _, e := range s.Expect {
			x = append(x, e.Stage+" "+e.Action)
		}
		_, suffix, _ := strings.Cut(s.ID, "-")
		lines = append(lines, fmt.Sprintf("%s %v%d: %s", suffix, append(s.Grants, s.HELO, s.Auth.Authen), len(s.Messages), strings.Join(x, ", ")))
	}
	return lines
}

func TestAConnectionBecomesAsManySessionsAsItNeeds(t *testing.T) {
	mail := func(e policy.Evaluator, from string) policy.Verdict {
		return e.Mail(policy.Auth{}, policy.Mail{From: from})
	}
	rcpt := func(e policy.Evaluator, to string) policy.Verdict {
		return e.Rcpt(policy.Recipient{To: to, Mailer: "esmtp"})
	}
	whole := func(e policy.Evaluator, auth policy.Auth) {
		e.Mail(auth, policy.Mail{From: "a@good.example"})
		rcpt(e, "x@example.test")
		e.EndOfMessage(nil)
	}
	const all = "mail accept, rcpt accept, eom accept"
	none, held, temp := policy.GrantNone, policy.GrantHeld, policy.GrantTemporary
	for _, c := range []struct {
		name   string
		grants []policy.GrantState
		say    func(e policy.Evaluator)
		want   []string
	}{
		{"no message", nil, func(e policy.Evaluator) {}, nil},
		{"one message", nil, func(e policy.Evaluator) { whole(e, policy.Auth{}) }, []string{"000001 [helo ]1: " + all}},
		{"two messages", nil, func(e policy.Evaluator) { whole(e, policy.Auth{}); e.Abort(); whole(e, policy.Auth{}) }, []string{"000001 [helo ]2: " + all + ", " + all}},
		{"another HELO name", nil, func(e policy.Evaluator) {
			whole(e, policy.Auth{})
			e.Helo("other", policy.TLS{})
			whole(e, policy.Auth{})
		}, []string{"000001 [helo ]1: " + all, "000001-0002 [other ]1: " + all}},
		{"the same HELO name again", nil, func(e policy.Evaluator) {
			whole(e, policy.Auth{})
			e.Helo("helo", policy.TLS{})
			whole(e, policy.Auth{})
		}, []string{"000001 [helo ]2: " + all + ", " + all}},
		{"STARTTLS between messages", nil, func(e policy.Evaluator) {
			whole(e, policy.Auth{})
			e.Helo("helo", policy.TLS{Version: "TLSv1.3"})
			whole(e, policy.Auth{})
		}, []string{"000001 [helo ]1: " + all, "000001-0002 [helo ]1: " + all}},
		{"AUTH between messages", nil, func(e policy.Evaluator) {
			whole(e, policy.Auth{})
			whole(e, policy.Auth{Type: "LOGIN", Authen: "shin"})
		}, []string{"000001 [helo ]1: " + all, "000001-0002 [helo shin]1: " + all}},
		{"a message that is given up", nil, func(e policy.Evaluator) {
			mail(e, "a@good.example")
			rcpt(e, "x@example.test")
			e.Abort()
			whole(e, policy.Auth{})
		}, []string{"000001 [helo ]1: mail accept, rcpt accept", "000001-0002 [helo ]1: " + all}},
		{"a message that is given up before it has a recipient", nil, func(e policy.Evaluator) {
			mail(e, "a@good.example")
			e.Abort()
			whole(e, policy.Auth{})
		}, []string{"000001 [helo ]2: mail accept, " + all}},
		{"a message that HELO ends", nil, func(e policy.Evaluator) {
			mail(e, "a@good.example")
			e.Helo("helo", policy.TLS{})
			rcpt(e, "x@example.test")
		}, []string{"000001 [helo ]1: mail accept"}},
		{"a discarded message", nil, func(e policy.Evaluator) {
			mail(e, "a@good.example")
			rcpt(e, "x@example.test")
			rcpt(e, "drop@example.test")
			rcpt(e, "x@example.test")
			e.EndOfMessage(nil)
			whole(e, policy.Auth{})
		}, []string{"000001 [helo ]2: mail accept, rcpt accept, rcpt discard, " + all}},
		{"an end without a recipient that was taken", nil, func(e policy.Evaluator) {
			mail(e, "a@good.example")
			rcpt(e, "gone@example.test")
			e.EndOfMessage(nil)
		}, []string{"000001 [helo ]1: mail accept, rcpt reject"}},
		{"a grant", []policy.GrantState{held}, func(e policy.Evaluator) {
			mail(e, "a@good.example")
			rcpt(e, "x@other.example")
			rcpt(e, "y@other.example")
			e.EndOfMessage(nil)
		}, []string{"000001 [203.0.113.8 helo ]1: mail accept, rcpt accept, rcpt accept, eom accept"}},
		{"a grant that nobody can be asked about", []policy.GrantState{temp}, func(e policy.Evaluator) {
			mail(e, "a@good.example")
			rcpt(e, "x@other.example")
		}, []string{"000001 [203.0.113.8 TEMP helo ]1: mail accept, rcpt tempfail"}},
		{"a grant that comes between messages", []policy.GrantState{none, held}, func(e policy.Evaluator) {
			mail(e, "a@good.example")
			rcpt(e, "x@other.example")
			e.Abort()
			mail(e, "a@good.example")
			rcpt(e, "x@other.example")
		}, []string{"000001 [helo ]1: mail accept, rcpt reject", "000001-0002 [203.0.113.8 helo ]1: mail accept, rcpt accept"}},
		{"a grant that comes in the middle of a message", []policy.GrantState{none, held}, func(e policy.Evaluator) {
			mail(e, "a@good.example")
			rcpt(e, "x@example.test")
			rcpt(e, "x@other.example")
			rcpt(e, "x@other.example")
			e.EndOfMessage(nil)
			whole(e, policy.Auth{})
		}, []string{"000001 [helo ]1: mail accept, rcpt accept, rcpt reject", "000001-0001-0003 [203.0.113.8 helo ]1: rcpt accept", "000001-0002 [203.0.113.8 helo ]1: " + all}},
		{"text that is not UTF-8", nil, func(e policy.Evaluator) {
			whole(e, policy.Auth{})
			mail(e, "\xe9@good.example")
			rcpt(e, "x@example.test")
			e.EndOfMessage(nil)
			whole(e, policy.Auth{})
		}, []string{"000001 [helo ]2: " + all + ", " + all}},
	} {
		p := fixture(t, access.Features{DelayChecks: true, BlocklistRecipients: true})
		r := newRecorder(withDefaults(t, Config{Dir: "/nowhere"}))
		given := policy.Answers(policy.NoAnswers{})
		if c.grants != nil {
			given = &answers{grants: c.grants}
		}
		conn, e := begin(r, p, client("203.0.113.8"), given)
		e.Helo("helo", policy.TLS{})
		c.say(e)
		conn.Close()
		conn.Close()
		if diff := cmp.Diff(c.want, told(t, r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// dnsLines are a recording that is over.
type dnsLines []string

func (l dnsLines) Lines() []string { return l }

func TestAnObjectHoldsWhatThePolicyWasTold(t *testing.T) {
	dir := t.TempDir()
	now := newClock()
	r := open(t, Config{Dir: dir, Headers: []string{"received"}, Now: now.Now})
	facts := client("2001:db8::8")
	p := fixture(t, access.Features{DelayChecks: true})
	conn, e := begin(r, p, facts, nil)
	conn.SetQueueID("4AMH0abc012345")
	conn.SetQueueID("4AMH0abc012346")
	conn.dns = dnsLines{"client.example. 300 IN A 203.0.113.8"}
	e.Helo("<&>\x01", policy.TLS{Version: "TLSv1.3", Cipher: "c", Bits: 256, Verify: "OK", CertSubject: "/CN=s", CertIssuer: "/CN=i"})
	e.Mail(policy.Auth{Type: "LOGIN", Authen: "shin", Author: "who", SSF: 1}, policy.Mail{From: "a@good.example", Args: []string{"SIZE=1"}, Mailer: "esmtp", Host: "h", Addr: "a"})
	e.Rcpt(policy.Recipient{To: "x@example.test", Args: []string{"NOTIFY=NEVER"}, Mailer: "local", Host: "h", Addr: "x"})
	e.EndOfMessage([]policy.HeaderField{{Name: "Received", Value: "from a\n\tby b"}, {Name: "Subject", Value: "hi"}})
	conn.Close()
	finish(t, r)
	want := &replay.Session{
		File: "recording.jsonl", Line: 1,
		ID: "20261122T170000.000000Z-000001-4AMH0abc012345",
		Connect: replay.Connect{
			Addr: "2001:db8::8", Port: 40112, Name: "mail.client.example", PTR: "mail.client.example", Resolve: "OK",
			Daemon: "MTA", DaemonPort: 2525, DaemonAddr: "203.0.113.25",
		},
		HELO: "<&>\x01",
		TLS:  replay.TLS{Version: "TLSv1.3", Cipher: "c", Bits: 256, Verify: "OK", CertSubject: "/CN=s", CertIssuer: "/CN=i"},
		Auth: replay.Auth{Type: "LOGIN", Authen: "shin", Author: "who", SSF: 1},
		Messages: []replay.Message{{
			Mail:    replay.Mail{From: "a@good.example", Args: []string{"SIZE=1"}, Mailer: "esmtp", Host: "h", Addr: "a"},
			Rcpt:    []replay.Rcpt{{To: "x@example.test", Args: []string{"NOTIFY=NEVER"}, Mailer: "local", Host: "h", Addr: "x"}},
			Headers: [][]string{{"Received", "from a\n\tby b"}},
			At:      "2026-11-22T17:00:00.000Z",
		}},
		DNS: []string{"client.example. 300 IN A 203.0.113.8"},
		Expect: []replay.Expect{
			{Stage: "mail", Arg: "a@good.example", Action: "accept"}, {Stage: "rcpt", Arg: "x@example.test", Action: "accept"}, {Stage: "eom", Action: "accept"},
		},
	}
	if diff := cmp.Diff([]*replay.Session{want}, sessions(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHostileConnectionsAreCut(t *testing.T) {
	p := fixture(t, access.Features{DelayChecks: true})
	for _, c := range []struct {
		name string
		say  func(e policy.Evaluator)
		// objects and messages are what is recorded, cut what is counted.
		objects, messages int
		cut               uint64
	}{
		{"a great many messages", func(e policy.Evaluator) {
			for range maxMessages + 1000 {
				e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
				e.Abort()
			}
		}, 0, maxMessages, 1000},
		{"a great many recipients", func(e policy.Evaluator) {
			e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
			for range maxRecipients + 1000 {
				e.Rcpt(policy.Recipient{To: "x@example.test"})
			}
			e.EndOfMessage(nil)
		}, 1, 1, 1},
		{"recipients of great size", func(e policy.Evaluator) {
			e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
			for range 100 {
				e.Rcpt(policy.Recipient{To: strings.Repeat("x", 10_000) + "@example.test"})
			}
		}, 1, 1, 1},
		{"a sender of great size", func(e policy.Evaluator) {
			e.Mail(policy.Auth{}, policy.Mail{From: strings.Repeat("x", 1<<20)})
			e.Rcpt(policy.Recipient{To: "x@example.test"})
		}, 0, 0, 1},
		{"a HELO name of great size", func(e policy.Evaluator) {
			e.Helo(strings.Repeat("x", 1<<20), policy.TLS{})
			e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
		}, 0, 0, 1},
		{"a header of great size", func(e policy.Evaluator) {
			e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
			e.Rcpt(policy.Recipient{To: "x@example.test", Mailer: "local"})
			e.EndOfMessage([]policy.HeaderField{{Name: "Subject", Value: strings.Repeat("x", 1<<20)}})
		}, 1, 1, 1},
		{"control characters only", func(e policy.Evaluator) {
			e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
			for range 25 {
				e.Rcpt(policy.Recipient{To: strings.Repeat("\x01", 10_000)})
			}
		}, 1, 1, 0},
	} {
		for _, redact := range []bool{false, true} {
			r := newRecorder(withDefaults(t, Config{Dir: "/nowhere", AllHeaders: true, Redact: redact, Buffer: 10_000}))
			conn, e := begin(r, p, client("203.0.113.8"), nil)
			e.Helo("helo", policy.TLS{})
			c.say(e)
			conn.Close()
			read := parse(t, written(t, r))
			messages := 0
			for _, s := range read {
				messages += len(s.Messages)
			}
			cut := c.cut
			if redact && strings.Contains(c.name, "header") {
				// It is not stored, so there is nothing to cut.
				cut = 0
			}
			if c.objects > 0 && len(read) != c.objects || messages != c.messages || r.Stats().Cut != cut {
				t.Errorf("%s, redacted %v: %d objects, %d messages, %+v", c.name, redact, len(read), messages, r.Stats())
			}
			if found := differences(p, read, nil); len(found) > 0 {
				t.Errorf("%s, redacted %v: %d differences: %.500q", c.name, redact, len(found), found)
			}
		}
	}
}

func TestHeadersLeaveAsTheyWereRead(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, AllHeaders: true})
	p := fixture(t, access.Features{DelayChecks: true})
	for _, subject := range []string{"hi", "not UTF-8: \xe9"} {
		conn, e := begin(r, p, client("203.0.113.8"), nil)
		e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
		e.Rcpt(policy.Recipient{To: "x@example.test"})
		e.EndOfMessage([]policy.HeaderField{{Name: "Subject", Value: subject}})
		conn.Close()
	}
	finish(t, r)
	read := sessions(t, dir)
	if len(read) != 2 || len(read[0].Messages[0].Headers) != 1 || len(read[1].Messages[0].Headers) != 0 {
		t.Errorf("%v", read)
	}
}

func TestConnectionsAreSampled(t *testing.T) {
	r := newRecorder(withDefaults(t, Config{Dir: "/nowhere", Sample: 0.25, Buffer: 100}))
	for i := range 100 {
		r.random = func() float64 { return float64(i) / 100 }
		one(r, &policy.Policy{}, "a@good.example", "x@example.test")
	}
	if n := len(parse(t, written(t, r))); n != 25 {
		t.Errorf("%d of 100 sessions, want 25", n)
	}
}

func TestWhatIsNotRecordedIsNotWrapped(t *testing.T) {
	r := newRecorder(withDefaults(t, Config{Dir: "/nowhere", Sample: 0.5}))
	r.random = func() float64 { return 0.7 }
	e := r.NewSession(&policy.Policy{}, client("203.0.113.8"), policy.NoAnswers{})
	if _, plain := e.(*policy.Session); !plain {
		t.Errorf("a %T is in between", e)
	}
}

func TestAQueueIDCannotSpoilAnID(t *testing.T) {
	for id, want := range map[string]string{"4AMH0abc012345": "4AMH0abc012345", "": "", "a b": "", "../x": "", strings.Repeat("a", 33): ""} {
		if got := queueWord(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

// panicking is an evaluator that fails.
type panicking struct{ policy.Evaluator }

func (panicking) Rcpt(policy.Recipient) policy.Verdict { panic("a mistake") }

func TestACommandWithoutAVerdictIsNotRecorded(t *testing.T) {
	r := newRecorder(withDefaults(t, Config{Dir: "/nowhere"}))
	facts := client("203.0.113.8")
	p := fixture(t, access.Features{DelayChecks: true})
	conn, e := begin(r, p, facts, nil)
	conn.Evaluator = panicking{conn.Evaluator}
	e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		e.Rcpt(policy.Recipient{To: "x@example.test"})
	}()
	conn.Close()
	if diff := cmp.Diff([]string{"000001 [ ]1: mail accept"}, told(t, r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
