package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"milterd/integration/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a scripted server on loopback. talk has one connection.
func serve(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	return testkit.Serve(t, "tcp", "127.0.0.1:0", talk)
}

// answers is a server that answers each verb from a table, "*" for all others.
func answers(table map[string]string) func(net.Conn) {
	return func(conn net.Conn) {
		fmt.Fprintf(conn, "%s\r\n", table[""])
		in := bufio.NewScanner(conn)
		for in.Scan() {
			verb, _, _ := strings.Cut(strings.ToUpper(in.Text()), " ")
			reply, ok := table[verb]
			if !ok {
				reply = table["*"]
			}
			fmt.Fprintf(conn, "%s\r\n", reply)
			if verb == "QUIT" {
				return
			}
		}
	}
}

// clean refuses every recipient and tells nothing.
func clean() map[string]string {
	return map[string]string{
		"": "220 mx.example.test ESMTP", "EHLO": "250-mx.example.test\r\n250 8BITMIME", "MAIL": "250 ok", "RSET": "250 ok",
		"RCPT": "550 5.7.1 Relaying denied", "*": "502 5.5.1 unknown",
	}
}

func with(table map[string]string, verb, reply string) map[string]string {
	table[verb] = reply
	return table
}

// quick are options for servers that answer at once or hang up.
func quick(target string) Options {
	return Options{Targets: []string{target}, Delay: time.Microsecond, Timeout: testkit.Patience}
}

func probeOne(t *testing.T, o Options) *Report {
	t.Helper()
	reports, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return reports[0]
}

func TestServersThatAnswer(t *testing.T) {
	// One form less than the matrix has, which is for a stranger's address, and six more
	// before EHLO, or where TLS and AUTH are.
	tried := len(forms)
	for _, c := range []struct {
		name    string
		table   map[string]string
		verdict string
		leaks   string
	}{
		{"one that refuses", clean(), fmt.Sprintf("no relay: none of %d forms", tried), "EHLO no STARTTLS"},
		{"one that takes everything", with(clean(), "RCPT", "250 ok"), fmt.Sprintf("RELAYS: %d of %d", tried, tried), ""},
		{"one that puts everything off", with(clean(), "RCPT", "450 4.7.1 later"), "UNKNOWN: none of the", ""},
		{"a version in the greeting", with(clean(), "", "220 mx.example.test ESMTP Sendmail 8.17.1.9/8.17.1.9; Fri, 27 Nov 2026 10:00:00 GMT"), "no relay", "greeting tells the version of the software: Sendmail 8.17.1.9"},
		{"an address in the EHLO reply is no version", with(clean(), "EHLO", "250 mx.example.test Hello [127.0.0.1], pleased to meet you"), "no relay", ""},
		{"VRFY is open", with(clean(), "VRFY", "250 2.1.5 Postmaster <postmaster@mx.example.test>"), "no relay", "VRFY says which users there are"},
		{"HELP tells the version", with(clean(), "HELP", "214-2.0.0 This is sendmail version 8.17.1.9\r\n214 2.0.0 end"), "no relay", "HELP tells the version"},
		{"passwords in clear text", with(clean(), "EHLO", "250-mx.example.test\r\n250 AUTH PLAIN LOGIN"), "no relay", "AUTH passwords may be sent in clear text"},
		{"anybody may log in", with(with(clean(), "EHLO", "250-mx.example.test\r\n250 AUTH PLAIN"), "AUTH", "235 ok"), "no relay", "a user that there is not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := probeOne(t, quick(serve(t, answers(c.table))))
			var leaks []string
			for _, l := range r.Leaks {
				leaks = append(leaks, l.Where+" "+l.What+": "+l.Text)
			}
			if !strings.HasPrefix(r.Verdict, c.verdict) {
				t.Errorf("verdict %q (%s), want %q", r.Verdict, r.Error, c.verdict)
			}
			if got := strings.Join(leaks, "\n"); !strings.Contains(got, c.leaks) {
				t.Errorf("leaks\n%s\nwant %q", got, c.leaks)
			}
			if c.name == "an address in the EHLO reply is no version" && len(leaks) != 1 {
				t.Errorf("leaks %q, want the missing STARTTLS only", leaks)
			}
		})
	}
}

func TestServersThatLie(t *testing.T) {
	for _, c := range []struct {
		name  string
		talk  func(net.Conn)
		error string
	}{
		{"one that says nothing", func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }, "timeout"},
		{"one that closes at once", func(net.Conn) {}, "EOF"},
		{"a line without an end", func(conn net.Conn) {
			for {
				if _, err := conn.Write([]byte(strings.Repeat("2", 4096))); err != nil {
					return
				}
			}
		}, errFlood.Error()},
		{"lines without an end", func(conn net.Conn) {
			for {
				if _, err := conn.Write([]byte("220-more\r\n")); err != nil {
					return
				}
			}
		}, errFlood.Error()},
		{"one that is full", answers(map[string]string{"": "421 4.3.2 too busy"}), "the greeting is 421"},
		{"one that counts connections", answers(map[string]string{"": "421 4.3.2 Connection rate limit exceeded."}), "wait a minute, or have the server count no connections of this host (ClientRate:ADDRESS 0"},
		{"one that is no mail server", answers(map[string]string{"": "HTTP/1.1 400 Bad Request"}), "short response"},
		{"one that closes after each recipient", func(conn net.Conn) {
			in := bufio.NewScanner(conn)
			fmt.Fprint(conn, "220 mx.example.test\r\n")
			for in.Scan() && !strings.HasPrefix(in.Text(), "RCPT") {
				fmt.Fprint(conn, "250 mx.example.test\r\n")
			}
		}, "stopped answering"},
		{"one that says 421 to everything", answers(map[string]string{"": "220 mx", "EHLO": "250 mx.example.test", "*": "421 4.7.0 go away"}), "stopped answering"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := quick(serve(t, c.talk))
			if c.error == "timeout" {
				o.Timeout = 100 * time.Millisecond
			}
			r := probeOne(t, o)
			if !strings.Contains(r.Error, c.error) {
				t.Errorf("error %q, want %q", r.Error, c.error)
			}
			if r.Clean() {
				t.Error("the report says that all is well")
			}
		})
	}
}

func TestPublicAddressesAreNotProbed(t *testing.T) {
	_, err := Run(context.Background(), Options{Targets: []string{"192.0.2.1:25"}})
	if !errors.Is(err, ErrNotOwned) {
		t.Errorf("got %v, want %v", err, ErrNotOwned)
	}
}

func TestJudge(t *testing.T) {
	const message = "Received: from mx.example.test (mx.example.test [203.0.113.25]) by far.example (Postfix 3.7.1) with ESMTP id 1; Fri, 27 Nov 2026 10:00:01 GMT\n" +
		"Received: %s by mx.example.test (%s) with ESMTPA id 2; Fri, 27 Nov 2026 10:00:00 GMT\n%sSubject: x\n\nbody\n"
	for _, c := range []struct {
		name, from, by, more, want string
		server                     string
	}{
		{"scrubbed", "from SMTP", "SMTP server", "", "[]", "mx.example.test"},
		{"a client and a version", "from laptop.lan (h.example [192.168.0.7])", "8.17.1/8.17.1", "", "[{Received names the client laptop.lan (h.example [192.168.0.7])} {Received tells the version of the software 8.17.1/8.17.1}]", "mx.example.test"},
		{"an address in parentheses", "from pc (IPv6:2001:db8::1)", "SMTP server", "", "[{Received names the client pc (IPv6:2001:db8::1)}]", "mx.example.test"},
		{"another field", "from SMTP", "SMTP server", "X-Originating-IP: [192.168.0.7]\n", "[{X-Originating-Ip tells about the client [192.168.0.7]}]", "mx.example.test"},
		{"a server that it did not pass", "from SMTP", "SMTP server", "", "no Received field is by other.example: the message has not passed it, or it has another name", "other.example"},
	} {
		leaks, err := Judge(strings.NewReader(fmt.Sprintf(message, c.from, c.by, c.more)), c.server)
		got := fmt.Sprint(leaks)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}
