package access

import (
	"strings"
	"testing"
)

func TestAMapAnswersKeyByKey(t *testing.T) {
	const text = `Connect:203.0.113.5	OK
203.0.113.6		REJECT
Connect:203.0.113	RELAY
Connect:198.51.100.0/24	REJECT
192.0.2.0/26		ERROR:5.7.1:550 no
Connect:192.0.2.64/26	RELAY
192.0.2.70		OK
GreetPause:198.51.100.0/25	5000
Connect:IPv6:2001:db8:0:1	RELAY
Connect:2001:db8::/32	REJECT
Srv_Features:198.51.100	V
From:a@good.example	OK
`
	table := parsed(t, text)
	for _, c := range []struct {
		name, key, want string
	}{
		{"an exact key", "connect:203.0.113.5", "OK"},
		{"case does not count", "Connect:203.0.113.5", "OK"},
		{"a network's own key", "connect:203.0.113", "RELAY"},
		{"an address in a network by octets", "connect:203.0.113.9", ""},
		{"an untagged key", "203.0.113.6", "REJECT"},
		{"a tag that does not match", "from:203.0.113.5", ""},
		{"an address in a network by length", "connect:198.51.100.77", "REJECT"},
		{"the untagged key after it", "198.51.100.77", ""},
		{"an untagged network under a tag that falls back", "connect:192.0.2.7", "ERROR:5.7.1:550 no"},
		{"a more specific tagged network", "connect:192.0.2.65", "RELAY"},
		{"a network that a later key outranks", "connect:192.0.2.70", ""},
		{"a network under a tag that stands alone", "greetpause:198.51.100.3", "5000"},
		{"outside of it", "greetpause:198.51.100.200", ""},
		{"untagged networks are not for a tag that stands alone", "greetpause:192.0.2.7", ""},
		{"part of an address", "connect:198.51.100", ""},
		{"IPv6 in a network by parts", "connect:ipv6:2001:db8:0:1:0:0:0:9", ""},
		{"IPv6 in a network by length", "connect:ipv6:2001:db8:0:2:0:0:0:9", "REJECT"},
		{"IPv6 compressed", "connect:ipv6:2001:db8::9", "REJECT"},
		{"IPv6 without its prefix", "connect:2001:db8::9", ""},
		{"IPv6 untagged", "ipv6:2001:db8:0:2:0:0:0:9", ""},
		{"an address", "from:a@good.example", "OK"},
		{"nothing", "", ""},
		{"a tag alone", "connect:", ""},
		{"too long", "connect:" + strings.Repeat("a", 2000), ""},
	} {
		value, line, ok := table.Lookup(c.key)
		if value != c.want || ok != (c.want != "") || ok != (line != 0) {
			t.Errorf("%s: %q gives %q in line %d (%t), expected %q", c.name, c.key, value, line, ok, c.want)
		}
	}
}

func TestAGrantIsLaidOverTheTable(t *testing.T) {
	const text = `Connect:203.0.113	REJECT
Connect:203.0.113.5	REJECT
203.0.113.6		REJECT
Connect:203.0.113.7	OK
Connect:203.0.113.8	QUARANTINE:look
Connect:203.0.113.9	SKIP
198.51.100.0/24		REJECT
Connect:198.51.100.8/32	ERROR:5.7.1:550 not you
198.51.100.9/32		REJECT
Connect:198.51.100.10/31 REJECT
Connect:198.51.100.12	OK
Connect:198.51.100.12/32 REJECT
Connect:203.0.113.13/32	REJECT
Connect:198.51.100.14/32 OK
198.51.100.14/32	REJECT
Connect:2001:db8::8/128	REJECT
Connect:2001:db8::/64	REJECT
Connect:IPv6:2001:db8:0:0:0:0:0:9	REJECT
`
	table := parsed(t, text)
	for key, want := range map[string]string{
		"connect:203.0.113.1":               "RELAY", // a network's REJECT does not outrank it
		"connect:203.0.113.5":               "REJECT",
		"connect:203.0.113.6":               "", // sendmail finds the untagged entry next
		"connect:203.0.113.7":               "RELAY",
		"connect:203.0.113.8":               "QUARANTINE:look",
		"connect:203.0.113.9":               "RELAY",
		"connect:198.51.100.3":              "RELAY",
		"connect:ipv6:2001:db8:0:0:0:0:0:5": "RELAY",
		"connect:198.51.100.8":              "ERROR:5.7.1:550 not you", // a network of full length is this very address
		"connect:198.51.100.9":              "REJECT",
		"connect:198.51.100.10":             "RELAY", // a network of two addresses is a network
		"connect:198.51.100.12":             "RELAY", // sendmail's own key comes first
		"connect:198.51.100.14":             "RELAY", // and the tag
		"connect:203.0.113.13":              "",      // sendmail finds the REJECT of 203.0.113 next
		"connect:ipv6:2001:db8:0:0:0:0:0:8": "REJECT",
		"connect:ipv6:2001:db8::8":          "REJECT",
		"connect:ipv6:2001:db8::9":          "REJECT", // refused in the form that the table has
		"Connect:IPv6:::FFFF:198.51.100.8":  "ERROR:5.7.1:550 not you",
		"connect:ipv6:::ffff:203.0.113.5":   "", // as 203.0.113.5
		"connect:ipv6:::ffff:203.0.113.1":   "RELAY",
	} {
		if value, _, _ := table.LookupGranted(key); value != want {
			t.Errorf("%s: %q, expected %q", key, value, want)
		}
	}
	for _, key := range []string{"from:203.0.113.1", "203.0.113.1", "connect:203.0.113", "connect:mail.example", "connect:", "connect:fe80::1%eth0"} {
		if got := ClientKey(key); got != "" {
			t.Errorf("%s asks about the client %q", key, got)
		}
	}
}

func TestOnlyAnEntryForTheVeryAddressOutranksAGrant(t *testing.T) {
	table := parsed(t, "Connect:203.0.113 REJECT\n203.0.113.9/32 REJECT\nConnect:mail.example REJECT\nConnect:2001:db8::9/128 DISCARD\nConnect: REJECT\n")
	for addr, want := range map[string]bool{
		"203.0.113.9": true, "203.0.113.8": false, "::ffff:203.0.113.9": true, "IPv6:2001:db8:0:0:0:0:0:9": true,
		"IPv6:2001:db8:0:0:0:0:0:8": false, "203.0.113": true, "192.0.2.1": false,
	} {
		if got := table.OutranksGrant(addr); got != want {
			t.Errorf("%s: %t, expected %t", addr, got, want)
		}
	}
	var none *Table
	if none.OutranksGrant("203.0.113.9") {
		t.Error("no table outranks a grant")
	}
}

func parsed(t *testing.T, text string) *Table {
	t.Helper()
	table, problems, err := Parse("access", strings.NewReader(text), Features{})
	if table == nil || err != nil {
		t.Fatal(problems, err)
	}
	return table
}
