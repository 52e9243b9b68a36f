package dnscheck_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"milterd/dnscheck"
)

func TestFrozenAnswers(t *testing.T) {
	f := freeze(t,
		"; made by hand",
		"",
		"a.example. 300 IN A 203.0.113.5",
		"b.example A 203.0.113.6",
		"b.example. SERVFAIL",
		"c.example. SERVFAIL",
		"c.example. A NODATA",
		"C.Example. 300 AAAA 2001:db8::5",
	)
	for _, test := range []struct {
		name  string
		qname string
		qtype uint16
		want  string
	}{
		{"a record", "a.example", dns.TypeA, "FOUND | 300 IN A 203.0.113.5"},
		{"another type of the same name was not asked when it was recorded", "a.example", dns.TypeAAAA, "TEMPORARY | no answer in time"},
		{"nor was another name", "d.example", dns.TypeA, "TEMPORARY | no answer in time"},
		{"a word wins over records", "b.example", dns.TypeA, "TEMPORARY | server failure"},
		{"a word for one type wins over one for all", "c.example", dns.TypeA, "NODATA"},
		{"a word for all types is for all others", "c.example", dns.TypeAAAA, "TEMPORARY | server failure"},
		{"a type that nobody asks for", "a.example", dns.TypeSOA, "TEMPORARY | server failure"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := says(f.Lookup(context.Background(), test.qname, test.qtype)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestFrozenAnswersDoNotDependOnTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got := freeze(t, "a.example. A 203.0.113.5").Lookup(ctx, "a.example", dns.TypeA); got.Status != dnscheck.Found {
		t.Errorf("got %s", says(got))
	}
}

func TestBadFrozenLines(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"a.example.", `read frozen answers: dns line 1 "a.example.": expected a name and a fault, or a resource record`},
		{"a.example. REFUSED", `read frozen answers: dns line 1 "a.example. REFUSED": expected a resource record or a fault`},
		{"a.example. DELAY=1s", `read frozen answers: dns line 1 "a.example. DELAY=1s": expected a resource record or a fault`},
		{"$INCLUDE /etc/passwd", `read frozen answers: dns line 1 "$INCLUDE /etc/passwd": directives are not supported, expected a record or a fault`},
		{"$GENERATE 1-9999999 a$ A 1.2.3.4", `read frozen answers: dns line 1 "$GENERATE 1-9999999 a$ A 1.2.3.4": directives are not supported, expected a record or a fault`},
	} {
		_, err := dnscheck.NewFrozen([]string{test.line})
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
}

// In one session a question has one definite answer, and a replay sees the same.
func TestARecorderKeepsTheFirstDefiniteAnswer(t *testing.T) {
	n := 0
	r := dnscheck.NewRecorder(resolverFunc(func(string, uint16) dnscheck.Result {
		n++
		switch n {
		case 1:
			return dnscheck.Result{Err: dnscheck.ErrCanceled}
		case 2:
			return dnscheck.Result{Err: dnscheck.ErrServFail}
		case 3:
			return dnscheck.Result{Err: dnscheck.ErrTimeout}
		case 4:
			return dnscheck.Result{Status: dnscheck.NXDomain}
		}
		return dnscheck.Result{Status: dnscheck.NoData}
	}))
	for i, c := range []struct {
		says  string
		lines []string
	}{
		{"TEMPORARY | look-up canceled", []string{"a.example. A TIMEOUT"}},
		{"TEMPORARY | server failure", []string{"a.example. A SERVFAIL"}},
		{"TEMPORARY | no answer in time", []string{"a.example. A TIMEOUT"}},
		{"NXDOMAIN", []string{"a.example. A NXDOMAIN"}},
		{"NXDOMAIN", []string{"a.example. A NXDOMAIN"}},
	} {
		if got := says(r.Lookup(context.Background(), "A.example", dns.TypeA)); got != c.says {
			t.Errorf("look-up %d: got %s, want %s", i+1, got, c.says)
		}
		if diff := cmp.Diff(c.lines, r.Lines()); diff != "" {
			t.Errorf("lines after look-up %d (-want +got):\n%s", i+1, diff)
		}
	}
	if n != 4 {
		t.Errorf("asked %d times, want 4", n)
	}
}

// A session cannot make a recorder grow for ever, and is answered all the same.
func TestARecorderIsBounded(t *testing.T) {
	asked := 0
	r := dnscheck.NewRecorder(resolverFunc(func(name string, _ uint16) dnscheck.Result {
		if asked++; asked == 8 {
			return dnscheck.Result{Err: dnscheck.ErrTimeout}
		}
		return dnscheck.Result{Status: dnscheck.NXDomain}
	}))
	for i := range 1500 {
		want := "NXDOMAIN"
		if i == 7 {
			want = "TEMPORARY | no answer in time"
		}
		if got := says(r.Lookup(context.Background(), fmt.Sprintf("n%d.example", i), dns.TypeA)); got != want {
			t.Errorf("question %d: got %s, want %s", i, got, want)
		}
	}
	if got := len(r.Lines()); got != 1000 || asked != 1500 {
		t.Errorf("asked %d and recorded %d, want 1500 and 1000", asked, got)
	}
	for _, c := range []struct {
		name  string
		asked int
	}{{"n8.example", 1500}, {"n7.example", 1501}, {"n7.example", 1501}, {"n1400.example", 1502}, {"n1400.example", 1503}} {
		if got := says(r.Lookup(context.Background(), c.name, dns.TypeA)); got != "NXDOMAIN" || asked != c.asked {
			t.Errorf("%s again: got %s, asked %d, want NXDOMAIN, %d", c.name, got, asked, c.asked)
		}
	}
	if got := strings.Join(r.Lines(), "\n"); !strings.Contains(got, "n7.example. A NXDOMAIN") || strings.Contains(got, "n1400.") {
		t.Error("a definite answer did not replace a temporary one, or one beyond the bound was recorded")
	}
}

// FuzzFrozen: whatever lines are taken, what a session with them records is
// taken again and answers the same.
func FuzzFrozen(f *testing.F) {
	for _, lines := range []string{
		"a.example. 300 IN A 203.0.113.5",
		"a.example. 300 IN CNAME b.example.\nb.example. A 203.0.113.5",
		`a.example. TXT "x" "\000\"\\"`,
		"a.example. PTR b\\046c.example.",
		"a.example. MX 10 .\na.example. MX 5 mx.example.",
		"a.example. NXDOMAIN", "a.example. A TIMEOUT", "a.example. AAAA ::ffff:1.2.3.4",
	} {
		f.Add(lines)
	}
	f.Fuzz(func(t *testing.T, text string) {
		frozen, err := dnscheck.NewFrozen(strings.Split(text, "\n"))
		if err != nil {
			return
		}
		first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		names := []string{"a.example", strings.TrimSpace(first)}
		types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR, dns.TypeMX, dns.TypeTXT}
		r := dnscheck.NewRecorder(frozen)
		for _, name := range names {
			for _, qtype := range types {
				r.Lookup(context.Background(), name, qtype)
			}
		}
		again, err := dnscheck.NewFrozen(r.Lines())
		if err != nil {
			t.Fatalf("%q: %v", r.Lines(), err)
		}
		for _, name := range names {
			for _, qtype := range types {
				want := says(r.Lookup(context.Background(), name, qtype))
				if got := says(again.Lookup(context.Background(), name, qtype)); got != want {
					t.Errorf("%s %d: got %s, want %s", name, qtype, got, want)
				}
			}
		}
	})
}

func TestPrintable(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"plain text", "plain text"},
		{"  spaces \t and\r\nlines  ", "spaces and lines"},
		{"\x00\x1b[31mred\x7f", "[31mred"},
		{"über\xff", "ber"},
		{"a\u202eb", "a b"},
		{strings.Repeat("x", 1000), strings.Repeat("x", 199)},
		{strings.Repeat("x", 198) + " yz", strings.Repeat("x", 198) + " y"},
		{"", ""},
	} {
		if got := dnscheck.Printable(test.text); got != test.want {
			t.Errorf("%.20q: got %q, want %q", test.text, got, test.want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("text \x00 \r\n 550 5.7.1 more \xff\u202e")
	f.Fuzz(func(t *testing.T, text string) {
		got := dnscheck.Printable(text)
		if len(got) > 200 {
			t.Errorf("%d characters", len(got))
		}
		for i := range len(got) {
			if got[i] < ' ' || got[i] > '~' {
				t.Errorf("%q", got)
			}
		}
		if again := dnscheck.Printable(got); again != got {
			t.Errorf("%q, then %q", got, again)
		}
	})
}

// FuzzHostNames: whatever a PTR record, a HELO or a sender says, the checks
// take it, and the names they ask for are names.
func FuzzHostNames(f *testing.F) {
	for _, name := range []string{"mx.good.example", "203.0.113.8", "[203.0.113.8]", "a..b", "Bücher.example", "xn--a.example", "-a.example", "a_b.c.", "a.in-addr.arpa"} {
		f.Add(name)
	}
	lists, err := dnscheck.NewLists([]dnscheck.List{{Zone: "dbl.example", Kind: dnscheck.DomainList, Weight: 1}}, dnscheck.ListOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		r := resolverFunc(func(asked string, _ uint16) dnscheck.Result {
			if strings.Trim(asked, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || strings.Contains(asked, "..") {
				t.Errorf("asked for %q", asked)
			}
			return dnscheck.Result{Status: dnscheck.NoData}
		})
		for _, asked := range lists.CheckNames(context.Background(), r, name).Names {
			if last := asked[strings.LastIndexByte(asked, '.')+1:]; strings.Trim(last, "0123456789") == "" {
				t.Errorf("a domain list was asked about %q", asked)
			}
		}
		dnscheck.CheckMailDomain(context.Background(), r, name, dnscheck.MailOptions{BadMX: true})
	})
}

func TestFrozenCountsWhatItHasNoLineFor(t *testing.T) {
	f := freeze(t, "slow.example. TIMEOUT", "a.example. CNAME b.example.", "good.example. A 203.0.113.8")
	for _, test := range []struct {
		name  string
		qtype uint16
		n     int
		first string
	}{
		{"slow.example", dns.TypeA, 0, ""},
		{"good.example", dns.TypeA, 0, ""},
		{"not a name..", dns.TypeA, 0, ""},
		{"a.example", dns.TypeMX, 1, "b.example. MX"},
		{"good.example", dns.TypeMX, 2, "b.example. MX"},
	} {
		f.Lookup(t.Context(), test.name, test.qtype)
		if n, first := f.Missing(); n != test.n || first != test.first {
			t.Errorf("after %s %s: %d missing, first %q, want %d, %q", test.name, dns.TypeToString[test.qtype], n, first, test.n, test.first)
		}
	}
	if n, first := (*dnscheck.Frozen)(nil).Missing(); n != 0 || first != "" {
		t.Errorf("one that was not asked misses %d, first %q", n, first)
	}
}
