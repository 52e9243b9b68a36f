package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"milterd/dnscheck"
	"milterd/integration/testkit"
)

// client asks the laboratory's resolver.
func client(t *testing.T, config dnscheck.Config) *dnscheck.Client {
	t.Helper()
	need(t)
	if len(config.Servers) == 0 {
		config.Servers = []string{lab.resolver}
	}
	c, err := dnscheck.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func withPatience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	t.Cleanup(cancel)
	return ctx
}

// both gives the resolvers to test with: the client under a Recorder, and then
// the replay of what it recorded.
func both(t *testing.T, c dnscheck.Resolver, check func(t *testing.T, r dnscheck.Resolver) string, want string) {
	t.Helper()
	recorder := dnscheck.NewRecorder(c)
	if diff := cmp.Diff(want, check(t, recorder)); diff != "" {
		t.Errorf("live (-want +got):\n%s", diff)
	}
	frozen, err := dnscheck.NewFrozen(recorder.Lines())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, check(t, frozen)); diff != "" {
		t.Errorf("replayed (-want +got):\n%s", diff)
	}
}

func TestIPRev(t *testing.T) {
	c := client(t, dnscheck.Config{})
	for _, test := range []struct{ name, addr, want string }{
		{"a name that leads back", "203.0.113.5", "iprev pass: mx.good.example confirmed"},
		{"an IPv6 address", "2001:db8::5", "iprev pass: mx.good.example confirmed"},
		{"a name that leads elsewhere", "203.0.113.6", "iprev fail: forged.example other address"},
		{"no name", "203.0.113.7", "iprev permerror"},
		{"no name of an IPv6 address", "2001:db8::7", "iprev permerror"},
		{"the second of two names leads back", "203.0.113.10", "iprev pass: first.example other address, second.example confirmed"},
		{"a name whose servers are down", "203.0.113.11", "iprev temperror: broken.test no answer"},
		{"a delegation by alias", "203.0.113.16", "iprev fail: alias16.example no address"},
		{"a name with more addresses than fit into a datagram", "198.51.100.1", "iprev pass: many.example confirmed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			both(t, c, func(t *testing.T, r dnscheck.Resolver) string {
				return dnscheck.CheckIPRev(withPatience(t), r, netip.MustParseAddr(test.addr)).String()
			}, test.want)
		})
	}
	if c.Stats().TCP.Load() == 0 {
		t.Error("no answer came over TCP")
	}
}

func TestMailDomains(t *testing.T) {
	c := client(t, dnscheck.Config{})
	for _, test := range []struct{ domain, want string }{
		{"good.example", "ok"},
		{"mx.good.example", "ok"},
		{"Bücher.example", "ok"},
		{"chain1.example", "ok"},
		{"nowhere.example", "no such domain"},
		{"lost.example", "no such domain"},
		{"null.example", "null MX"},
		{"inward.example", "unusable MX"},
		{"broken.test", "no answer"},
	} {
		t.Run(test.domain, func(t *testing.T) {
			both(t, c, func(t *testing.T, r dnscheck.Resolver) string {
				return dnscheck.CheckMailDomain(withPatience(t), r, test.domain, dnscheck.MailOptions{BadMX: true}).Status.String()
			}, test.want)
		})
	}
}

func newLists(t *testing.T, o dnscheck.ListOptions, lists ...dnscheck.List) *dnscheck.Lists {
	t.Helper()
	l, err := dnscheck.NewLists(lists, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// summary is a report of one list or several whose answers do not depend on
// who comes first.
func summary(r dnscheck.ListReport) string {
	words := []string{r.Verdict.String()}
	for _, e := range r.Entries {
		words = append(words, e.String())
	}
	return strings.Join(words, " | ")
}

func TestLists(t *testing.T) {
	c := client(t, dnscheck.Config{})
	bl := dnscheck.List{Zone: "bl.test", Weight: 1, TXT: true}
	wl := dnscheck.List{Zone: "wl.test", Exempt: true}
	dbl := dnscheck.List{Zone: "dbl.test", Kind: dnscheck.DomainList, Weight: 1, TXT: true}
	for _, test := range []struct {
		name string
		list dnscheck.List
		addr string
		want string
	}{
		{"a listed IPv4 client", bl, "203.0.113.8", `listed | bl.test: listed (127.0.0.2), weight 1: "Listed, see http://bl.test/?203.0.113.8"`},
		{"a listed IPv6 client", bl, "2001:db8::8", `listed | bl.test: listed (127.0.0.4), weight 1: "Listed, see http://bl.test/?2001:db8::8"`},
		{"an IPv4 client that is not listed", bl, "203.0.113.7", "not listed | bl.test: not listed"},
		{"an IPv6 client that is not listed", bl, "2001:db8::7", "not listed | bl.test: not listed"},
		{"a code that does not count", bl, "203.0.113.9", "not listed | bl.test: listed with a code that does not count (127.0.0.200)"},
		{"an error answer", dnscheck.List{Zone: "error.test", Weight: 1}, "203.0.113.8", "not listed | error.test: unusable: the list does not answer public or open resolvers (127.255.255.254)"},
		{"a list whose servers are down", dnscheck.List{Zone: "broken.test", Weight: 1}, "203.0.113.8", "not listed | broken.test: server failure"},
		{"a list whose servers are down and that matters", dnscheck.List{Zone: "broken.test", Weight: 1, OnTemporary: dnscheck.TempFail}, "203.0.113.8", "no answer | broken.test: server failure"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lists := newLists(t, dnscheck.ListOptions{}, test.list)
			both(t, c, func(t *testing.T, r dnscheck.Resolver) string {
				return summary(lists.Check(withPatience(t), r, netip.MustParseAddr(test.addr)))
			}, test.want)
		})
	}
	t.Run("an allow list exempts", func(t *testing.T) {
		lists := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "everything.test", Weight: 1}, wl)
		both(t, c, func(t *testing.T, r dnscheck.Resolver) string {
			return lists.Check(withPatience(t), r, netip.MustParseAddr("203.0.113.12")).Verdict.String()
		}, "exempted")
	})
	for name, want := range map[string]string{
		"www.spam.example": `listed | dbl.test www.spam.example: listed (127.0.1.2), weight 1: "Spam domain"`,
		"good.example":     "not listed | dbl.test good.example: not listed",
		"203.0.113.8":      "not listed",
	} {
		t.Run("the name "+name, func(t *testing.T) {
			lists := newLists(t, dnscheck.ListOptions{}, dbl)
			both(t, c, func(t *testing.T, r dnscheck.Resolver) string {
				return summary(lists.CheckNames(withPatience(t), r, name))
			}, want)
		})
	}
}

// A silent list costs a check its deadline at most, and nothing where the
// verdict stands without it.
func TestASilentList(t *testing.T) {
	c := client(t, dnscheck.Config{TryTimeout: testkit.Patience, Timeout: testkit.Patience})
	silent := dnscheck.List{Zone: "silent.test", Weight: 1}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	lists := newLists(t, dnscheck.ListOptions{}, silent, dnscheck.List{Zone: "bl.test", Weight: 1})
	if got, want := summary(lists.Check(ctx, c, netip.MustParseAddr("203.0.113.7"))), "not listed | silent.test: no answer | bl.test: not listed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	ctx = withPatience(t)
	if got := lists.Check(ctx, c, netip.MustParseAddr("203.0.113.8")); got.Verdict != dnscheck.Listed || ctx.Err() != nil {
		t.Errorf("got %s", summary(got))
	}
}

func TestHealth(t *testing.T) {
	c := client(t, dnscheck.Config{})
	health := dnscheck.NewHealth(nil)
	var all []dnscheck.List
	for _, zone := range []string{"bl.test", "error.test", "everything.test", "empty.test"} {
		all = append(all, dnscheck.List{Zone: zone, Weight: 1, IPv4: true, IPv6: zone == "bl.test"})
	}
	all = append(all, dnscheck.List{Zone: "dbl.test", Kind: dnscheck.DomainList, Weight: 1})
	lists := newLists(t, dnscheck.ListOptions{Health: health}, all...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); health.Run(ctx) }()
	defer func() { cancel(); <-done }()
	health.Watch(lists, c)
	want := `bl.test IPv4:
bl.test IPv6:
dbl.test names:
empty.test IPv4: the test entry that is on every list is not listed: the zone is empty
error.test IPv4: the list does not answer public or open resolvers (127.255.255.254)
everything.test IPv4: the test entry that is on no list is listed: the zone answers for everything`
	states := func() string {
		var lines []string
		for _, s := range health.States() {
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s: %s", s.List, s.For, s.Problem)))
		}
		return strings.Join(lines, "\n")
	}
	testkit.Eventually(t, want, func() bool { return states() == want })
	r := lists.Check(withPatience(t), lists.Resolver(c), netip.MustParseAddr("203.0.113.7"))
	if r.Verdict != dnscheck.NotListed {
		t.Errorf("got %s: lists that do not work refuse nobody", summary(r))
	}
}

func TestADeadFirstServer(t *testing.T) {
	need(t)
	dead := lab.silent.LocalAddr().String()
	c := client(t, dnscheck.Config{Servers: []string{dead, lab.resolver}, TryTimeout: 2 * time.Second})
	if got := c.Lookup(withPatience(t), "mx.good.example", dns.TypeA); got.Status != dnscheck.Found {
		t.Errorf("got %v", got)
	}
}

// liar stands between a client and a resolver and answers first, with forged
// replies that fit but for the id or the question.
func liar(t *testing.T, resolver string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		upstream := dns.Client{Timeout: testkit.Patience}
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			query := new(dns.Msg)
			if err := query.Unpack(buffer[:n]); err != nil {
				continue
			}
			lie := new(dns.Msg).SetReply(query)
			lie.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: query.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(192, 0, 2, 66)}}
			lie.Id++
			send(conn, from, lie)
			lie.Id--
			lie.Question[0].Name = "other.example."
			send(conn, from, lie)
			truth, _, err := upstream.Exchange(query, resolver)
			if err == nil {
				send(conn, from, truth)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return conn.LocalAddr().String()
}

func send(conn net.PacketConn, to net.Addr, m *dns.Msg) {
	if b, err := m.Pack(); err == nil {
		_, _ = conn.WriteTo(b, to)
	}
}

func TestALyingServer(t *testing.T) {
	need(t)
	c := client(t, dnscheck.Config{Servers: []string{liar(t, lab.resolver)}, TryTimeout: testkit.Patience, Timeout: testkit.Patience})
	got := c.Lookup(withPatience(t), "mx.good.example", dns.TypeA)
	if !got.Has(netip.MustParseAddr("203.0.113.5")) || len(got.Records) != 1 {
		t.Errorf("got %v, want 203.0.113.5", got)
	}
	if got := c.Stats().Ignored.Load(); got != 2 {
		t.Errorf("ignored %d messages, want 2", got)
	}
}

// What a client asked once is not asked again.
func TestARepeatedClientCostsNoQuery(t *testing.T) {
	c := client(t, dnscheck.Config{})
	lists := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "bl.test", Weight: 1, TXT: true}, dnscheck.List{Zone: "dbl.test", Kind: dnscheck.DomainList, Weight: 1})
	check := func() {
		addr := netip.MustParseAddr("203.0.113.8")
		ctx := withPatience(t)
		dnscheck.CheckIPRev(ctx, c, addr)
		lists.Check(ctx, c, addr)
		lists.CheckNames(ctx, c, "mx.good.example")
		dnscheck.CheckMailDomain(ctx, c, "good.example", dnscheck.MailOptions{BadMX: true})
	}
	check()
	queries := c.Stats().Queries.Load()
	check()
	if got := c.Stats().Queries.Load(); got != queries || queries == 0 {
		t.Errorf("%d queries, then %d", queries, got)
	}
}
