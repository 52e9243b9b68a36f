package dnscheck_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/dnscheck"
	"milterd/integration/testkit"
)

func TestHowLongAnswersAreRemembered(t *testing.T) {
	soa := func(m *dns.Msg, ttl, minimum uint32) {
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl}, Ns: "ns.example.", Mbox: "m.example.", Minttl: minimum}}
	}
	for _, test := range []struct {
		name   string
		config dnscheck.Config
		reply  func(m *dns.Msg)
		want   time.Duration
	}{
		{"for their time to live", dnscheck.Config{}, func(m *dns.Msg) { m.Answer = []dns.RR{rr(t, "a.example. 100 IN A 203.0.113.5")} }, 100 * time.Second},
		{"for the least of several", dnscheck.Config{}, func(m *dns.Msg) {
			m.Answer = []dns.RR{rr(t, "a.example. 100 IN A 203.0.113.5"), rr(t, "a.example. 50 IN A 203.0.113.6")}
		}, 50 * time.Second},
		{"for the least of the aliases'", dnscheck.Config{}, func(m *dns.Msg) {
			m.Answer = []dns.RR{rr(t, "a.example. 20 IN CNAME b.example."), rr(t, "b.example. 50 IN A 203.0.113.6")}
		}, 20 * time.Second},
		{"for the floor at least", dnscheck.Config{MinTTL: 10 * time.Second}, func(m *dns.Msg) { m.Answer = []dns.RR{rr(t, "a.example. 0 IN A 203.0.113.5")} }, 10 * time.Second},
		{"for the ceiling at most", dnscheck.Config{MaxTTL: time.Minute}, func(m *dns.Msg) { m.Answer = []dns.RR{rr(t, "a.example. 86400 IN A 203.0.113.5")} }, time.Minute},
		{"NXDOMAIN for the minimum of the zone", dnscheck.Config{}, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError; soa(m, 3600, 30) }, 30 * time.Second},
		{"NXDOMAIN for the time to live of its SOA", dnscheck.Config{}, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError; soa(m, 40, 3600) }, 40 * time.Second},
		{"no data likewise", dnscheck.Config{}, func(m *dns.Msg) { soa(m, 3600, 60) }, time.Minute},
		{"NXDOMAIN for the negative ceiling at most", dnscheck.Config{NegativeTTL: time.Minute}, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError; soa(m, 86400, 86400) }, time.Minute},
		{"NXDOMAIN without an SOA for the floor", dnscheck.Config{MinTTL: 7 * time.Second}, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }, 7 * time.Second},
		{"failures for a moment", dnscheck.Config{TemporaryTTL: 3 * time.Second}, func(m *dns.Msg) { m.SetEdns0(1232, false).Rcode = dns.RcodeServerFailure }, 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serveRaw(t, func(query *dns.Msg) [][]byte {
				m := new(dns.Msg).SetReply(query)
				test.reply(m)
				return [][]byte{packed(t, m)}
			}, nil)
			clock := testkit.NewClock(time.Unix(1_700_000_000, 0))
			test.config.Servers = []string{s.addr()}
			c := dial(t, nil, test.config.WithClock(clock.Now))
			for _, step := range []struct {
				after time.Duration
				asked int32
			}{{0, 1}, {test.want - time.Millisecond, 1}, {2 * time.Millisecond, 2}} {
				clock.Advance(step.after)
				c.Lookup(withPatience(t), "a.example", dns.TypeA)
				if got := s.asked.Load(); got != step.asked {
					t.Errorf("at %v: the server was asked %d times, want %d", clock.Now().Sub(time.Unix(1_700_000_000, 0)), got, step.asked)
				}
			}
		})
	}
}

func TestStaleAnswersStandInForFailures(t *testing.T) {
	for _, stale := range []time.Duration{0, time.Hour} {
		var broken atomic.Bool
		s := serveRaw(t, func(query *dns.Msg) [][]byte {
			if broken.Load() {
				return [][]byte{packed(t, new(dns.Msg).SetRcode(query, dns.RcodeServerFailure))}
			}
			return [][]byte{packed(t, answering(t, query, "a.example. 60 IN A 203.0.113.5"))}
		}, nil)
		clock := testkit.NewClock(time.Unix(1_700_000_000, 0))
		c := dial(t, nil, dnscheck.Config{Servers: []string{s.addr()}, StaleTTL: stale}.WithClock(clock.Now))
		good, bad := "FOUND | 60 IN A 203.0.113.5", "TEMPORARY | server failure"
		want := map[bool]string{true: good, false: bad}[stale > 0]
		for _, step := range []struct {
			after  time.Duration
			broken bool
			want   string
		}{{0, false, good}, {30 * time.Second, true, good}, {time.Minute, true, want}, {2 * time.Hour, true, bad}, {time.Minute, false, good}} {
			clock.Advance(step.after)
			broken.Store(step.broken)
			if got := says(c.Lookup(withPatience(t), "a.example", dns.TypeA)); got != step.want {
				t.Errorf("stale ttl %v, after %v more: got %s, want %s", stale, step.after, got, step.want)
			}
		}
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		t.Helper()
		// Written aside and renamed, as the tools that manage the file do.
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	var log testkit.Log
	clock := testkit.NewClock(time.Unix(1_700_000_000, 0))
	servers := func(c *dnscheck.Client) string { return strings.Join(dnscheck.Servers(c), " ") }
	write("# made by hand\nsearch example\nnameserver 192.0.2.1\nnameserver bogus\nnameserver 2001:db8::1\nnameserver fe80::1%lo\noptions edns0\n")
	c := dial(t, nil, dnscheck.Config{ResolvConf: path, Log: newLog(&log)}.WithClock(clock.Now))
	for _, step := range []struct{ name, text, want, logged string }{
		{"as it is at first", "", "192.0.2.1:53 [2001:db8::1]:53 [fe80::1%lo]:53", ""},
		{"changed", "nameserver 192.0.2.2\nnameserver 192.0.2.2\n", "192.0.2.2:53", "dns servers have changed"},
		{"without a usable server", "nameserver bogus\n", "192.0.2.2:53", "dns servers stay as they were"},
		{"empty", "", "192.0.2.2:53", ""},
		{"without any server", "search example\n", "127.0.0.1:53", "dns servers have changed"},
		{"changed back", "nameserver 192.0.2.3\n", "192.0.2.3:53", "dns servers have changed"},
	} {
		if step.text != "" {
			write(step.text)
		}
		before := len(log.String())
		if got := servers(c); step.text != "" && got == step.want && step.logged != "" && !strings.HasSuffix(step.logged, "were") {
			t.Errorf("%s: the change was noticed at once, which costs too much", step.name)
		}
		clock.Advance(time.Minute)
		if got := servers(c); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
		if got := log.String()[before:]; !strings.Contains(got, step.logged) {
			t.Errorf("%s: logged %q, want %q", step.name, got, step.logged)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Minute)
	if got, want := servers(c), "192.0.2.3:53"; got != want {
		t.Errorf("without the file: got %s, want %s", got, want)
	}
	if c := dial(t, nil, dnscheck.Config{ResolvConf: path}); servers(c) != "127.0.0.1:53" {
		t.Errorf("without the file at first: got %s, want this host", servers(c))
	}
	if _, err := dnscheck.NewClient(dnscheck.Config{ResolvConf: t.TempDir()}); err == nil {
		t.Error("a directory was taken for resolv.conf")
	}
}

func TestBadConfig(t *testing.T) {
	for _, test := range []struct {
		name   string
		config dnscheck.Config
		want   string
	}{
		{"a server that is a name", dnscheck.Config{Servers: []string{"ns.example"}}, `dns server "ns.example": expected an address or address:port`},
		{"a server with a name and a port", dnscheck.Config{Servers: []string{"ns.example:53"}}, `dns server "ns.example:53": expected an address or address:port`},
		{"port 0", dnscheck.Config{Servers: []string{"127.0.0.1:0"}}, `dns server "127.0.0.1:0": expected an address or address:port`},
	} {
		_, err := dnscheck.NewClient(test.config)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
	for _, server := range []string{"192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:5353"} {
		dial(t, nil, dnscheck.Config{Servers: []string{server}})
	}
}
