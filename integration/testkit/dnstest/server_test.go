package dnstest_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"milterd/integration/testkit/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server for one test.
func start(t *testing.T, o dnstest.Options) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// ask sends one query and sums the answer up: the code, the data of the
// answer section, and whether an SOA record came with it.
func ask(s *dnstest.Server, network, name string, qtype uint16, timeout time.Duration) string {
	client := dns.Client{Net: network, Timeout: timeout}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), s.Addr())
	if err != nil {
		if netErr, ok := err.(net.Error); ok && netErr.Timeout() {
			return "timeout"
		}
		return err.Error()
	}
	words := []string{dns.RcodeToString[reply.Rcode]}
	for _, rr := range reply.Answer {
		words = append(words, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	if len(reply.Ns) == 1 && reply.Ns[0].Header().Rrtype == dns.TypeSOA {
		words = append(words, "+SOA")
	}
	if reply.Truncated {
		words = append(words, "+TC")
	}
	return strings.Join(words, " ")
}

var lines = []string{
	"; the records of a small world",
	"",
	"mx.good.example. 300 IN A 203.0.113.5",
	"MX.Good.Example. 300 IN AAAA 2001:db8::5",
	"two.example A 203.0.113.6",
	"two.example A 203.0.113.7",
	"5.113.0.203.in-addr.arpa. PTR mx.good.example.",
	"6.113.0.203.in-addr.arpa. IN CNAME 6.sub.113.0.203.in-addr.arpa.",
	"6.sub.113.0.203.in-addr.arpa. IN PTR two.example.",
	"lost.example. CNAME nowhere.example.",
	"loop.example. CNAME loop.example.",
	"ill.example. CNAME temp.example.",
	"7.113.0.203.in-addr.arpa. NXDOMAIN",
	"text.example. TXT NODATA spelled out as a text",
	"empty.example. NODATA",
	"temp.example SERVFAIL",
	"no.example. REFUSED",
	"half.example. 300 IN A 203.0.113.8",
	"half.example. AAAA SERVFAIL",
	"silent.example. TIMEOUT",
	"quiet.example. A TIMEOUT",
	"quiet.example. AAAA 2001:db8::9",
}

func TestAnswers(t *testing.T) {
	s := start(t, dnstest.Options{Lines: lines})
	for _, c := range []struct {
		name  string
		qname string
		qtype uint16
		want  string
	}{
		{"a record is found", "mx.good.example", dns.TypeA, "NOERROR 203.0.113.5"},
		{"names are compared without case", "mX.gOOD.example", dns.TypeAAAA, "NOERROR 2001:db8::5"},
		{"all records of a name and type are given", "two.example", dns.TypeA, "NOERROR 203.0.113.6 203.0.113.7"},
		{"a PTR record is found", "5.113.0.203.in-addr.arpa", dns.TypePTR, "NOERROR mx.good.example."},
		{"an alias is followed", "6.113.0.203.in-addr.arpa", dns.TypePTR, "NOERROR 6.sub.113.0.203.in-addr.arpa. two.example."},
		{"an alias itself can be asked for", "6.113.0.203.in-addr.arpa", dns.TypeCNAME, "NOERROR 6.sub.113.0.203.in-addr.arpa."},
		{"an alias may lead nowhere", "lost.example", dns.TypeA, "NXDOMAIN nowhere.example. +SOA"},
		{"an alias may lead to itself", "loop.example", dns.TypeA, "SERVFAIL"},
		{"an alias may lead to a fault", "ill.example", dns.TypeA, "SERVFAIL"},
		{"another type of an existing name is no data", "two.example", dns.TypeMX, "NOERROR +SOA"},
		{"a name above an existing one exists", "good.example", dns.TypeA, "NOERROR +SOA"},
		{"an unknown name does not exist", "unknown.test", dns.TypeA, "NXDOMAIN +SOA"},
		{"NXDOMAIN is answered where told", "7.113.0.203.in-addr.arpa", dns.TypePTR, "NXDOMAIN +SOA"},
		{"NODATA is answered where told", "empty.example", dns.TypeA, "NOERROR +SOA"},
		{"a record whose data begins like a fault is a record", "text.example", dns.TypeTXT, `NOERROR "NODATA" "spelled" "out" "as" "a" "text"`},
		{"SERVFAIL is answered where told", "temp.example", dns.TypeA, "SERVFAIL"},
		{"REFUSED is answered where told", "no.example", dns.TypeA, "REFUSED"},
		{"a fault of one type leaves the others alone", "half.example", dns.TypeA, "NOERROR 203.0.113.8"},
		{"a fault of one type is answered for that type", "half.example", dns.TypeAAAA, "SERVFAIL"},
		{"a time-out of one type leaves the others alone", "quiet.example", dns.TypeAAAA, "NOERROR 2001:db8::9"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(c.name+" over "+network, func(t *testing.T) {
				if got := ask(s, network, c.qname, c.qtype, 5*time.Second); got != c.want {
					t.Errorf("%s %s: got %q, want %q", c.qname, dns.TypeToString[c.qtype], got, c.want)
				}
			})
		}
	}
}

func TestTimeoutNeverAnswers(t *testing.T) {
	s := start(t, dnstest.Options{Lines: lines, Unknown: dnstest.UnknownTimeout})
	for _, name := range []string{"silent.example.", "quiet.example.", "unknown.test."} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+" over "+network, func(t *testing.T) {
				if got := ask(s, network, name, dns.TypeA, 100*time.Millisecond); got != "timeout" {
					t.Errorf("got %q, want no answer", got)
				}
				// The question arrived: it was the answer that did not come.
				if s.Count(name, dns.TypeA) == 0 {
					t.Errorf("%s was not counted", name)
				}
			})
		}
	}
}

func TestLongAnswersAreTruncatedOverUDPOnly(t *testing.T) {
	var long []string
	for i := range 60 {
		long = append(long, fmt.Sprintf("many.example. A 198.51.100.%d", i+1))
	}
	s := start(t, dnstest.Options{Lines: long})
	if got := ask(s, "udp", "many.example", dns.TypeA, 5*time.Second); !strings.HasSuffix(got, "+TC") {
		t.Errorf("udp: got %q, want the truncated bit", got)
	}
	got := ask(s, "tcp", "many.example", dns.TypeA, 5*time.Second)
	if n := len(strings.Fields(got)) - 1; n != 60 || strings.HasSuffix(got, "+TC") {
		t.Errorf("tcp: got %d addresses, want 60 and no truncated bit", n)
	}

	// With EDNS the client's own size counts.
	query := new(dns.Msg).SetQuestion("many.example.", dns.TypeA).SetEdns0(4096, false)
	client := dns.Client{Net: "udp", Timeout: 5 * time.Second}
	reply, _, err := client.Exchange(query, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if reply.Truncated || len(reply.Answer) != 60 || reply.IsEdns0() == nil {
		t.Errorf("udp with EDNS: got %d addresses, truncated %t; want 60 in one answer", len(reply.Answer), reply.Truncated)
	}
}

func TestTricks(t *testing.T) {
	s := start(t, dnstest.Options{Lines: []string{
		"cut.example. A 203.0.113.1", "cut.example. TRUNCATED",
		"id.example. A 203.0.113.2", "id.example. A WRONGID",
		"question.example. A 203.0.113.3", "question.example. WRONGQUESTION",
		"both.example. A 203.0.113.4", "both.example. WRONGQUESTION", "both.example. WRONGID",
		"mute.example. WRONGID", "mute.example. TIMEOUT",
		"slow.example. A 203.0.113.5", "slow.example. DELAY=300ms",
	}})
	// replies are what comes for one query, until something ends it.
	replies := func(network, name string, n int) []string {
		t.Helper()
		conn, err := dns.Dial(network, s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		query := new(dns.Msg).SetQuestion(name, dns.TypeA)
		if err := conn.WriteMsg(query); err != nil {
			t.Fatal(err)
		}
		var got []string
		for range n {
			m, err := conn.ReadMsg()
			if err != nil {
				t.Fatal(err)
			}
			words := []string{dns.RcodeToString[m.Rcode]}
			if m.Id != query.Id {
				words = append(words, "wrong id")
			}
			if m.Question[0].Name != name {
				words = append(words, "wrong question")
			}
			if m.Truncated {
				words = append(words, "truncated")
			}
			for _, rr := range m.Answer {
				words = append(words, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			got = append(got, strings.Join(words, ", "))
		}
		return got
	}
	for _, c := range []struct {
		network, name string
		want          []string
	}{
		{"udp", "cut.example.", []string{"NOERROR, truncated"}},
		{"tcp", "cut.example.", []string{"NOERROR, 203.0.113.1"}},
		{"udp", "id.example.", []string{"NXDOMAIN, wrong id", "NOERROR, 203.0.113.2"}},
		{"tcp", "id.example.", []string{"NXDOMAIN, wrong id", "NOERROR, 203.0.113.2"}},
		{"udp", "question.example.", []string{"NXDOMAIN, wrong question", "NOERROR, 203.0.113.3"}},
		{"udp", "both.example.", []string{"NXDOMAIN, wrong question", "NXDOMAIN, wrong id", "NOERROR, 203.0.113.4"}},
		{"udp", "mute.example.", []string{"NXDOMAIN, wrong id"}},
	} {
		t.Run(c.name+" over "+c.network, func(t *testing.T) {
			if diff := cmp.Diff(c.want, replies(c.network, c.name, len(c.want))); diff != "" {
				t.Errorf("replies (-want +got):\n%s", diff)
			}
		})
	}
	begin := time.Now()
	replies("udp", "slow.example.", 1)
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("the delayed answer came after %v", took)
	}
}

// A delay does not hold up the end of a server.
func TestCloseDuringADelay(t *testing.T) {
	s, err := dnstest.Start(dnstest.Options{Lines: []string{"slow.example. A 203.0.113.5", "slow.example. DELAY=1h"}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dns.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion("slow.example.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.Total() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the query never arrived")
		}
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestQueryWithoutQuestion(t *testing.T) {
	s := start(t, dnstest.Options{})
	client := dns.Client{Timeout: 5 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg), s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if reply.Rcode != dns.RcodeFormatError {
		t.Errorf("got %s, want FORMERR", dns.RcodeToString[reply.Rcode])
	}
}

func TestQueryLog(t *testing.T) {
	s := start(t, dnstest.Options{Lines: lines})
	ask(s, "udp", "MX.good.example", dns.TypeA, 5*time.Second)
	ask(s, "tcp", "mx.good.example", dns.TypeA, 5*time.Second)
	ask(s, "udp", "unknown.test", dns.TypePTR, 5*time.Second)
	want := []dnstest.Query{
		{Name: "mx.good.example.", Type: dns.TypeA, Net: "udp"},
		{Name: "mx.good.example.", Type: dns.TypeA, Net: "tcp"},
		{Name: "unknown.test.", Type: dns.TypePTR, Net: "udp"},
	}
	if diff := cmp.Diff(want, s.Queries()); diff != "" {
		t.Errorf("queries (-want +got):\n%s", diff)
	}
	if got := s.Count("Mx.Good.Example", dns.TypeA); got != 2 {
		t.Errorf("count: got %d, want 2", got)
	}
	if got := s.Total(); got != 3 {
		t.Errorf("total: got %d, want 3", got)
	}
	s.ResetLog()
	if got := s.Queries(); len(got) != 0 || s.Total() != 0 {
		t.Errorf("after a reset: got %v, want none", got)
	}
}

func TestSetLines(t *testing.T) {
	s := start(t, dnstest.Options{Lines: []string{"a.example. A 203.0.113.1"}})
	if err := s.SetLines([]string{"a.example. A 203.0.113.2"}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetLines([]string{"a.example. A"}); err == nil {
		t.Error("a wrong line was taken")
	}
	if got, want := ask(s, "udp", "a.example", dns.TypeA, 5*time.Second), "NOERROR 203.0.113.2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	s := start(t, dnstest.Options{Lines: lines})
	const clients = 32
	answers := make([]string, clients)
	var wg sync.WaitGroup
	for i := range clients {
		network := []string{"udp", "tcp"}[i%2]
		wg.Go(func() { answers[i] = ask(s, network, "mx.good.example", dns.TypeA, 20*time.Second) })
	}
	wg.Wait()
	if i := slices.IndexFunc(answers, func(a string) bool { return a != "NOERROR 203.0.113.5" }); i >= 0 {
		t.Errorf("client %d got %q", i, answers[i])
	}
	if got := s.Count("mx.good.example", dns.TypeA); got != clients {
		t.Errorf("count: got %d, want %d", got, clients)
	}
}

func TestCloseWhileAClientWaits(t *testing.T) {
	s, err := dnstest.Start(dnstest.Options{Lines: lines})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dns.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion("silent.example.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.Total() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the query never arrived")
		}
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := conn.ReadMsg(); err == nil {
		t.Error("got an answer, want a closed connection")
	}
}

func TestStartTwiceOnOneAddress(t *testing.T) {
	s := start(t, dnstest.Options{})
	if _, err := dnstest.Start(dnstest.Options{Addr: s.Addr()}); err == nil {
		t.Error("a second server started on the same address")
	}
}

func TestBadLines(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"a name alone is no record", "a.example.", `dns line 2 "a.example.": expected a name and a fault, or a resource record`},
		{"a fault of an unknown type is refused", "a.example. AAAAA TIMEOUT", `dns line 2 "a.example. AAAAA TIMEOUT": "AAAAA" is not a record type`},
		{"a directive is refused", "$INCLUDE /etc/passwd", `dns line 2 "$INCLUDE /etc/passwd": directives are not supported, expected a record or a fault`},
		{"a wrong address is refused", "a.example. A 1.2.3", `dns line 2 "a.example. A 1.2.3": expected a resource record or a fault: `},
		{"a delay that is none is refused", "a.example. DELAY=soon", `dns line 2 "a.example. DELAY=soon": expected a resource record or a fault`},
		{"two lines in one are refused", "a.example. A 203.0.113.1\nb.example. A 203.0.113.2", `dns line 2 "a.example. A 203.0.113.1\nb.example. A 203.0.113.2": expected a single line`},
		{"another class is refused", "a.example. CH TXT hello", `dns line 2 "a.example. CH TXT hello": expected a record of class IN`},
		{"a misspelled fault is refused", "a.example. NXDOMIAN", `dns line 2 "a.example. NXDOMIAN": expected a resource record or a fault`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := dnstest.Start(dnstest.Options{Lines: []string{"; first", c.line}})
			if err == nil {
				_ = s.Close()
				t.Fatal("the line was taken")
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %q, want it to begin with %q", err, c.want)
			}
		})
	}
}
