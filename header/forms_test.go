package header

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// form is a Received field as some program writes it, and what becomes of it by the
// rules client and version, in a message of sender.
type form struct{ in, out string }

func readForms(t testing.TB) []form {
	t.Helper()
	text, err := os.ReadFile("testdata/forms.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var forms []form
	for line := range strings.Lines(string(text)) {
		if in, out, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			forms = append(forms, form{in, out})
		}
	}
	return forms
}

// scrubbed is the value of a Received field after one pass, in one line.
func scrubbed(rules *Rules, value, sender string) string {
	fields := []Field{{"Received", value}}
	value = Apply(fields, first(Plan(fields, rules, sender)))[0].Value
	return strings.Join(strings.Fields(value), " ")
}

func TestEveryFormIsScrubbed(t *testing.T) {
	forms := readForms(t)
	if len(forms) < 60 {
		t.Fatalf("%d forms", len(forms))
	}
	rules := rulesOf(t, "client, version")
	for _, f := range forms {
		if got := scrubbed(rules, f.in, sender); got != f.out {
			t.Errorf("%s\n%s", f.in, cmp.Diff(f.out, got))
		}
	}
}

// as is a form with the names of another client in place of its own.
func (c client) as(text string) string {
	text = strings.NewReplacer("pc.client.example", c.host, "dhcp.client.example", c.host, "203.0.113.5", c.addr, "192.168.1.104", c.addr, "192.168.0.9", c.addr).Replace(text)
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ()[]@=\"<>,;:/", r) })
	for _, word := range words {
		switch word {
		case "pc":
			text = replaceWord(text, word, c.helo)
		case "joe":
			text = replaceWord(text, word, c.user)
		}
	}
	return text
}

// replaceWord replaces a word wherever it stands by itself.
func replaceWord(text, word, by string) string {
	var b strings.Builder
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return b.String() + text[from:]
		}
		begin, end := from+i, from+i+len(word)
		b.WriteString(text[from:begin])
		if (begin == 0 || !is(text[begin-1], alnum) && text[begin-1] != '.') && (end == len(text) || !is(text[end], alnum) && text[end] != '.') {
			b.WriteString(by)
		} else {
			b.WriteString(word)
		}
		from = end
	}
}

// TestAFormLeavesTheSameForAnyClient: the names of the client have no part in what
// is left of its field.
func TestAFormLeavesTheSameForAnyClient(t *testing.T) {
	forms := readForms(t)
	rules := rulesOf(t, "client, version")
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(forms).Draw(t, "form")
		c := client{
			host: rapid.StringMatching(`qh[a-z0-9]{2,6}(-[0-9]{1,3}){0,2}\.(net\.)?client\.example`).Draw(t, "host"),
			helo: rapid.OneOf(rapid.StringMatching(`qq[a-zA-Z0-9_-]{0,8}[a-z0-9](\.lan)?`), rapid.SampledFrom([]string{"[10.9.8.7]", "ESMTP", "localhost", "VAIO-7", "qq.example.", "-", "1", "user"})).Draw(t, "helo"),
			addr: rapid.SampledFrom([]string{"198.51.100.99", "10.1.2.3", "192.0.2.250"}).Draw(t, "addr"),
			user: rapid.StringMatching(`qu[a-z]{2,6}`).Draw(t, "user"),
		}
		in, want := c.as(f.in), c.as(f.out)
		if got := scrubbed(rules, in, c.as(sender)); got != want {
			t.Fatalf("%s\n%s", in, cmp.Diff(want, got))
		}
	})
}

// TestWhateverAClientCallsItself: its name is not left, and the host, the date and
// well-formed brackets are, also if it is made to break the field.
func TestWhateverAClientCallsItself(t *testing.T) {
	forms := readForms(t)
	rules := rulesOf(t, "client, version")
	const name = "qqx"
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(forms).Draw(t, "form")
		odd := rapid.SampledFrom([]string{"%s", "%s(", "%s)", "(%s", "\"%s", "%s\"", "<%s", "%s>", "[%s", "%s]", "%s;", "by.%s", "%s@%s", "%s\\", "((%s", "\"(%s"}).Draw(t, "odd")
		in := replaceWord(f.in, "pc", strings.ReplaceAll(odd, "%s", name))
		got := scrubbed(rules, in, sender)
		if strings.Contains(got, name) {
			t.Fatalf("%q is left of\n%s\nin\n%s", name, in, got)
		}
		if !matches(got) {
			t.Fatalf("brackets do not match:\n%s\nof\n%s", got, in)
		}
		if again := scrubbed(rules, got, sender); again != got {
			t.Fatalf("scrubbed twice:\n%s\nonce:\n%s\nof\n%s", again, got, in)
		}
		want, left := new(received).parse(f.out, true), new(received).parse(got, true)
		if want.byHost != left.byHost || len(want.date) != len(left.date) {
			t.Fatalf("host or date lost:\n%s\nof\n%s", got, in)
		}
	})
}
