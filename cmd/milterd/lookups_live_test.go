package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"milterd/configs"
	"milterd/configs/watch"
	"milterd/dnscheck"
	"milterd/integration/testkit"
	"milterd/integration/testkit/dnstest"
)

// liveConfig is a configuration with ten lists; SERVER is the DNS server.
const liveConfig = `
access: {file: access}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
dns: {servers: ["SERVER"], try_timeout: 10s, attempts: 1, timeout: 10s}
checks: {dnsbl: {lists: {l0.example: {}, l1.example: {}, l2.example: {}, l3.example: {}, l4.example: {},
  l5.example: {}, l6.example: {}, l7.example: {}, l8.example: {}, l9.example: {}}}}
`

// wired is the part of milterd that a reload changes.
type wired struct {
	*reloader
	dir string
	log *testkit.Log
}

func newWired(t testing.TB, config, server string) *wired {
	t.Helper()
	d := &wired{dir: t.TempDir(), log: new(testkit.Log)}
	if err := os.WriteFile(filepath.Join(d.dir, "access"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.reloader = newReloader(configs.Place{Flag: filepath.Join(d.dir, "milterd.yaml")}, d.log)
	t.Cleanup(d.close)
	d.configure(t, config, server)
	return d
}

// configure puts a configuration in force.
func (d *wired) configure(t testing.TB, config, server string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "milterd.yaml"), []byte(strings.ReplaceAll(config, "SERVER", server)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.load(true); err != nil {
		t.Fatal(err)
	}
}

// problems are the lists that are bypassed.
func (d *wired) problems() (all []string) {
	for _, s := range d.dns.Load().Health().States() {
		if s.Problem != "" {
			all = append(all, s.List+" "+s.For)
		}
	}
	return all
}

// listed says what the lists in force say of a client.
func (d *wired) listed(addr string) dnscheck.ListReport {
	return d.asks.Lists.Check(context.Background(), d.asks.ListResolver, netip.MustParseAddr(addr))
}

// listsLines has the entries of RFC 5782 of the ten lists, and a client on l3. With
// everything l3 lists whatever it is asked for.
func listsLines(everything bool) []string {
	var lines []string
	for i := range 10 {
		for _, entry := range []string{"2.0.0.127.", strings.TrimSuffix(dnscheck.ReverseName(netip.MustParseAddr("::ffff:127.0.0.2")), "in-addr.arpa.")} {
			lines = append(lines, fmt.Sprintf("%sl%d.example. A 127.0.0.2", entry, i))
		}
	}
	lines = append(lines, "8.113.0.203.l3.example. A 127.0.0.2")
	if everything {
		lines = append(lines, "1.0.0.127.l3.example. A 127.0.0.2")
	}
	return lines
}

// Every probe reaches the server, whatever the cache of the daemon holds, and what a
// client meets first is a list that has been probed.
func TestTheDaemonProbesListsPastItsCache(t *testing.T) {
	const entryOnNone = "1.0.0.127.l3.example."
	server := startDNS(t, dnstest.Options{Lines: listsLines(true)})
	d := newWired(t, liveConfig, server.Addr())
	if got := d.listed("203.0.113.8"); got.Verdict != dnscheck.NotListed {
		t.Errorf("a list that lists everything: %v", got.Entries)
	}
	for range 3 {
		d.asks.Resolver.Lookup(t.Context(), entryOnNone, dns.TypeA)
	}
	if n := server.Count(entryOnNone, dns.TypeA); n != 2 {
		t.Fatalf("a probe and three look-ups: the server was asked %d times, expected twice", n)
	}
	for probes := 2; probes < 6; probes++ {
		d.reload(watch.Hangup)
		testkit.Eventually(t, "a probe reaches the server", func() bool { return server.Count(entryOnNone, dns.TypeA) == probes+1 })
	}
	if err := server.SetLines(listsLines(false)); err != nil {
		t.Fatal(err)
	}
	d.reload(watch.Hangup)
	testkit.Eventually(t, "the list works again", func() bool { return !strings.Contains(strings.Join(d.problems(), " "), "l3.example IPv4") })
	if got := d.listed("203.0.113.8"); got.Verdict != dnscheck.Listed {
		t.Errorf("once it works: %v", got.Entries)
	}
}

func TestAReloadWithOtherServersProbesBypassedLists(t *testing.T) {
	broken := startDNS(t, dnstest.Options{Lines: listsLines(true)})
	d := newWired(t, liveConfig, broken.Addr())
	bypassed := func() bool { return strings.Contains(strings.Join(d.problems(), " "), "l3.example IPv4") }
	testkit.Eventually(t, "the list is bypassed", bypassed)
	working := startDNS(t, dnstest.Options{Lines: listsLines(false)})
	before := working.Total()
	d.configure(t, liveConfig, working.Addr())
	testkit.Eventually(t, "the list is asked again", func() bool { return !bypassed() })
	if working.Total() == before || !d.log.Has("dns list is asked again") {
		t.Errorf("the new server was asked %d times, log:\n%s", working.Total()-before, d.log)
	}
}

// The cache is worth something, and a reload that fails changes nothing.
func TestAReloadKeepsTheResolver(t *testing.T) {
	server := startDNS(t, dnstest.Options{Lines: []string{"a.example. A 203.0.113.5"}})
	d := newWired(t, "access: {file: access}\n", "")
	if d.dns.Load() != nil {
		t.Error("a configuration that asks nothing has a resolver")
	}
	asked := func() int {
		d.dns.Load().Lookup(t.Context(), "a.example", dns.TypeA)
		return server.Count("a.example.", dns.TypeA)
	}
	d.configure(t, liveConfig, server.Addr())
	before := d.asks.Resolver
	if asked() != 1 {
		t.Fatal("the server was not asked")
	}
	if d.configure(t, liveConfig+"log: {level: debug}\n", server.Addr()); asked() != 1 {
		t.Error("a reload without a change of dns lost the cache")
	}
	bad := *d.config
	bad.DNS.Client.Attempts, bad.DNS.Threshold = 3, -1
	if _, err := d.lookups(&bad); err == nil || asked() != 1 {
		t.Errorf("a reload that fails (%v) replaced the resolver", err)
	}
	if d.configure(t, strings.Replace(liveConfig, "attempts: 1", "attempts: 2", 1), server.Addr()); asked() != 2 {
		t.Error("a change of dns did not make a new resolver")
	}
	// The connections of before have the new resolver: the old one will be closed.
	if _, ok := before.LookupCached("a.example", dns.TypeA); !ok {
		t.Error("an old connection does not ask the new resolver")
	}
	d.configure(t, "access: {file: access}\n", "")
	if d.asks != nil || len(d.dns.Load().Health().States()) > 0 {
		t.Error("lists are looked after that no check asks")
	}
}

// BenchmarkTenCachedLists is a check of ten lists as the daemon makes it, when its
// cache has all answers.
func BenchmarkTenCachedLists(b *testing.B) {
	server := startDNS(b, dnstest.Options{Lines: listsLines(false)})
	d := newWired(b, liveConfig, server.Addr())
	lookups, addr := d.asks, netip.MustParseAddr("203.0.113.9")
	b.ReportAllocs()
	for b.Loop() {
		if got := lookups.Lists.Check(context.Background(), lookups.ListResolver, addr); got.Verdict != dnscheck.NotListed {
			b.Fatal(got)
		}
	}
}
