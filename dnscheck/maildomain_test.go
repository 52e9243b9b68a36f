package dnscheck_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"milterd/dnscheck"
)

// senders are the domains of the sender tests.
var senders = []string{
	"good.example. MX 20 b.good.example.",
	"good.example. MX 10 a.good.example.",
	"a.good.example. A 203.0.113.5", "a.good.example. AAAA NODATA",
	"b.good.example. A NODATA", "b.good.example. AAAA 2001:db8::5",
	"none.example. NXDOMAIN",
	"null.example. MX 0 .",
	"mixed.example. MX 0 .", "mixed.example. MX 10 a.good.example.",
	"address.example. MX NODATA", "address.example. A 203.0.113.5", "address.example. AAAA NODATA",
	"address6.example. MX NODATA", "address6.example. A NODATA", "address6.example. AAAA 2001:db8::5",
	"nothing.example. NODATA",
	"half.example. MX NODATA", "half.example. A NODATA", "half.example. AAAA SERVFAIL",
	"half2.example. MX NODATA", "half2.example. A 203.0.113.5", "half2.example. AAAA SERVFAIL",
	"ill.example. SERVFAIL",
	"dead.example. TIMEOUT",
	"private.example. MX 10 private-host.example.",
	"private-host.example. A 10.0.0.1", "private-host.example. A 127.0.0.1", "private-host.example. AAAA ::1",
	"local.example. MX NODATA", "local.example. A 127.0.0.1", "local.example. AAAA NODATA",
	"both.example. MX 10 private-host.example.", "both.example. MX 20 a.good.example.",
	"listed.example. MX 10 listed-host.example.",
	"listed-host.example. A 198.51.100.7", "listed-host.example. AAAA NODATA",
	"gone.example. MX 10 none.example.",
	"unknown.example. MX 10 private-host.example.", "unknown.example. MX 20 dead.example.",
	"number.example. MX 10 203.0.113.5.", "203.0.113.5. NXDOMAIN",
	`odd.example. MX 10 a\032b.example.`,
	"mapped.example. MX 10 mapped-host.example.", "mapped-host.example. A NODATA", "mapped-host.example. AAAA ::ffff:10.0.0.1",
	"xn--bcher-kva.example. MX 10 a.good.example.",
	"under_score.example. MX 10 a.good.example.",
}

// summary sums up a check of a domain.
func summary(m dnscheck.MailDomain) string {
	text := m.Domain + ": " + m.Status.String()
	if m.Err != nil {
		text += ": " + m.Err.Error()
	}
	for _, host := range m.Hosts {
		text += fmt.Sprintf(" | %d %s", host.Preference, host.Name)
		for _, addr := range host.Addrs {
			text += " " + addr.String()
		}
		if host.Err != nil {
			text += " (" + host.Err.Error() + ")"
		}
	}
	return text
}

func TestMailDomains(t *testing.T) {
	s := serve(t, senders...)
	live := dial(t, s, dnscheck.Config{TryTimeout: silence, Attempts: 1})
	plain := dnscheck.MailOptions{}
	bad := dnscheck.MailOptions{BadMX: true, Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
	for _, test := range []struct {
		name   string
		domain string
		o      dnscheck.MailOptions
		want   string
	}{
		{"mail hosts, the preferred one first", "good.example", plain, "good.example: ok | 10 a.good.example | 20 b.good.example"},
		{"case and the final dot make no difference", "GOOD.example.", plain, "good.example: ok | 10 a.good.example | 20 b.good.example"},
		{"no such domain", "none.example", plain, "none.example: no such domain"},
		{"a null MX", "null.example", plain, "null.example: null MX"},
		{"a null MX beside another is passed over", "mixed.example", plain, "mixed.example: ok | 10 a.good.example"},
		{"an address and no MX", "address.example", plain, "address.example: ok | 0 address.example 203.0.113.5"},
		{"an IPv6 address and no MX", "address6.example", plain, "address6.example: ok | 0 address6.example 2001:db8::5"},
		{"neither MX nor address", "nothing.example", plain, "nothing.example: no such domain"},
		{"no MX, and one family has no answer", "half.example", plain, "half.example: no answer: server failure | 0 half.example (server failure)"},
		{"an address of one family will do", "half2.example", plain, "half2.example: ok | 0 half2.example 203.0.113.5 (server failure)"},
		{"the server fails", "ill.example", plain, "ill.example: no answer: server failure"},
		{"no answer", "dead.example", plain, "dead.example: no answer: no answer in time"},
		{"an IPv4 literal", "[203.0.113.8]", plain, "[203.0.113.8]: address literal"},
		{"an IPv6 literal", "[IPv6:2001:db8::8]", plain, "[IPv6:2001:db8::8]: address literal"},
		{"a literal that is none", "[203.0.113]", plain, "[203.0.113]: not a domain name"},
		{"an IPv6 literal without its tag", "[2001:db8::8]", plain, "[2001:db8::8]: not a domain name"},
		{"a domain in Unicode", "Bücher.example", plain, "xn--bcher-kva.example: ok | 10 a.good.example"},
		{"a domain in Unicode that breaks the rules", "bü_cher.example", plain, "b _cher.example: not an internationalized domain name"},
		{"a domain that is not UTF-8", "b\xff.example", plain, "b .example: not an internationalized domain name"},
		{"an underscore", "under_score.example", plain, "under_score.example: ok | 10 a.good.example"},
		{"an empty domain", "", plain, ": not a domain name"},
		{"the root", ".", plain, ": not a domain name"},
		{"a domain with a space", "a b.example", plain, "a b.example: not a domain name"},
		{"a domain with an empty label", "a..example", plain, "a..example: not a domain name"},
		{"a domain that is too long", strings.Repeat("abc.", 64) + "example", plain, strings.Repeat("abc.", 49) + "abc: not a domain name"},

		{"good hosts", "good.example", bad, "good.example: ok | 10 a.good.example 203.0.113.5 | 20 b.good.example 2001:db8::5"},
		{"private and loopback addresses only", "private.example", bad, "private.example: unusable MX | 10 private-host.example 10.0.0.1 127.0.0.1 ::1"},
		{"private addresses when nobody asks for them", "private.example", plain, "private.example: ok | 10 private-host.example"},
		{"a loopback address and no MX", "local.example", bad, "local.example: unusable MX | 0 local.example 127.0.0.1"},
		{"a mapped private address", "mapped.example", bad, "mapped.example: unusable MX | 10 mapped-host.example ::ffff:10.0.0.1"},
		{"one good host is enough", "both.example", bad, "both.example: ok | 10 private-host.example 10.0.0.1 127.0.0.1 ::1 | 20 a.good.example 203.0.113.5"},
		{"a listed network", "listed.example", bad, "listed.example: unusable MX | 10 listed-host.example 198.51.100.7"},
		{"a host that does not exist", "gone.example", bad, "gone.example: unusable MX | 10 none.example"},
		{"a host that is an address", "number.example", bad, "number.example: unusable MX | 10 203.0.113.5"},
		{"a host that is no name", "odd.example", bad, `odd.example: unusable MX | 10 a\ b.example`},
		{"a host without an answer may be good", "unknown.example", bad, "unknown.example: no answer: no answer in time | 10 private-host.example 10.0.0.1 127.0.0.1 ::1 | 20 dead.example (no answer in time)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			recorder := dnscheck.NewRecorder(live)
			if got := summary(dnscheck.CheckMailDomain(withPatience(t), recorder, test.domain, test.o)); got != test.want {
				t.Errorf("live:\ngot  %s\nwant %s", got, test.want)
			}
			replay := freeze(t, recorder.Lines()...)
			if got := summary(dnscheck.CheckMailDomain(context.Background(), replay, test.domain, test.o)); got != test.want {
				t.Errorf("replayed:\ngot  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"203.0.113.8": true, "198.51.100.1": true, "2001:db8::8": true, "8.8.8.8": true, "172.32.0.1": true, "100.128.0.1": true,
		"127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false,
		"169.254.1.1": false, "100.64.0.1": false, "0.0.0.0": false, "255.255.255.255": false, "224.0.0.1": false,
		"::1": false, "::": false, "fd00::1": false, "fe80::1": false, "fe80::1%eth0": false, "ff02::1": false,
		"::ffff:10.0.0.1": false, "::ffff:203.0.113.8": true,
	} {
		if got := dnscheck.Public(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %t, want %t", addr, got, want)
		}
	}
	if dnscheck.Public(netip.Addr{}) {
		t.Error("no address: got true, want false")
	}
}
