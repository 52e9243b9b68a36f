package dnscheck_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"milterd/dnscheck"
)

// world is what most tests of look-ups ask about.
var world = []string{
	"mx.good.example. 300 IN A 203.0.113.5",
	"mx.good.example. 300 IN AAAA 2001:db8::5",
	"5.113.0.203.in-addr.arpa. 300 IN PTR MX.Good.Example.",
	"two.example. 300 IN A 203.0.113.7",
	"two.example. 60 IN A 203.0.113.6",
	"good.example. 300 IN MX 20 b.good.example.",
	"good.example. 300 IN MX 10 c.good.example.",
	`text.example. 300 IN TXT "a \"quoted\" " "and \000 binary \255 text"`,
	"mapped.example. 300 IN AAAA ::ffff:203.0.113.5",
	`odd.example. 300 IN PTR a\.b\032c.example.`,
	"alias.example. 30 IN CNAME alias2.example.",
	"alias2.example. 300 IN CNAME mx.good.example.",
	"lost.example. 300 IN CNAME nowhere.example.",
	"nowhere.example. NXDOMAIN",
	"vain.example. 300 IN CNAME empty.example.",
	"empty.example. NODATA",
	"ill.example. 300 IN CNAME temp.example.",
	"temp.example. SERVFAIL",
	"loop.example. 300 IN CNAME pool.example.",
	"pool.example. 300 IN CNAME loop.example.",
	"none.example. NXDOMAIN",
	"half.example. A SERVFAIL",
	"half.example. 300 IN AAAA 2001:db8::6",
	"silent.example. TIMEOUT",
}

// says sums up a result.
func says(r dnscheck.Result) string {
	words := []string{r.Status.String()}
	for _, record := range r.Records {
		words = append(words, record.String())
	}
	if r.Err != nil {
		words = append(words, r.Err.Error())
	}
	return strings.Join(words, " | ")
}

var lookups = []struct {
	name  string
	qname string
	qtype uint16
	want  string
}{
	{"an address is found", "mx.good.example", dns.TypeA, "FOUND | 300 IN A 203.0.113.5"},
	{"case and the final dot make no difference", "MX.good.EXAMPLE.", dns.TypeAAAA, "FOUND | 300 IN AAAA 2001:db8::5"},
	{"names in answers are in lower case", "5.113.0.203.in-addr.arpa", dns.TypePTR, "FOUND | 300 IN PTR mx.good.example."},
	{"records are sorted and have the least time to live", "two.example", dns.TypeA, "FOUND | 60 IN A 203.0.113.6 | 60 IN A 203.0.113.7"},
	{"MX records are sorted by preference", "good.example", dns.TypeMX, "FOUND | 300 IN MX 10 c.good.example. | 300 IN MX 20 b.good.example."},
	{"strings of a text are joined", "text.example", dns.TypeTXT, `FOUND | 300 IN TXT "a \"quoted\" and \000 binary \255 text"`},
	{"a mapped address stays an IPv6 address", "mapped.example", dns.TypeAAAA, "FOUND | 300 IN AAAA ::ffff:203.0.113.5"},
	{"what no host name holds is escaped", "odd.example", dns.TypePTR, `FOUND | 300 IN PTR a\.b\ c.example.`},
	{"aliases are followed, the least time to live counts", "alias.example", dns.TypeA, "FOUND | 30 IN A 203.0.113.5"},
	{"an alias may lead to a name that does not exist", "lost.example", dns.TypeA, "NXDOMAIN"},
	{"an alias may lead to a name without such records", "vain.example", dns.TypeA, "NODATA"},
	{"an alias may lead to a failure", "ill.example", dns.TypeA, "TEMPORARY | server failure"},
	{"aliases that loop are a failure", "loop.example", dns.TypeA, "TEMPORARY | server failure"},
	{"a name does not exist", "none.example", dns.TypeA, "NXDOMAIN"},
	{"a name has no such records", "empty.example", dns.TypeMX, "NODATA"},
	{"one type fails", "half.example", dns.TypeA, "TEMPORARY | server failure"},
	{"another type of the name does not", "half.example", dns.TypeAAAA, "FOUND | 300 IN AAAA 2001:db8::6"},
	{"a server fails", "temp.example", dns.TypeA, "TEMPORARY | server failure"},
	{"nobody answers", "silent.example", dns.TypeA, "TEMPORARY | no answer in time"},
	{"an empty name does not exist", "", dns.TypeA, "NXDOMAIN"},
	{"a name with an empty label does not exist", "a..example", dns.TypeA, "NXDOMAIN"},
	{"a name with a long label does not exist", strings.Repeat("a", 64) + ".example", dns.TypeA, "NXDOMAIN"},
	{"a name that is too long does not exist", strings.Repeat("a.", 127) + "a", dns.TypeA, "NXDOMAIN"},
	{"a name with a space does not exist", "a b.example", dns.TypeA, "NXDOMAIN"},
	{"a name with an escape does not exist", `a\.b.example`, dns.TypeA, "NXDOMAIN"},
	{"a name with a control character does not exist", "a\x00.example", dns.TypeA, "NXDOMAIN"},
}

func TestLookupsOfAClient(t *testing.T) {
	s := serve(t, world...)
	c := dial(t, s, dnscheck.Config{TryTimeout: silence})
	for _, test := range lookups {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := says(c.Lookup(withPatience(t), test.qname, test.qtype)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestLookupsOfAFrozenResolver(t *testing.T) {
	f := freeze(t, world...)
	for _, test := range lookups {
		t.Run(test.name, func(t *testing.T) {
			if got := says(f.Lookup(context.Background(), test.qname, test.qtype)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestWhatARecorderWritesAFrozenResolverAnswers(t *testing.T) {
	s := serve(t, world...)
	r := dnscheck.NewRecorder(dial(t, s, dnscheck.Config{TryTimeout: silence}))
	live := make([]dnscheck.Result, len(lookups))
	for i, test := range lookups {
		live[i] = r.Lookup(withPatience(t), test.qname, test.qtype)
	}
	lines := r.Lines()
	f := freeze(t, lines...)
	again := dnscheck.NewRecorder(f)
	for i, test := range lookups {
		got := again.Lookup(context.Background(), test.qname, test.qtype)
		if diff := cmp.Diff(live[i], got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateErrors()); diff != "" {
			t.Errorf("%s (-live +frozen):\n%s", test.name, diff)
		}
	}
	if diff := cmp.Diff(lines, again.Lines()); diff != "" {
		t.Errorf("lines of a replay (-live +frozen):\n%s", diff)
	}
}

func TestAnswersAreRemembered(t *testing.T) {
	s := serve(t, world...)
	c := dial(t, s, dnscheck.Config{TryTimeout: silence, Attempts: 1})
	for _, name := range []string{"mx.good.example", "alias.example", "none.example", "empty.example", "temp.example", "silent.example"} {
		first := c.Lookup(withPatience(t), name, dns.TypeA)
		total := s.Total()
		second := c.Lookup(withPatience(t), name, dns.TypeA)
		if diff := cmp.Diff(says(first), says(second)); diff != "" {
			t.Errorf("%s: the second answer differs (-first +second):\n%s", name, diff)
		}
		if got := s.Total(); got != total {
			t.Errorf("%s: the server was asked again", name)
		}
	}
}

func TestTruncatedAnswersComeOverTCP(t *testing.T) {
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf("many.example. 300 IN A 198.51.100.%d", i+1))
	}
	lines = append(lines,
		"marked.example. 300 IN A 203.0.113.5", "marked.example. TRUNCATED",
		"gone.example. TRUNCATED", "gone.example. NXDOMAIN")
	s := serve(t, lines...)
	c := dial(t, s, dnscheck.Config{})
	for _, test := range []struct {
		name string
		want int
	}{{"many.example", 200}, {"marked.example", 1}, {"gone.example", 0}} {
		r := c.Lookup(withPatience(t), test.name, dns.TypeA)
		if len(r.Records) != test.want || r.Status == dnscheck.Temporary {
			t.Errorf("%s: got %d records and status %v, want %d", test.name, len(r.Records), r.Status, test.want)
		}
	}
	if got := c.Stats().TCP.Load(); got != 3 {
		t.Errorf("got %d queries over TCP, want 3", got)
	}
}

func TestWrongAnswersAreIgnored(t *testing.T) {
	s := serve(t,
		"id.example. 300 IN A 203.0.113.5", "id.example. WRONGID", "id.example. DELAY=50ms",
		"question.example. 300 IN A 203.0.113.6", "question.example. WRONGQUESTION",
		"both.example. 300 IN A 203.0.113.7", "both.example. WRONGID", "both.example. WRONGQUESTION",
		"never.example. WRONGID", "never.example. TIMEOUT",
	)
	c := dial(t, s, dnscheck.Config{TryTimeout: silence, Attempts: 1})
	for _, test := range []struct{ name, want string }{
		{"id.example", "FOUND | 300 IN A 203.0.113.5"},
		{"question.example", "FOUND | 300 IN A 203.0.113.6"},
		{"both.example", "FOUND | 300 IN A 203.0.113.7"},
		{"never.example", "TEMPORARY | no answer in time"},
	} {
		if got := says(c.Lookup(withPatience(t), test.name, dns.TypeA)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if got := c.Stats().Ignored.Load(); got != 5 {
		t.Errorf("got %d ignored messages, want 5", got)
	}
}

// deadAddr is an address that takes datagrams and never answers.
func deadAddr(t testing.TB) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.LocalAddr().String()
}

// closedAddr is an address that refuses.
func closedAddr(t testing.TB) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.LocalAddr().String()
}

func TestADeadFirstServer(t *testing.T) {
	s := serve(t, world...)
	ill := serve(t, "mx.good.example. SERVFAIL", "two.example. REFUSED", "good.example. NOTIMP")
	for _, test := range []struct{ name, first string }{
		{"is silent", deadAddr(t)}, {"refuses the connection", closedAddr(t)}, {"fails", ill.Addr()},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, s, dnscheck.Config{Servers: []string{test.first, s.Addr()}, TryTimeout: silence})
			for _, name := range []string{"mx.good.example", "two.example"} {
				if got := c.Lookup(withPatience(t), name, dns.TypeA); got.Status != dnscheck.Found {
					t.Errorf("%s: got %s, want an address of the second server", name, says(got))
				}
			}
		})
	}
}

func TestAServerThatDoesNotAnswerIsPutLast(t *testing.T) {
	s := serve(t, world...)
	c := dial(t, s, dnscheck.Config{Servers: []string{deadAddr(t), s.Addr()}, TryTimeout: silence})
	for _, name := range []string{"mx.good.example", "two.example", "none.example", "alias.example", "lost.example"} {
		c.Lookup(withPatience(t), name, dns.TypeA)
	}
	if got := c.Stats().Timeouts.Load(); got != 2 {
		t.Errorf("got %d time-outs, want 2: then the first server is not asked first any more", got)
	}
}

func TestAllServersAreDead(t *testing.T) {
	c := dial(t, nil, dnscheck.Config{Servers: []string{deadAddr(t), closedAddr(t)}, TryTimeout: silence})
	if got, want := says(c.Lookup(withPatience(t), "a.example", dns.TypeA)), "TEMPORARY | no answer in time"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := c.Stats(); got.Timeouts.Load() != 2 || got.Network.Load() != 2 {
		t.Errorf("got %d time-outs and %d refusals, want each server tried twice", got.Timeouts.Load(), got.Network.Load())
	}
}
