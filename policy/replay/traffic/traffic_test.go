package traffic

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
)

// TestARealLog has a log that a stock sendmail wrote: connections side by side, a
// refused recipient, a forged name, IPv6, AUTH, STARTTLS, pipelining, deliveries, and
// clients that vanish.
func TestARealLog(t *testing.T) {
	log, err := os.ReadFile("testdata/real.log")
	if err != nil {
		t.Fatal(err)
	}
	got, err := importText(t, string(log))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, "testdata/real.txt", got)
}

const (
	// laptop says who it is, and has no PTR record.
	laptop = `> 220 mx.example.test ESMTP Sendmail ready
< EHLO laptop.lan
> 250-mx.example.test Hello [203.0.113.8], pleased to meet you
> 250-AUTH PLAIN LOGIN
> 250 HELP
`
	// message is one that is taken.
	message = `< MAIL FROM:<a@good.example>
> 250 2.1.0 <a@good.example>... Sender ok
< RCPT TO:<x@example.test>
> 250 2.1.5 <x@example.test>... Recipient ok
< DATA
> 354 Enter mail, end with "." on a line by itself
< Subject: hi
< 
< Hello
< .
> 250 2.0.0 abc Message accepted for delivery
`
	// The sessions that they make.
	laptopClient    = " addr=203.0.113.8 name=[203.0.113.8] ptr=[203.0.113.8] resolve= helo=laptop.lan"
	messageSession  = "  mail <a@good.example> []\n  rcpt <x@example.test> []\n  Subject: \"hi\"\n"
	messageExpected = "  expect mail <a@good.example> 250\n  expect rcpt <x@example.test> 250\n  expect eom <> 250\n"
)

func TestConnections(t *testing.T) {
	for _, test := range []struct {
		name, log, want string
	}{
		{"a message is a session", dialogue(7, laptop+message+"< QUIT\n> 221 2.0.0 closing\n"),
			"line-1-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected},
		{"a connection without a message is none", dialogue(7, laptop+"< NOOP\n> 250 ok\n< QUIT\n> 221 2.0.0 closing\n"), ""},
		{"a number that is given out again is another connection",
			dialogue(7, laptop+message+"< QUIT\n> 221 2.0.0 closing\n"+strings.ReplaceAll(laptop, "203.0.113.8", "203.0.113.9")+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected +
				"line-19-pid-7" + strings.ReplaceAll(laptopClient, "203.0.113.8", "203.0.113.9") + " tls= auth=\n" + messageSession + messageExpected},
		{"a process that was killed is followed by another one",
			dialogue(7, laptop+"< MAIL FROM:<gone@good.example>\n"+laptop+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n  note commands whose replies are not in the log: 1\n  mail <gone@good.example> []\n" +
				"line-7-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected},
		{"STARTTLS divides a connection", dialogue(7, laptop+"< MAIL FROM:<a@good.example>\n> 530 5.7.0 Must issue a STARTTLS command first\n< STARTTLS\n> 220 2.0.0 Ready to start TLS\n"+
			strings.Replace(laptop, "> 220 mx.example.test ESMTP Sendmail ready\n", "", 1)+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n  mail <a@good.example> []\n  expect mail <a@good.example> 530 5.7.0 Must issue a STARTTLS command first\n" +
				"line-14-pid-7" + laptopClient + " tls=TLS auth=\n  note TLS was begun, but its version, cipher and certificate are not in the log\n" + messageSession + messageExpected},
		{"AUTH divides a connection", dialogue(7, laptop+"< MAIL FROM:<a@good.example>\n> 530 5.7.0 Authentication required\n< AUTH login\n> 334 VXNlcm5hbWU6\n< c2hpbg==\n> 334 UGFzc3dvcmQ6\n< c2VjcmV0\n> 235 2.0.0 OK Authenticated\n"+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n  mail <a@good.example> []\n  expect mail <a@good.example> 530 5.7.0 Authentication required\n" +
				"line-14-pid-7" + laptopClient + " tls= auth=LOGIN\n  note authenticated with LOGIN, but the log does not say as whom\n" + messageSession + messageExpected},
		{"AUTH that fails changes nothing", dialogue(7, laptop+"< AUTH PLAIN AHNoaW4Ad3Jvbmc=\n> 535 5.7.0 authentication failed\n"+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected},
		{"AUTH that is broken off is no command", dialogue(7, laptop+"< AUTH LOGIN\n> 334 VXNlcm5hbWU6\n< *\n> 501 5.0.0 AUTH aborted\n"+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected},
		{"the end of an AUTH dialogue tells nothing of its mechanism", dialogue(7, laptop+"< c2VjcmV0\n> 235 2.0.0 OK Authenticated\n"+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n  note authenticated, but the log does not say with which mechanism, so the verdicts are those of a client that is not\n" + messageSession + messageExpected},
		{"another HELO name divides a connection", dialogue(7, laptop+message+"< HELO other\n> 250 mx.example.test Hello [203.0.113.8], pleased to meet you\n"+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected +
				"line-19-pid-7" + strings.Replace(laptopClient, "laptop.lan", "other", 1) + " tls= auth=\n" + messageSession + messageExpected},
		{"a HELO that is refused is none", dialogue(7, laptop+"< HELO $!\n> 501 5.0.0 Invalid domain name\n"+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected},
		{"RSET and EHLO begin anew", dialogue(7, laptop+"< MAIL FROM:<b@good.example>\n> 250 2.1.0 ok\n< RSET\n> 250 2.0.0 Reset state\n< RCPT TO:<lost@example.test>\n> 503 5.0.0 Need MAIL before RCPT\n"+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n  mail <b@good.example> []\n" + messageSession + "  expect mail <b@good.example> 250\n" + messageExpected},
		{"commands that come before their replies get these in order", dialogue(7, laptop+`< MAIL FROM:<a@good.example>
< RCPT TO:<gone@example.test>
< RCPT TO:<x@example.test>
< DATA
> 250 2.1.0 <a@good.example>... Sender ok
> 550 5.7.1 <gone@example.test>... Access denied
> 250 2.1.5 <x@example.test>... Recipient ok
> 354 go on
< Subject: hi
< .
> 250 2.0.0 ok
`), "line-1-pid-7" + laptopClient + " tls= auth=\n  mail <a@good.example> []\n  rcpt <gone@example.test> []\n  rcpt <x@example.test> []\n  Subject: \"hi\"\n" +
			"  expect mail <a@good.example> 250\n  expect rcpt <gone@example.test> 550 5.7.1 Access denied\n  expect rcpt <x@example.test> 250\n  expect eom <> 250\n"},
		{"sendmail's own replies and unreadable commands expect nothing", dialogue(7, laptop+`< MAIL FROM:<a@good.example
> 501 5.5.4 Syntax error
< MAIL FROM:<a@good.example> SIZE=1000 BODY=8BITMIME
> 250 2.1.0 <a@good.example>... Sender ok
< MAIL FROM:<b@good.example>
> 503 5.5.0 Sender already specified
< RCPT TO:<nobody@example.test> NOTIFY=NEVER
> 550 5.1.1 <nobody@example.test>... User unknown
< RCPT TO:<x@example.test>
> 452 4.4.5 Insufficient disk space; try again later
`), "line-1-pid-7" + laptopClient + " tls= auth=\n  note not compared, as they are sendmail's own replies: 2 (550 5.1.1)\n  mail <a@good.example> [\"SIZE=1000\" \"BODY=8BITMIME\"]\n  rcpt <nobody@example.test> [\"NOTIFY=NEVER\"]\n  rcpt <x@example.test> []\n  expect mail <a@good.example> 250\n"},
		{"a client that vanishes within a message has sent its header", dialogue(7, laptop+strings.Replace(message, "< .\n> 250 2.0.0 abc Message accepted for delivery\n", "< [EOF]\n", 1)),
			"line-1-pid-7" + laptopClient + " tls= auth=\n  note commands whose replies are not in the log: 1\n" + messageSession + strings.Replace(messageExpected, "  expect eom <> 250\n", "", 1)},
		{"a reply of several lines is the first of them", dialogue(7, laptop+`< MAIL FROM:<a@good.example>
> 550-5.7.1 <a@good.example>... Not today
> 550-5.7.1 nor tomorrow
> 550 5.7.1 ever
< MAIL FROM:<b@good.example>
> 250 2.1.0 ok
`), "line-1-pid-7" + laptopClient + " tls= auth=\n  mail <a@good.example> []\n  mail <b@good.example> []\n  expect mail <a@good.example> 550 5.7.1 Not today\n  expect mail <b@good.example> 250\n"},
		{"the lines of a filter's reply have no process", dialogue(7, laptop+`< MAIL FROM:<a@good.example>
> 550-5.7.1 Not today
550 5.7.1 nor tomorrow
< MAIL FROM:<b@good.example>
> 250 2.1.0 ok
`), "line-1-pid-7" + laptopClient + " tls= auth=\n  mail <a@good.example> []\n  mail <b@good.example> []\n  expect mail <a@good.example> 550 5.7.1 Not today\n  expect mail <b@good.example> 250\n"},
		{"VERB's reports are no replies", dialogue(7, laptop+"< MAIL FROM:<a@good.example>\n> 050 Connecting to local...\n> 250 2.1.0 ok\n"),
			"line-1-pid-7" + laptopClient + " tls= auth=\n  mail <a@good.example> []\n  expect mail <a@good.example> 250\n"},
		{"the text of a message is neither command nor reply", dialogue(7, laptop+`< MAIL FROM:<a@good.example>
> 250 2.1.0 ok
< RCPT TO:<x@example.test>
> 250 2.1.5 ok
< DATA
> 354 go on
< MAIL FROM:<other@good.example>
< .
< RCPT TO:<other@example.test>
< 00007 >>> 550 5.7.1 no
< .
> 250 2.0.0 ok
`), "line-1-pid-7" + laptopClient + " tls= auth=\n  mail <a@good.example> []\n  rcpt <x@example.test> []\n" + messageExpected},
		{"a header is unfolded by nobody", dialogue(7, laptop+strings.Replace(message, "< Subject: hi\n", "< From: a@good.example\n< Received: from a\n< \tby b; now\n< ..Dots : x\n< X-Empty:\n", 1)),
			"line-1-pid-7" + laptopClient + " tls= auth=\n" + strings.Replace(messageSession, "  Subject: \"hi\"\n", "  From: \"a@good.example\"\n  Received: \"from a\\n\\tby b; now\"\n  .Dots: \"x\"\n  X-Empty: \"\"\n", 1) + messageExpected},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := importText(t, test.log)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("sessions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogsThatBeginInTheMiddle(t *testing.T) {
	hello := strings.Replace(laptop, "> 220 mx.example.test ESMTP Sendmail ready\n", "", 1)
	const missing = "  note the connection's beginning is missing, so TLS and AUTH may have been there before\n"
	for _, test := range []struct {
		name, log, want, wantErr string
	}{
		{"a client that is not told of cannot be decided on", dialogue(7, message) + dialogue(8, message), "",
			"traffic.log:1: connections that cannot be decided: 2; the first begins here, and nothing in the log says who its client is (no answer to EHLO or HELO)"},
		{"one that does nothing is not missed", dialogue(7, "< NOOP\n> 250 ok\n"), "", ""},
		{"one that says HELO in time is", dialogue(7, hello+message), "line-1-pid-7" + laptopClient + " tls= auth=\n" + missing + messageSession + messageExpected, ""},
		{"lines of no process are passed over", "ello\n\n" + dialogue(7, laptop+"half a line\n"+message), "line-3-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected, ""},
		{"the beginning of another connection may be missing", dialogue(7, laptop+message+strings.ReplaceAll(hello, "203.0.113.8", "203.0.113.9")+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n" + messageSession + messageExpected +
				"line-17-pid-7" + strings.ReplaceAll(laptopClient, "203.0.113.8", "203.0.113.9") + " tls= auth=\n" + missing + messageSession + messageExpected, ""},
		{"an empty log has nothing", "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := importText(t, test.log)
			gotErr := ""
			if err != nil {
				gotErr = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("sessions (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantErr, gotErr); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeliveries(t *testing.T) {
	// What a message can hold that is delivered, and what a server can answer.
	const forged = `> 220 mx.example.test ESMTP Sendmail ready
> 250-mx.example.test Hello trusted.example [192.0.2.1], pleased to meet you
> 250 2.1.0 <evil@good.example>... Sender ok
`
	const relay = "= CONNECT relay.example.\n< 220 relay.example ESMTP\n> EHLO mx.example.test\n< 250-relay.example Hello mx [192.0.2.1], pleased to meet you\n< 250 HELP\n> MAIL From:<a@good.example>\n< 250 ok\n> RCPT To:<x@other.example>\n< 250 ok\n> DATA\n< 354 go\n" + forged + "> .\n< 250 ok\n> QUIT\n< 221 bye\n"
	const agent = "= EXEC sensible-mda a@good.example x\n> Return-Path: <a@good.example>\n> Received: from laptop.lan\n> \tby mx.example.test\n" + forged
	whole := laptopClient + " tls= auth=\n" + messageSession + messageExpected
	for _, test := range []struct {
		name, log, want string
	}{
		{"to another server", dialogue(7, relay), ""},
		{"to a delivery agent", dialogue(7, agent), ""},
		{"of which the log has only the end", dialogue(7, relay[strings.Index(relay, "< 250 HELP"):]), ""},
		{"a number that is given out again after one", dialogue(7, agent+relay+strings.Replace(laptop, "Sendmail ready", "Sendmail; logging access from: [203.0.113.8](TEMP)-[203.0.113.8]", 1)+message),
			fmt.Sprintf("line-%d-pid-7", strings.Count(agent+relay, "\n")+2) + strings.Replace(whole, "resolve=", "resolve=TEMP", 1)},
		{"in the process that serves the client", dialogue(7, laptop+strings.Replace(message, "> 250 2.0.0 abc Message accepted for delivery\n", relay+agent+"> 250 2.0.0 abc Message accepted for delivery\n", 1)+message),
			"line-1-pid-7" + laptopClient + " tls= auth=\n  note commands whose replies are not in the log: 1\n" + messageSession + messageSession +
				strings.Replace(messageExpected, "  expect eom <> 250\n", "", 1) + messageExpected},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := importText(t, test.log)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("sessions (-want +got):\n%s", diff)
			}
		})
	}
}
