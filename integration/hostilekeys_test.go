package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"milterd/integration/harness"
)

// oddNames are what a stranger may have the DNS say about his address, in the notation
// of zone files. Each leads back to it.
var oddNames = []string{
	`192.0.2.20\/587\/MSA\/PLAIN\/OK\/esmtp\/x.odd.example.`, `office\032name.odd.example.`, `\"quoted.odd.example.`, `per%cent.odd.example.`,
	`\(open.odd.example.`, `semi\;colon.odd.example.`, `dollar\$\{auth_type\}.odd.example.`, `\000nul.odd.example.`, `tab\009.odd.example.`,
	`under_score.odd.example.`, `back\\\\slash.odd.example.`, `\<angle\>.odd.example.`,
}

// oddLocals are local parts that a client may name.
var oddLocals = []string{
	`plain`, `"a/b/c"`, `a/b/c`, `"x y"`, `"a\"b"`, `"a\\b"`, `"<x>"`, `"a,b"`, `a{b}`, `a$b`, `"${auth_type}"`, `"$|"`, `"SCRUB"`,
	`"25///OK/local/x/shin@example.test"`, `a=b`, `"(open"`, "a`b", `"tab	x"`, `#`, `!`, `"` + strings.Repeat("l/", 100) + `"`,
}

// oddScene is the scene doors with clients that have odd names.
func oddScene(t *testing.T) harness.Options {
	t.Helper()
	_, options := readScene(t, "doors", "doors")
	options.Config += "\nchecks: {rdns: {mode: \"off\"}}\n"
	for i, name := range oddNames {
		options.DNS = append(options.DNS,
			fmt.Sprintf("%d.2.0.192.in-addr.arpa. PTR %s", 100+i, name), fmt.Sprintf("%s A 192.0.2.%d", name, 100+i))
	}
	return options
}

// headerOf sends a message and returns its header as it waits in the queue; empty where
// it was not taken.
func headerOf(t *testing.T, env *harness.Env, c *client, to string) string {
	t.Helper()
	c.say("MAIL FROM:<a@good.example>", "250")
	reply := c.say("RCPT TO:<"+to+">", "")
	if !strings.HasPrefix(reply, "250") {
		c.say("RSET", "250")
		return ""
	}
	taken := c.content("odd", "250 2.0.0")
	id := strings.Fields(taken)[2]
	files, err := env.Queue()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.ID == id {
			return f.Header()
		}
	}
	t.Fatalf("message %s is not in the queue (%s)", id, taken)
	return ""
}

// TestNamesAndRecipientsDoNotForgeWhatMilterdIsAsked: what sendmail asks of the
// received map is put together from a client's name and a recipient, which may hold
// anything.
func TestNamesAndRecipientsDoNotForgeWhatMilterdIsAsked(t *testing.T) {
	env := start(t, oddScene(t))
	t.Run("a stranger is shown", func(t *testing.T) {
		for i, name := range oddNames {
			c := dialFrom(t, fmt.Sprintf("192.0.2.%d", 100+i), "25")
			c.expect("220")
			c.say("EHLO VAIO-QX77.lan", "250")
			header := headerOf(t, env, c, "shin@example.test")
			c.say("QUIT", "221")
			t.Logf("%s: %s", name, strings.Join(strings.Fields(header)[:min(8, len(strings.Fields(header)))], " "))
			if !strings.Contains(header, "VAIO-QX77.lan") || !strings.Contains(header, fmt.Sprintf("[192.0.2.%d]", 100+i)) || strings.Contains(header, "from SMTP") {
				t.Errorf("%s is hidden:\n%s", name, header)
			}
		}
	})
	t.Run("a stranger is shown to odd recipients", func(t *testing.T) {
		c := dialFrom(t, "192.0.2.11", "25")
		c.expect("220")
		c.say("EHLO VAIO-QX77.lan", "250")
		taken := 0
		for _, local := range oddLocals {
			for _, domain := range []string{"granted.example", "sub.granted.example"} {
				header := headerOf(t, env, c, local+"@"+domain)
				if header == "" {
					continue
				}
				taken++
				if !strings.Contains(header, "VAIO-QX77.lan") || strings.Contains(header, "from SMTP") {
					t.Errorf("%s@%s hides the client:\n%s", local, domain, header)
				}
			}
		}
		t.Logf("%d of %d recipients were taken", taken, 2*len(oddLocals))
		if taken < len(oddLocals) {
			t.Errorf("only %d of %d recipients were taken", taken, 2*len(oddLocals))
		}
	})
	t.Run("a user is hidden", func(t *testing.T) {
		taken := 0
		for i := range oddNames {
			c := dialFrom(t, fmt.Sprintf("192.0.2.%d", 100+i), "587")
			c.expect("220")
			c.say("EHLO VAIO-QX77.lan", "250")
			if reply, err := c.conn.Auth("PLAIN", "shin", "secret"); err != nil || reply.Code != 235 {
				t.Fatal(reply, err)
			}
			for _, local := range oddLocals {
				header := headerOf(t, env, c, local+"@other.example")
				if header == "" {
					continue
				}
				taken++
				for _, private := range []string{"VAIO", "odd.example", "192.0.2.", "authenticated", "(8."} {
					if strings.Contains(header, private) {
						t.Errorf("%s to %s@other.example shows %q:\n%s", oddNames[i], local, private, header)
					}
				}
			}
			c.say("QUIT", "221")
		}
		t.Logf("%d of %d recipients were taken", taken, len(oddNames)*len(oddLocals))
		if taken < len(oddNames)*len(oddLocals)/2 {
			t.Errorf("only %d recipients were taken", taken)
		}
	})
}
