package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRepliesTellOfTheirOwnCommand: what is looked up once a connection or message is
// told to each command in its own words.
func TestRepliesTellOfTheirOwnCommand(t *testing.T) {
	p := fixture(t, "Connect:203.0.113.66 REJECT\nFrom:bad@good.example REJECT\n")
	p.Checks.Client.Reject = reply(t, "550 5.7.1 client {sender} {recipient} {helo}")
	p.Checks.Sender.Reject = reply(t, "550 5.7.1 sender {recipient}")
	s := p.NewSession(client("203.0.113.66", "mail.good.example"), nil)
	say := func(helo, from, to string) string {
		s.Helo(helo, TLS{})
		s.Mail(Auth{}, Mail{From: from})
		return s.Rcpt(Recipient{To: to, Mailer: "local"}).Reply.Text
	}
	for _, c := range [][4]string{
		{"one", "a@good.example", "x@example.test", "client a@good.example x@example.test one"},
		{"two", "b@good.example", "y@example.test", "client b@good.example y@example.test two"},
	} {
		if got := say(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("reply %q, expected %q", got, c[3])
		}
	}
	s.Mail(Auth{}, Mail{From: "bad@good.example"})
	for _, to := range []string{"x@example.test", "y@example.test"} {
		if got, want := s.Rcpt(Recipient{To: to, Mailer: "local"}).Reply.Text, "sender "+to; got != want {
			t.Errorf("reply %q, expected %q", got, want)
		}
	}
}

// TestATraceDoesNotDependOnWhatCameBefore: a message that is replayed alone has the
// trace it had live, as the third of its connection.
func TestATraceDoesNotDependOnWhatCameBefore(t *testing.T) {
	p := fixture(t, table)
	conn := client("203.0.113.66", "FAIL")
	decideOn := func(s *Session) Verdict {
		s.Mail(Auth{}, Mail{From: "a@good.example"})
		return s.Rcpt(Recipient{To: "x@example.test", Mailer: "local"})
	}
	s := p.NewSession(conn, nil)
	first := decideOn(s)
	decideOn(s)
	if diff := cmp.Diff(first, decideOn(s)); diff != "" {
		t.Errorf("first message and third (-first +third):\n%s", diff)
	}
	if diff := cmp.Diff(first, decideOn(p.NewSession(conn, nil))); diff != "" {
		t.Errorf("in a connection of its own:\n%s", diff)
	}
}
