package access

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// parse reads a table that must have no problem but warnings.
func parse(t testing.TB, text string) *Table {
	t.Helper()
	table, problems, err := Parse("access", strings.NewReader(text), Features{BlocklistRecipients: true, LookupDotDomain: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !p.Warning {
			t.Fatalf("problem: %s", p)
		}
	}
	return table
}

// TestBadTablesSayWhatIsWrong reads each table in testdata/bad and compares its
// problems with the file beside it, a line each; warnings begin with "warning: ".
// A first line such as "#features: lookupdotdomain" switches features on.
func TestBadTablesSayWhatIsWrong(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.access")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables in testdata/bad: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, problems, err := Parse(filepath.Base(file), bytes.NewReader(text), featuresOf(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, p := range problems {
				if p.Warning {
					got.WriteString("warning: ")
				}
				fmt.Fprintln(&got, p)
			}
			name := strings.TrimSuffix(file, ".access") + ".want"
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(name, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// featuresOf reads the first line of a test's table.
func featuresOf(text string) Features {
	first, _, _ := strings.Cut(text, "\n")
	has := func(name string) bool { return strings.HasPrefix(first, "#features:") && strings.Contains(first, name) }
	return Features{
		Skip: has("skip"), BlocklistRecipients: has("blocklist_recipients"),
		LookupDotDomain: has("lookupdotdomain"), CompressedIPv6: has("compressed"),
		DelayChecks: has("friend") || has("hater"), Friend: has("friend"), Hater: has("hater"),
		RelayMailFrom: has("relay_mail_from"), RelayToFullAddress: has("relaytofulladdress"),
	}
}

func TestATableThatIsNoTextIsRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"ok.example OK\nfrom:a\x00 REJECT\n", "access:2: NUL octet, expected text"},
		{"\x00\x00\x00\x00b1\x05\x00", "access:1: NUL octet, expected text"},
	} {
		if _, _, err := Parse("access", strings.NewReader(c.text), Features{}); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, expected %s", c.text, err, c.want)
		}
	}
}

func TestWhatIsLeftOutIsCountedAndTheRestIsUsed(t *testing.T) {
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "Connect:198.51.100.7/24\tREJECT\nFrom:user%d@@example.com\tOK to send\n", i)
	}
	text.WriteString("Connect:192.0.2.9\tREJECT\nConnect:::/0\tRELAY\n")
	table, problems, err := Parse("access", strings.NewReader(text.String()), Features{})
	if err != nil {
		t.Fatal(err)
	}
	if table.LeftOut() != 200 || table.Len() != 202 || len(problems) > maxProblems+maxHints {
		t.Errorf("%d left out, %d entries, %d problems", table.LeftOut(), table.Len(), len(problems))
	}
	if value, _, _ := table.Lookup("connect:192.0.2.9"); value != "REJECT" {
		t.Errorf("the entry behind them is %q", value)
	}
	if value, _, ok := table.Lookup("connect:198.51.100.7"); ok {
		t.Errorf("an entry that is left out is found: %q", value)
	}
	if first := problems[0].String(); !strings.HasPrefix(first, "access:402: ") || !strings.Contains(first, "OPEN RELAY") {
		t.Errorf("the first problem is %s", first)
	}
}

func TestAnEmptyTableFindsNothing(t *testing.T) {
	for name, table := range map[string]*Table{"nil": nil, "empty": parse(t, ""), "comments only": parse(t, "# nothing\n\n")} {
		s := Search{Table: table, Features: &Features{}}
		if m := s.Domain(Connect, "mail.example.com"); m.Found() {
			t.Errorf("%s table: found %+v", name, m)
		}
		if n := table.Len(); n != 0 {
			t.Errorf("%s table: %d entries", name, n)
		}
	}
}

func TestLinesAreReadAsMakemapReadsThem(t *testing.T) {
	table := parse(t, strings.Join([]string{
		"# comment", "", "Connect:203.0.113\tREJECT", "FROM:Bob@Example.COM   ERROR:550 5.7.1 Go  away # now",
		"to:last@example.com OK \t", "connect:ÄÖ.example OK", "no-newline RELAY"}, "\n"))
	for _, c := range []struct{ tag, key, want string }{
		{"connect", "203.0.113", "REJECT"},
		{"from", "bob@example.com", "ERROR:550 5.7.1 Go  away # now"},
		{"to", "last@example.com", "OK"},
		{"connect", "ÄÖ.example", "OK"},
		{"", "no-newline", "RELAY"},
		{"connect", "203.0", ""},
		{"", "# comment", ""},
	} {
		got, _, _ := table.get(c.tag, c.key)
		if got != c.want {
			t.Errorf("%s:%s = %q, want %q", c.tag, c.key, got, c.want)
		}
	}
	if table.Len() != 5 {
		t.Errorf("%d entries, want 5", table.Len())
	}
}

// keyGenerator makes keys that collide often.
func keyGenerator() *rapid.Generator[string] {
	return rapid.StringMatching(`(connect:|from:|to:|)([ab]|203\.0|\[x\]|a@b)(\.[ab]){0,3}`)
}

func TestTheIndexFindsWhatANaiveWalkFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOf(keyGenerator()).Draw(t, "keys")
		naive := make(map[string]string)
		var text strings.Builder
		for i, key := range keys {
			value := fmt.Sprintf("ERROR:550 line %d", i+1)
			fmt.Fprintf(&text, "%s\t%s\n", strings.ToUpper(key), value)
			if _, ok := naive[key]; !ok {
				naive[key] = value
			}
		}
		table, _, err := Parse("access", strings.NewReader(text.String()), Features{})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range append(keys, rapid.SliceOf(keyGenerator()).Draw(t, "others")...) {
			tag, rest := splitTag(key)
			got, _, ok := table.get(tag, rest)
			want, wantOK := naive[key]
			if got != want || ok != wantOK {
				t.Fatalf("get(%q, %q) = %q, %v, want %q, %v", tag, rest, got, ok, want, wantOK)
			}
		}
		if table.Len() != len(naive) {
			t.Fatalf("%d entries, want %d", table.Len(), len(naive))
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "a", "a b", "a\n", "#\n", " a b\n", "a:b:c d\n", "Connect:203.0.113.0/24 REJECT\n", "Connect:IPv6:2001:db8::/32 RELAY\n",
		"a ERROR:5.7.1:550 x\na QUARANTINE:\n", "a \x00\n", "\xff\xfe ok\n", "x/ y\n", "IPv6:::/0 OK\n", "a 250 yes\n", "::1 OK\n", "a \"\\\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		table, problems, err := Parse("access", strings.NewReader(string(text)), Features{})
		if err != nil {
			if bytes.IndexByte(text, 0) < 0 {
				t.Fatal(err)
			}
			return
		}
		lines := strings.Count(string(text), "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Text == "" || strings.Contains(p.Text, "\n") {
				t.Errorf("problem %+v in %d lines", p, lines)
			}
		}
		s := Search{Table: table, Features: &Features{Skip: true, LookupDotDomain: true}}
		for _, line := range strings.SplitN(string(text), "\n", 20) {
			key, _, _ := strings.Cut(line, " ")
			s.Domain(Connect, key)
			s.Address(Connect, key)
			s.Full(From, key)
			s.User(To, key)
			s.Exact(SpamOnly, key)
		}
	})
}

// bigTable is a table of n lines of the kinds that real ones hold.
func bigTable(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "Connect:%d.%d.%d.%d\tREJECT\n", 11+i>>24&0x7f, i>>16&255, i>>8&255, i&255)
		case 1:
			fmt.Fprintf(&b, "From:user%d@host%d.example.com\tERROR:5.7.1:550 Not wanted\n", i, r.IntN(1000))
		case 2:
			fmt.Fprintf(&b, "domain%d.example\tREJECT\n", i)
		default:
			fmt.Fprintf(&b, "To:user%d@example.org\tRELAY\n", i)
		}
	}
	return b.String()
}

// sessionLookups are the look-ups of one session that finds nothing.
func sessionLookups(s *Search) {
	s.Probes = s.Probes[:0]
	s.List(To, Item{'F', "someone+tag@mail.example.net"}, Item{'D', "mail.example.net"})
	s.Domain(To, "mail.example.net")
	s.Address(Connect, "203.0.113.8")
	s.Domain(Connect, "client.dialup.example.net")
	s.List(SpamOnly, Item{'F', "someone@mail.example.net"}, Item{'D', "mail.example.net"})
	s.List(From, Item{'F', "sender@lists.example.net"}, Item{'U', "sender@"}, Item{'D', "lists.example.net"})
}

// BenchmarkSession shows that the cost of a session's look-ups (40 probes, all
// misses) does not grow with the table.
func BenchmarkSession(b *testing.B) {
	for _, lines := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("lines=%d", lines), func(b *testing.B) {
			s := Search{Table: parse(b, bigTable(lines)), Features: &Features{Skip: true}}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				sessionLookups(&s)
			}
			b.ReportMetric(float64(len(s.Probes)), "probes")
		})
	}
}

// BenchmarkLoad reads a table of a million lines, and reports what its index
// takes beyond the text.
func BenchmarkLoad(b *testing.B) {
	const lines = 1_000_000
	text := bigTable(lines)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		table := parse(b, text)
		b.ReportMetric(float64(len(table.slots)*int(unsafe.Sizeof(slot{})))/lines, "index-B/line")
		b.ReportMetric(float64(len(text))/lines, "text-B/line")
	}
}

func TestAMillionLinesNeedLittleMoreThanTheirText(t *testing.T) {
	const lines = 1_000_000
	table := parse(t, bigTable(lines))
	if table.Len() != lines {
		t.Errorf("%d entries, want %d", table.Len(), lines)
	}
	if perLine := len(table.slots) * int(unsafe.Sizeof(slot{})) / lines; perLine > 40 {
		t.Errorf("the index takes %d bytes a line, want 40 at most", perLine)
	}
}
