package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBadDialogues(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"an empty file has no title", "", `bad.txt:1: no title, expected a comment that says what the dialogue is about`},
		{"a title alone is no dialogue", "# A title\n", `bad.txt:1: no steps, expected client FROM -> TO`},
		{"a step needs a client first", "# A title\n> EHLO a\n", `bad.txt:2: "> EHLO a" before a client, expected client FROM -> TO first`},
		{"an unknown step is refused", "# A title\nclient 203.0.113.5 -> 203.0.113.25:25\n\nsleep 1\n",
			`bad.txt:4: "sleep 1" is not a step, expected one of client > < <~ <!~ by auth starttls hangup log queue header dns`},
		{"a reply needs a code", "# A title\nclient 203.0.113.5 -> 203.0.113.25:25\n< ok\n",
			`bad.txt:3: "< ok" is not a step, expected one of client > < <~ <!~ by auth starttls hangup log queue header dns`},
		{"a client needs an address", "# A title\nclient mx.example -> 203.0.113.25:25\n",
			`bad.txt:2: client "mx.example": not an ip:port`},
		{"a server needs a port", "# A title\nclient 203.0.113.5 -> 203.0.113.25\n", `bad.txt:2: server "203.0.113.25": not an ip:port`},
		{"one dialogue is one client", "# A title\nclient 203.0.113.5 -> 203.0.113.25:25\nclient 203.0.113.6 -> 203.0.113.25:25\n",
			`bad.txt:3: client is 203.0.113.6 to port 25, expected 203.0.113.5 to port 25 as before`},
		{"an unknown mechanism is refused", "# A title\nclient 203.0.113.5 -> 203.0.113.25:25\nauth GUESS shin secret\n",
			`bad.txt:3: "auth GUESS shin secret" is not a step, expected one of client > < <~ <!~ by auth starttls hangup log queue header dns`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseDialogue("bad.txt", c.text)
			if err == nil {
				t.Fatal("the dialogue was taken")
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %q\nwant %q", err, c.want)
			}
		})
	}
}

func TestDialogue(t *testing.T) {
	const text = `# A client that is refused
# twice.
dns 8.113.0.203.in-addr.arpa. NXDOMAIN

client 203.0.113.8 -> 203.0.113.25:25
< 220
> EHLO a.example
# a remark
< 250
>
< 500 5.5.1 Command unrecognized...
by sendmail
> RCPT TO:<x@other.example>
< 550 5.7.1 <x@other.example>... Relaying denied
by milterd
> RCPT TO:<y@other.example>
< 451 4.7.1 Come back tomorrow
by milterd
queue held
`
	file := filepath.Join(t.TempDir(), "refused.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDialogue(file)
	if err != nil {
		t.Fatal(err)
	}
	type summary struct {
		Name, Title, Client string
		DNS, Refusals       []string
		Steps               int
		Held, Gone          bool
	}
	want := summary{
		Name:     "refused",
		Title:    "A client that is refused twice.",
		Client:   "203.0.113.8 to port 25",
		DNS:      []string{"8.113.0.203.in-addr.arpa. NXDOMAIN"},
		Refusals: []string{"550 5.7.1 Relaying denied", "451 4.7.1 Come back tomorrow"},
		Steps:    14,
		Held:     true,
	}
	got := summary{d.Name, d.Title, d.Client(), d.DNS, d.Refusals(), len(d.steps), d.Held(), d.Gone()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dialogue (-want +got):\n%s", diff)
	}
}

func TestExpectedReply(t *testing.T) {
	multi := Reply{Code: 250, Lines: []string{"mx.example.test Hello", "PIPELINING"}}
	denied := Reply{Code: 550, Lines: []string{"5.7.1 <x@other.example>... Relaying denied. Proper authentication required."}}
	for _, c := range []struct {
		name       string
		reply      Reply
		code, text string
		ok         bool
	}{
		{"a code is enough", multi, "250", "", true},
		{"a code has to be the same", multi, "220", "", false},
		{"an enhanced code is compared where it is given", denied, "550 5.7.1", "", true},
		{"an enhanced code has to be the same", denied, "550 5.7.25", "", false},
		{"an enhanced code is not found in another one", denied, "550 5.7.1", "", true},
		{"the beginning of a text is not enough", denied, "550 5.7.1", "<x@other.example>... Relaying denied", false},
		{"the beginning of a text is enough where the rest is left open", denied, "550 5.7.1", "<x@other.example>... Relaying denied...", true},
		{"the whole text is", denied, "550 5.7.1", "<x@other.example>... Relaying denied. Proper authentication required.", true},
		{"a code is not found at the beginning of an enhanced one", Reply{Code: 550, Lines: []string{"5.7.15 no"}}, "550 5.7.1", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &player{observe: func(Speaker, string) {}}
			err := p.expect(c.reply, c.code, c.text)
			if (err == nil) != c.ok {
				t.Errorf("got %v, want ok %t", err, c.ok)
			}
		})
	}
}

func TestWithoutAddress(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"550 5.7.1 <x@other.example>... Relaying denied", "550 5.7.1 Relaying denied"},
		{`550 5.7.1 <"a@b"@example.test>... Relaying denied`, "550 5.7.1 Relaying denied"},
		{"451 4.7.1 Come back tomorrow", "451 4.7.1 Come back tomorrow"},
		{"550 5.7.1 Wait... no", "550 5.7.1 Wait... no"},
	} {
		if got := WithoutAddress(c.line); got != c.want {
			t.Errorf("%q: got %q, want %q", c.line, got, c.want)
		}
	}
}
