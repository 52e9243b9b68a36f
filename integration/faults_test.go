package integration_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/integration/harness"
)

// startStandard runs the standard scene with the DNS of all its dialogues.
func startStandard(t *testing.T) *harness.Env {
	t.Helper()
	_, options := readScene(t, "standard", "")
	return start(t, options)
}

// goodClient is a client that milterd and sendmail have nothing against.
const goodClient = "203.0.113.5"

// putOff is what sendmail tells a client while its filter is out of reach
// (F=T).
const putOff = "451 4.3.2 Please try again later"

// client is an SMTP client whose replies must begin as expected.
type client struct {
	t    *testing.T
	conn *harness.Conn
}

// dial connects the good client and says EHLO.
func dial(t *testing.T) *client {
	t.Helper()
	conn, err := harness.Dial(goodClient, harness.ServerAddr4+":25")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t, conn}
	c.expect("220")
	c.say("EHLO mx.good.example", "250")
	return c
}

func (c *client) expect(want string) string {
	c.t.Helper()
	reply, err := c.conn.ReadReply()
	if err != nil {
		c.t.Fatal(err)
	}
	if !strings.HasPrefix(reply.First(), want) {
		c.t.Fatalf("got %q, want %s", reply.First(), want)
	}
	return reply.First()
}

// say sends a line and returns the first line of the reply.
func (c *client) say(line, want string) string {
	c.t.Helper()
	if err := c.conn.Send(line); err != nil {
		c.t.Fatal(err)
	}
	return c.expect(want)
}

// envelope goes as far as the recipient.
func (c *client) envelope() {
	c.t.Helper()
	c.say("MAIL FROM:<a@good.example>", "250")
	c.say("RCPT TO:<shin@example.test>", "250")
}

// content sends a message under a subject.
func (c *client) content(subject, want string) string {
	c.t.Helper()
	c.say("DATA", "354")
	for _, line := range []string{"Subject: " + subject, "", "Hello"} {
		if err := c.conn.Send(line); err != nil {
			c.t.Fatal(err)
		}
	}
	return c.say(".", want)
}

// subjects are those of the messages in the queue.
func subjects(t *testing.T, env *harness.Env) []string {
	t.Helper()
	files, err := env.Queue()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		_, rest, _ := strings.Cut(f.Text, "Subject: ")
		subject, _, _ := strings.Cut(rest, "\n")
		found = append(found, subject)
	}
	return found
}

// wantQueue compares the queue with the one message that was taken.
func wantQueue(t *testing.T, env *harness.Env, want string) {
	t.Helper()
	if got := fmt.Sprint(subjects(t, env)); got != "["+want+"]" {
		t.Errorf("queue: got %s, want [%s]", got, want)
	}
}

func TestKilledInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		name string
		// before is what the client says before milterd dies, after what it says
		// then; the last reply is the one to look at.
		before func(*client)
		after  func(*client) string
	}{
		{
			"between messages, MAIL is put off",
			func(*client) {},
			func(c *client) string { return c.say("MAIL FROM:<a@good.example>", "4") },
		},
		{
			"after MAIL, the recipient is put off",
			func(c *client) { c.say("MAIL FROM:<a@good.example>", "250") },
			func(c *client) string { return c.say("RCPT TO:<shin@example.test>", "4") },
		},
		{
			"after RCPT, the message is put off",
			(*client).envelope,
			func(c *client) string { return c.content("lost", "4") },
		},
		{
			"in the middle of DATA, the message is put off",
			func(c *client) {
				c.envelope()
				c.say("DATA", "354")
			},
			func(c *client) string { return c.say("Subject: lost\r\n\r\nHello\r\n.", "4") },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := startStandard(t)
			victim := dial(t)
			c.before(victim)
			if err := env.Milterd.Kill(); err != nil {
				t.Fatal(err)
			}
			if reply := c.after(victim); reply != putOff {
				t.Errorf("got %q, want %q", reply, putOff)
			}
			// While it is dead, nobody gets in unfiltered.
			dial(t).say("MAIL FROM:<a@good.example>", putOff)

			if err := env.Milterd.Start(); err != nil {
				t.Fatal(err)
			}
			again := dial(t)
			again.envelope()
			again.content("found", "250")
			// What was answered 250 is there, what was not is not.
			wantQueue(t, env, "found")
		})
	}
}

func TestShutdownFinishesTheMessage(t *testing.T) {
	env := startStandard(t)
	busy := dial(t)
	busy.envelope()
	mark := env.Milterd.Log.Len()
	if err := env.Milterd.Terminate(); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Milterd.Log.Wait(frameTimeout, mark, "shutting down"); err != nil {
		t.Fatal(err)
	}
	// The message that had begun gets its verdict; a new client is put off.
	dial(t).say("MAIL FROM:<a@good.example>", putOff)
	busy.say("RCPT TO:<gone@example.test>", "550 5.2.1")
	busy.content("finished", "250")
	<-env.Milterd.Ended()
	if code := env.Milterd.ExitCode(); code != 0 {
		t.Errorf("exit status: got %d, want 0", code)
	}
	busy.say("MAIL FROM:<a@good.example>", putOff)
	wantQueue(t, env, "finished")

	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
	dial(t).envelope()
}

// negotiation is what an MTA that can do everything begins with.
const negotiation = "\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff"

// TestHostileFrames sends what would end a process that trusts its peer, to the
// real daemon, and then lets real mail through.
func TestHostileFrames(t *testing.T) {
	env := startStandard(t)
	pid := env.Milterd.PID()
	cases := []struct{ name, bytes string }{
		{"a frame of length zero", "\x00\x00\x00\x00"},
		{"a frame of length zero after the negotiation", negotiation + "\x00\x00\x00\x00"},
		{"a frame that claims four gigabytes", "\xff\xff\xff\xffO"},
		{"a frame that claims half a gigabyte, after the negotiation", negotiation + "\x20\x00\x00\x00C"},
		{"a negotiation cut short", "\x00\x00\x00\x05O\x00\x00\x00\x06"},
		{"a connection without anything", negotiation + "\x00\x00\x00\x01C"},
		{"a connection without a NUL", negotiation + "\x00\x00\x00\x05Chost"},
		{"a connection without a family", negotiation + "\x00\x00\x00\x06Chost\x00"},
		{"a connection without a port", negotiation + "\x00\x00\x00\x07Chost\x004"},
		{"a connection of a family unheard of", negotiation + "\x00\x00\x00\x0cChost\x00Zabcd\x00"},
		{"a sender without a NUL", negotiation + "\x00\x00\x00\x05M<a@b"},
		{"a sender that is nothing", negotiation + "\x00\x00\x00\x01M"},
		{"a recipient without a NUL", negotiation + "\x00\x00\x00\x05R<a@b"},
		{"macros for no command", negotiation + "\x00\x00\x00\x01D"},
		{"a macro without a value", negotiation + "\x00\x00\x00\x06DM{i}\x00"},
		{"a header without a value", negotiation + "\x00\x00\x00\x09LSubject\x00"},
		{"a command unheard of", negotiation + "\x00\x00\x00\x01\xff"},
		{"a second negotiation", negotiation + negotiation},
		{"an SMTP client at the wrong door", "EHLO mx.good.example\r\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mark := env.Milterd.Log.Len()
			if err := sendHostile(c.bytes); err != nil {
				t.Fatal(err)
			}
			if _, err := env.Milterd.Log.Wait(frameTimeout, mark, "milter connection closed"); err != nil {
				t.Error(err)
			}
			if !env.Milterd.Running() {
				t.Fatal("milterd is dead")
			}
		})
	}
	d, err := harness.ReadDialogue(filepath.Join("dialogues", "good-mx.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := env.Play(d, nil); err != nil {
		t.Error(err)
	}
	if env.Milterd.PID() != pid {
		t.Error("milterd is another process")
	}
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Milterd.Log.Wait(frameTimeout, 0, "msg=stopped", fmt.Sprintf("malformed=%d ", len(cases)), "panics=0"); err != nil {
		t.Error(err)
	}
}

// sendHostile sends bytes and waits until milterd hangs up.
func sendHostile(bytes string) error {
	conn, err := net.Dial("unix", harness.Socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(frameTimeout)); err != nil {
		return err
	}
	// milterd may hang up in the middle of it.
	_, _ = io.WriteString(conn, bytes)
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("milterd did not hang up")
	}
	return nil
}
