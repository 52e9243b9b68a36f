package traffic

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestClients(t *testing.T) {
	for _, test := range []struct {
		name, peer, want string
	}{
		{"a confirmed name", "mx.good.example [203.0.113.8]", "203.0.113.8 mx.good.example mx.good.example OK"},
		{"a name that does not lead back", "mx.good.example [203.0.113.8] (may be forged)", "203.0.113.8 [203.0.113.8] mx.good.example FORGED"},
		{"no name", "[203.0.113.8]", "203.0.113.8 [203.0.113.8] [203.0.113.8] "},
		{"IPv6", "[IPv6:2001:db8:0:0:0:0:0:8]", "2001:db8::8 [IPv6:2001:db8:0:0:0:0:0:8] [IPv6:2001:db8:0:0:0:0:0:8] "},
		{"IPv6 with a name", "c.good.example [IPv6:2001:db8:0:0:0:0:0:8]", "2001:db8::8 c.good.example c.good.example OK"},
		{"an IPv4 address in IPv6", "[IPv6:::ffff:203.0.113.8]", "203.0.113.8 [IPv6:::ffff:203.0.113.8] [IPv6:::ffff:203.0.113.8] "},
		{"a user who runs sendmail -bs", "shin@localhost", " localhost  "},
		{"a name from an ident server", "shin@mx.good.example [203.0.113.8]", "203.0.113.8 mx.good.example mx.good.example OK"},
		{"a client without a name and an ident server", "IDENT:shin@[203.0.113.8]", "203.0.113.8 [203.0.113.8] [203.0.113.8] "},
		{"an ident server that lies about the address", "x [192.0.2.1], pleased to meet you@mx.good.example [203.0.113.8]", "203.0.113.8 mx.good.example mx.good.example OK"},
		{"an ident server that says local", "root@localhost@mx.good.example [203.0.113.8]", "203.0.113.8 mx.good.example mx.good.example OK"},
		{"no address can be forged", "[203.0.113.8] (may be forged)", "unknown"},
		{"a source route hides the address", "mx.good.example [203.0.113.8] [!@192.0.2.1:192.0.2.2]", "unknown"},
		{"a zone is none of a client", "[IPv6:fe80::1%eth0]", "unknown"},
		{"no client at all", "", "unknown"},
		{"a bracket too few", "mx.good.example [203.0.113.8", "unknown"},
		{"two words for a name", "mx good [203.0.113.8]", "unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := "unknown"
			if to := parseHello("mx.example.test Hello " + test.peer + ", pleased to meet you"); to != nil {
				got = fmt.Sprintf("%s %s %s %s", to.Addr, to.Name, to.PTR, to.Resolve)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("client (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDebiansGreetingTellsTheOutcomeOfTheLookup(t *testing.T) {
	for _, test := range []struct {
		name, greeting, want string
	}{
		{"no answer", "[203.0.113.9](TEMP)-[203.0.113.9]", "TEMP"},
		{"no name", "[203.0.113.9](FAIL)-[203.0.113.9]", "FAIL"},
		{"a name", "c.good.example(OK)-c.good.example [203.0.113.9]", "OK"},
		{"a name that does not lead back", "[203.0.113.9](FORGED)-c.good.example [203.0.113.9] (may be forged)", "FORGED"},
		{"two addresses that differ", "[203.0.113.9](FAIL)-[203.0.113.8]", "unknown"},
		{"a name that is confirmed and is not", "c.good.example(FAIL)-c.good.example [203.0.113.9]", "unknown"},
		{"an outcome that is none", "[203.0.113.9](WHAT)-[203.0.113.9]", "unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := "unknown"
			if c := parseGreeting("220 mx.example.test ESMTP Sendmail; (No UCE/UBE) logging access from: " + test.greeting); c != nil {
				got = c.Resolve
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	for _, test := range []struct {
		name, line string
		want       command
	}{
		{"MAIL with parameters", "MAIL FROM:<a@b.example> SIZE=10 BODY=7BIT", command{verb: "MAIL", arg: "a@b.example", args: []string{"SIZE=10", "BODY=7BIT"}, ok: true}},
		{"the null sender", "MAIL FROM:<>", command{verb: "MAIL", args: []string{}, ok: true}},
		{"blanks around the colon", " mail  from : <a@b.example> ", command{verb: "MAIL", arg: "a@b.example", args: []string{}, ok: true}},
		{"no brackets", "RCPT TO:a@b.example NOTIFY=NEVER", command{verb: "RCPT", arg: "a@b.example", args: []string{"NOTIFY=NEVER"}, ok: true}},
		{"a quoted blank", `RCPT TO:<"a b>"@c.example> X`, command{verb: "RCPT", arg: `"a b>"@c.example`, args: []string{"X"}, ok: true}},
		{"a source route", "RCPT TO:<@a.example:b@c.example>", command{verb: "RCPT", arg: "@a.example:b@c.example", args: []string{}, ok: true}},
		{"a comment with a blank", "RCPT TO:<a(x y)@b.example>", command{verb: "RCPT", arg: "a(x y)@b.example", args: []string{}, ok: true}},
		{"eight bits", "RCPT TO:<\xe9@b.example>", command{verb: "RCPT", arg: "\xe9@b.example", args: []string{}, ok: true}},
		{"no recipient", "RCPT TO:<>", command{verb: "RCPT", args: []string{}}},
		{"a bracket too few", "MAIL FROM:<a@b.example SIZE=10", command{verb: "MAIL"}},
		{"the wrong word", "MAIL TO:<a@b.example>", command{verb: "MAIL"}},
		{"no colon", "RCPT a@b.example", command{verb: "RCPT"}},
		{"the HELO name is a word", "EHLO laptop.lan and more", command{verb: "HELO", arg: "laptop.lan", ok: true}},
		{"of AUTH the mechanism is kept", "AUTH plain AHNoaW4Ac2VjcmV0", command{verb: "AUTH", arg: "PLAIN"}},
		{"a secret in place of the mechanism is not", "AUTH AHNoaW4Ac2VjcmV0==", command{verb: "AUTH"}},
		{"nor a long one", "AUTH AHNOAW4AC2VJCMV0AHNOAW4AC2VJCMV0", command{verb: "AUTH"}},
		{"a tab is a blank", "RSET\tnow", command{verb: "RSET"}},
		{"nothing", "", command{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := parseCommand(test.line, 0)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(command{})); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReplies(t *testing.T) {
	for _, test := range []struct {
		name, reply, want string
	}{
		{"acceptance", "250 2.1.5 <x@example.test>... Recipient ok", "250"},
		{"a recipient that will be forwarded", "251 ok", "250"},
		{"an address before the text", "550 5.7.1 <x@other.example>... Relaying denied", "550 5.7.1 Relaying denied"},
		{"an address with a bracket", `550 5.7.1 <"a>b"@other.example>... Relaying denied`, "550 5.7.1 Relaying denied"},
		{"none", "451 4.7.1 Come back tomorrow", "451 4.7.1 Come back tomorrow"},
		{"AUTH on a port that takes none", "503 5.5.1 AUTH not available on this port; use the submission port", "503 5.5.1 AUTH not available on this port; use the submission port"},
		{"a sender's domain", "553 5.1.8 <a@b.example>... Domain of sender address a@b.example does not exist", "553 5.1.8 Domain of sender address a@b.example does not exist"},
		{"an entry of the access table without an enhanced code", "550 5.0.0 <a@b.example>... Go away", "550 5.0.0 Go away"},
		{"relaying denied for now", "450 4.4.0 <a@b.example>... Relaying temporarily denied", "450 4.4.0 Relaying temporarily denied"},
		{"no user", "550 5.1.1 <a@b.example>... User unknown", ""},
		{"a host that is not there", "550 5.1.2 <a@b.example>... Host unknown (Name server: b.example: host not found)", ""},
		{"no room", "452 4.4.5 Insufficient disk space; try again later", ""},
		{"too many recipients", "452 4.5.3 Too many recipients", ""},
		{"too large", "552 5.2.3 Message size exceeds fixed maximum message size (1000)", ""},
		{"a filter that is away", "451 4.3.0 Temporary system failure. Please try again later", ""},
		{"a domain that is missing", "553 5.5.4 <a>... Domain name required for sender address a", ""},
		{"a full mailbox", "450 4.2.2 <a@b.example>... Over quota", ""},
		{"a command out of order", "503 5.0.0 Need MAIL before RCPT", ""},
		{"goodbye", "421 4.7.0 mx.example.test closing connection", ""},
		{"a go-ahead", "354 go on", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			x, _ := parseReply([]byte(test.reply)).expectation("rcpt", "a@b.example")
			if x.Reply != test.want {
				t.Errorf("expectation %q, want %q", x.Reply, test.want)
			}
		})
	}
}

func TestLogsAreRecognised(t *testing.T) {
	for _, test := range []struct {
		name, head string
		want       bool
	}{
		{"a greeting", "00039 >>> 220 mx.example.test ESMTP\n", true},
		{"a process with a large number", "4194304 <<< EHLO a\n", true},
		{"a delivery", "00039 === CONNECT a.example\n", true},
		{"a log that begins within a line", "f a line\n00039 <<< QUIT\r\n", true},
		{"an empty command", "00039 <<< \r\n", true},
		{"a session", "connect: {addr: 203.0.113.8}\n", false},
		{"a session that quotes a log", "# From\n# the log:\n00039 <<< QUIT\n", false},
		{"an object", `{"id":"00039 <<< QUIT"}` + "\n", false},
		{"a number too large", "12345678 <<< QUIT\n", false},
		{"another mark", "00039 >>< QUIT\n", false},
		{"nothing", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := recognise([]byte(test.head)); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// TestSecretsAreNotKept greps all that is made of a log with passwords.
func TestSecretsAreNotKept(t *testing.T) {
	secrets := []string{"AHNoaW4Ac2VjcmV0", "c2VjcmV0", "VXNlcm5hbWU6", "c2hpbiBhYmNkZWY=", "secret"}
	log := dialogue(7, laptop+"< AUTH PLAIN AHNoaW4Ac2VjcmV0\n> 235 2.0.0 OK Authenticated\n"+message) +
		dialogue(8, laptop+"< AUTH LOGIN\n> 334 VXNlcm5hbWU6\n< c2VjcmV0\n> 334 VXNlcm5hbWU6\n< c2VjcmV0\n> 501 5.5.4 cannot BASE64 decode 'c2VjcmV0'\n"+message) +
		dialogue(9, laptop+"< AUTH c2VjcmV0\n> 504 5.3.3 AUTH mechanism c2VjcmV0 not available\n< c2VjcmV0\n> 500 5.5.1 Command unrecognized: \"c2VjcmV0\"\n"+message) +
		dialogue(10, "< c2VjcmV0\n> 235 2.0.0 OK Authenticated\n"+message) +
		dialogue(11, laptop+"< AUTH CRAM-MD5\n> 334 c2VjcmV0\n< c2hpbiBhYmNkZWY=\n> 235 2.0.0 OK Authenticated\n"+message) +
		dialogue(12, laptop+"< AUTH PLAIN "+strings.Repeat("c2VjcmV0", 4000)+"00012 >>> 501 5.5.4 cannot BASE64 decode 'c2VjcmV0'\n"+message)
	got, err := importText(t, log)
	if strings.Count(got, "\n  mail <a@good.example>") != 5 || err == nil {
		t.Fatalf("error %v, sessions:\n%s", err, got)
	}
	for _, secret := range secrets {
		if strings.Contains(got+err.Error(), secret) {
			t.Errorf("%s is kept:\n%s\n%v", secret, got, err)
		}
	}
}
