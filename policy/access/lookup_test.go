package access

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func keysOf(probes []Probe) string {
	names := make([]string, len(probes))
	for i, p := range probes {
		names[i] = p.Name()
	}
	return strings.Join(names, " ")
}

func TestLookupsTryTheKeysOfProtoM4(t *testing.T) {
	table := parse(t, "# empty but for networks\n")
	for _, c := range []struct {
		name     string
		features Features
		search   func(*Search)
		want     string
	}{
		{"D goes up the domain, tagged before untagged", Features{},
			func(s *Search) { s.Domain(Connect, "Mail.Example.com") },
			"connect:mail.example.com mail.example.com connect:example.com example.com connect:com com"},
		{"D with lookupdotdomain tries the parent with its dot", Features{LookupDotDomain: true},
			func(s *Search) { s.Domain(SpamOnly, "a.b.c") }, "spam:a.b.c spam:.b.c spam:b.c spam:.c spam:c"},
		{"D takes an address literal apart inside its brackets", Features{},
			func(s *Search) { s.Domain(FromOnly, "[203.0.113.8]") }, "from:[203.0.113.8] from:[203.0.113] from:[203.0] from:[203]"},
		{"D takes an IPv6 literal apart at its colons", Features{},
			func(s *Search) { s.Domain(FromOnly, "[IPv6:2001:db8::5]") },
			"from:[ipv6:2001:db8::5] from:[ipv6:2001:db8] from:[ipv6:2001] from:[ipv6]"},
		{"A goes up the address", Features{},
			func(s *Search) { s.Address(Connect, "203.0.113.8") },
			"connect:203.0.113.8 203.0.113.8 connect:203.0.113 203.0.113 connect:203.0 203.0 connect:203 203"},
		{"A goes up an IPv6 address down to its prefix", Features{},
			func(s *Search) { s.Address(SpamOnly, "IPv6:2001:db8:0:0:0:0:0:5") },
			"spam:ipv6:2001:db8:0:0:0:0:0:5 spam:ipv6:2001:db8:0:0:0:0:0 spam:ipv6:2001:db8:0:0:0:0 spam:ipv6:2001:db8:0:0:0 " +
				"spam:ipv6:2001:db8:0:0 spam:ipv6:2001:db8:0 spam:ipv6:2001:db8 spam:ipv6:2001 spam:ipv6"},
		{"F tries +detail, +* and no detail", Features{},
			func(s *Search) { s.Full(To, "u+d@example.com") },
			"to:u+d@example.com u+d@example.com to:u+*@example.com u+*@example.com to:u@example.com u@example.com"},
		{"F without detail is one key", Features{}, func(s *Search) { s.Full(To, "u@example.com") }, "to:u@example.com u@example.com"},
		{"U keeps the at sign", Features{}, func(s *Search) { s.User(FromOnly, "u+d@") }, "from:u+d@ from:u+*@ from:u@"},
		{"E is one key", Features{}, func(s *Search) { s.Exact(To, "u+d@example.com") }, "to:u+d@example.com u+d@example.com"},
		{"SearchList goes on until something is found", Features{},
			func(s *Search) {
				s.List(FromOnly, Item{'F', "u@b.c"}, Item{'U', "u@"}, Item{'D', "b.c"}, Item{'E', "x"})
			}, "from:u@b.c from:u@ from:b.c from:c from:x"},
	} {
		s := Search{Table: table, Features: &c.features}
		c.search(&s)
		if diff := cmp.Diff(c.want, keysOf(s.Probes)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestNetworksByPrefixLength(t *testing.T) {
	table := parse(t, strings.Join([]string{
		"Connect:203.0.113.0/24 REJECT",
		"Connect:203.0.113.64/26 RELAY",
		"203.0.113.80/28 OK",
		"203.0.113.64/26 DISCARD",
		"Connect:203.0.113.100 QUARANTINE:by address",
		"Connect:198.51.100 OK",
		"Connect:198.51.100.0/30 REJECT",
		"Connect:IPv6:2001:db8::/32 REJECT",
		"Connect:2001:db8:1::/48 RELAY",
		"Connect:192.0.2.0/24 SKIP",
	}, "\n"))
	for _, c := range []struct {
		name, addr, want string
	}{
		{"the network that holds the address", "203.0.113.8", "REJECT"},
		{"the most specific one wins", "203.0.113.70", "RELAY"},
		{"a more specific untagged one wins", "203.0.113.81", "OK"},
		{"an exact key comes first", "203.0.113.100", "QUARANTINE:by address"},
		{"a key at a dot comes before any prefix length", "198.51.100.1", "OK"},
		{"IPv6", "2001:db8:2::1", "REJECT"},
		{"IPv6, more specific, without the IPv6: in the key", "2001:db8:1::1", "RELAY"},
		{"SKIP finds nothing", "192.0.2.1", ""},
		{"no network", "10.0.0.1", ""},
	} {
		s := Search{Table: table, Features: &Features{Skip: true}}
		m := s.Address(Connect, FormatAddr(netip.MustParseAddr(c.addr)))
		if m.Probe.Value != c.want {
			t.Errorf("%s: %s found %q, want %q", c.name, c.addr, m.Probe.Value, c.want)
		}
	}
}

func TestSkipEndsASearchOnlyWithItsFeature(t *testing.T) {
	table := parse(t, "Connect:mail.example.com SKIP\nConnect:example.com REJECT\n")
	with := Search{Table: table, Features: &Features{Skip: true}}
	if m := with.Domain(Connect, "mail.example.com"); m.Found() {
		t.Errorf("with skip: found %+v", m)
	}
	without := Search{Table: table, Features: &Features{}}
	if m := without.Domain(Connect, "mail.example.com"); m.Value.Kind != KindSkip {
		t.Errorf("without skip: found %+v, want the entry itself", m)
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		text string
		want Value
	}{
		{"OK", Value{Kind: KindOK}},
		{" relay ", Value{Kind: KindRelay}},
		{"Reject", Value{Kind: KindReject}},
		{"DISCARD", Value{Kind: KindDiscard}},
		{"SKIP", Value{Kind: KindSkip}},
		{"FRIEND", Value{Kind: KindFriend}},
		{"HATER", Value{Kind: KindHater}},
		{"QUARANTINE:a reason", Value{Kind: KindQuarantine, Text: "a reason"}},
		{"ERROR:5.7.1:550 No", Value{Kind: KindError, Reply: Reply{550, "5.7.1"}, Text: "No"}},
		{`ERROR:"550 5.7.2 No"`, Value{Kind: KindError, Reply: Reply{550, "5.7.2"}, Text: "No"}},
		{"ERROR:550 No", Value{Kind: KindError, Reply: Reply{550, "5.0.0"}, Text: "No"}},
		{"450 4.3.2 Busy", Value{Kind: KindError, Reply: Reply{450, "4.3.2"}, Text: "Busy"}},
		{"ERROR:5.7.1:550 5.7.9 Text wins", Value{Kind: KindError, Reply: Reply{550, "5.7.9"}, Text: "Text wins"}},
		{"Go away", Value{Kind: KindError, Reply: Reply{553, "5.3.0"}, Text: "Go away"}},
		{"ERROR:4.7.1:Later", Value{Kind: KindError, Reply: Reply{553, "5.3.0"}, Text: "Later"}},
		{"450\ttry later", Value{Kind: KindError, Reply: Reply{450, "4.0.0"}, Text: "try later"}},
		{"450 \t try\tlater", Value{Kind: KindError, Reply: Reply{450, "4.0.0"}, Text: "try later"}},
		{"450\vtry", Value{Kind: KindError, Reply: Reply{450, "4.0.0"}, Text: "try"}},
		{"ERROR:450\ttry later", Value{Kind: KindError, Reply: Reply{450, "4.0.0"}, Text: "try later"}},
		{"ERROR:\t450 x", Value{Kind: KindError, Reply: Reply{450, "4.0.0"}, Text: "x"}},
		{"ERROR:4.7.1:\t450\ttry", Value{Kind: KindError, Reply: Reply{450, "4.7.1"}, Text: "try"}},
		{"450\t4.7.9\tearly", Value{Kind: KindError, Reply: Reply{450, "4.7.9"}, Text: "early"}},
		{"\"450\ttry\"", Value{Kind: KindError, Reply: Reply{450, "4.0.0"}, Text: "try"}},
		{"QUARANTINE:look\tat it", Value{Kind: KindQuarantine, Text: "look at it"}},
		{"450-try", Value{Kind: KindError, Reply: Reply{553, "5.3.0"}, Text: "450-try"}},
		{"450", Value{Kind: KindError, Reply: Reply{553, "5.3.0"}, Text: "450"}},
		{"ERROR:450 4.7.1", Value{Kind: KindError, Reply: Reply{450, "4.0.0"}, Text: "4.7.1"}},
		{"250 fine", Value{Kind: KindError, Reply: Reply{553, "5.3.0"}, Text: "250 fine"}},
		{"ERROR:999 what", Value{Kind: KindError, Reply: Reply{553, "5.3.0"}, Text: "999 what"}},
		{"ERROR:", Value{Kind: KindError, Reply: Reply{553, "5.3.0"}, Text: "ERROR:"}},
	} {
		got := ParseValue(c.text)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.text, diff)
		}
	}
}

func TestFormatAddr(t *testing.T) {
	for _, c := range []struct{ addr, want string }{
		{"203.0.113.8", "203.0.113.8"},
		{"::ffff:203.0.113.8", "203.0.113.8"},
		{"2001:db8::5", "IPv6:2001:db8:0:0:0:0:0:5"},
		{"2001:DB8:10:200:3000::", "IPv6:2001:db8:10:200:3000:0:0:0"},
		{"::1", "IPv6:0:0:0:0:0:0:0:1"},
	} {
		if got := FormatAddr(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s: %s, want %s", c.addr, got, c.want)
		}
	}
	if got := FormatAddr(netip.Addr{}); got != "" {
		t.Errorf("no address: %q", got)
	}
}
