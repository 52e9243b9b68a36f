package socketmap

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/access"
)

// grantTable knows some clients' grants by heart, and notes who is asked about.
type grantTable struct {
	states map[string]policy.GrantState
	asked  []string
}

func (g *grantTable) Grant(_ context.Context, client netip.Addr) policy.GrantState {
	g.asked = append(g.asked, client.String())
	return g.states[client.String()]
}

// table parses an access table.
func table(t testing.TB, text string) *access.Table {
	t.Helper()
	parsed, problems, err := access.Parse("access", strings.NewReader(text), access.Features{})
	if parsed == nil || err != nil {
		t.Fatal(problems, err)
	}
	return parsed
}

// always is a current function.
func always(p *policy.Policy, grants door.Grants) func() door.Snapshot {
	return func() door.Snapshot { return door.Snapshot{Policy: p, Grants: grants} }
}

const accessText = `Connect:203.0.113.5	REJECT
Connect:203.0.113	ERROR:5.7.1:550 Not from here
203.0.113.6		DISCARD
Connect:203.0.113.7	OK
From:spam@example.com	REJECT
GreetPause:203.0.113	5000
ClientRate:		10
TLS_Clt:mx.example	VERIFY:128
`

func TestTheAccessMapServesTheTable(t *testing.T) {
	a := NewAccess(always(&policy.Policy{Access: table(t, accessText)}, nil), nil)
	for _, tt := range []struct {
		name, key string
		want      Answer
	}{
		{"an address", "connect:203.0.113.5", Answer{OK, "REJECT"}},
		{"a value with codes", "connect:203.0.113", Answer{OK, "ERROR:5.7.1:550 Not from here"}},
		{"an untagged key", "203.0.113.6", Answer{OK, "DISCARD"}},
		{"a key in another case", "FROM:Spam@Example.COM", Answer{OK, "REJECT"}},
		{"a tag that only sendmail knows", "greetpause:203.0.113", Answer{OK, "5000"}},
		{"a tag without a key", "clientrate:", Answer{OK, "10"}},
		{"a name under such a tag", "tls_clt:mx.example", Answer{OK, "VERIFY:128"}},
		{"what is not there", "connect:198.51.100.9", Answer{Status: NotFound}},
		{"nothing", "", Answer{Status: NotFound}},
		{"a NUL", "connect:203.0.113.5\x00", Answer{Status: NotFound}},
		{"a line end", "connect:203.0.113.5\n", Answer{Status: NotFound}},
		{"a key with its value", "connect:203.0.113.5\tREJECT", Answer{Status: NotFound}},
		{"a long key", "from:" + strings.Repeat("a", maxRequest), Answer{Status: NotFound}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, a.Lookup(t.Context(), tt.key)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheAccessMapUsesWhatIsInForce(t *testing.T) {
	var now door.Snapshot
	a := NewAccess(func() door.Snapshot { return now }, nil)
	check := func(when string, want Answer) {
		t.Helper()
		if diff := cmp.Diff(want, a.Lookup(t.Context(), "connect:203.0.113.5")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	check("before there is a policy", Answer{Temp, "the policy is not loaded"})
	now.Policy = &policy.Policy{}
	check("without an access file", Answer{Status: NotFound})
	now.Policy = &policy.Policy{Access: table(t, accessText)}
	check("with one", Answer{OK, "REJECT"})
}

func TestGrantsAreLaidOverTheAccessTable(t *testing.T) {
	states := map[string]policy.GrantState{
		"203.0.113.1":  policy.GrantHeld,
		"203.0.113.2":  policy.GrantTemporary,
		"203.0.113.3":  policy.GrantTemporary,
		"203.0.113.5":  policy.GrantHeld,
		"203.0.113.6":  policy.GrantHeld,
		"203.0.113.7":  policy.GrantHeld,
		"198.51.100.9": policy.GrantTemporary,
		"2001:db8::8":  policy.GrantHeld,
		"203.0.113.9":  policy.GrantUnknown,
	}
	unreachable := Answer{Temp, "whether the client holds a relay grant cannot be asked for now"}
	relay := Answer{OK, "RELAY"}
	for _, tt := range []struct {
		name, key string
		want      Answer
		asked     string
	}{
		{"a client with a grant", "connect:203.0.113.1", relay, "203.0.113.1"},
		{"a client with an OK entry and a grant", "connect:203.0.113.7", relay, "203.0.113.7"},
		{"an IPv6 client with a grant", "connect:ipv6:2001:db8:0:0:0:0:0:8", relay, "2001:db8::8"},
		{"the same, compressed", "connect:ipv6:2001:db8::8", relay, "2001:db8::8"},
		{"an IPv4 address written as IPv6", "connect:ipv6:::ffff:203.0.113.1", relay, "203.0.113.1"},
		{"a client without one", "connect:203.0.113.4", Answer{Status: NotFound}, "203.0.113.4"},
		{"a client whose entry outranks it", "connect:203.0.113.5", Answer{OK, "REJECT"}, ""},
		{"a client whose untagged entry outranks it", "connect:203.0.113.6", Answer{Status: NotFound}, ""},
		{"that untagged entry", "203.0.113.6", Answer{OK, "DISCARD"}, ""},
		{"nobody can tell, and there was none before", "connect:203.0.113.9", Answer{Status: NotFound}, "203.0.113.9"},
		{"nobody can tell about one with an entry", "connect:203.0.113.2", unreachable, "203.0.113.2"},
		{"nobody can tell, and it was known to hold one", "connect:203.0.113.3", unreachable, "203.0.113.3"},
		{"a network", "connect:203.0.113", Answer{OK, "ERROR:5.7.1:550 Not from here"}, ""},
		{"an untagged address", "203.0.113.1", Answer{Status: NotFound}, ""},
		{"another tag", "clientrate:203.0.113.1", Answer{Status: NotFound}, ""},
		{"a sender", "from:203.0.113.1", Answer{Status: NotFound}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			grants := &grantTable{states: states}
			a := NewAccess(always(&policy.Policy{Access: table(t, accessText)}, grants), nil)
			if diff := cmp.Diff(tt.want, a.Lookup(t.Context(), tt.key)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if got := strings.Join(grants.asked, " "); got != tt.asked {
				t.Errorf("asked about %q, expected %q", got, tt.asked)
			}
		})
	}
}

func TestAGrantForRelayingOnlyIsNotLaidOverARefusedNetwork(t *testing.T) {
	grants := &grantTable{states: map[string]policy.GrantState{"203.0.113.1": policy.GrantHeld, "203.0.113.2": policy.GrantTemporary, "198.51.100.9": policy.GrantHeld, "192.0.2.8": policy.GrantHeld}}
	p := &policy.Policy{GrantsRelayOnly: true, Access: table(t, "Connect:203.0.113 REJECT\n192.0.2.0/24 DISCARD\n")}
	a := NewAccess(always(p, grants), nil)
	for key, want := range map[string]Answer{
		"connect:203.0.113.1":  {Status: NotFound}, // and then sendmail asks for its network
		"connect:203.0.113.2":  {Status: NotFound},
		"connect:203.0.113":    {OK, "REJECT"},
		"connect:192.0.2.8":    {OK, "DISCARD"},
		"connect:198.51.100.9": {OK, "RELAY"},
	} {
		if diff := cmp.Diff(want, a.Lookup(t.Context(), key)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	// milterd.m4 has a search end at its first key.
	if diff := cmp.Diff(Answer{OK, "REJECT"}, a.Lookup(t.Context(), strings.Join([]string{"connect", "skip", "q1", "203.0.113.1", "203.0.113.1"}, separator))); diff != "" {
		t.Errorf("the search (-want +got):\n%s", diff)
	}
}

// TestEntriesThatRefuseAreLogged: sendmail refuses by them before it asks the filter.
func TestEntriesThatRefuseAreLogged(t *testing.T) {
	var log testkit.Log
	const text = "Connect:203.0.113.5 REJECT\nFrom:bad@good.example ERROR:5.7.1:550 no\n198.51.100 DISCARD\nConnect:192.0.2.0/24 REJECT\n" +
		"Connect:203.0.113.6 OK\nGreetPause:203.0.113.5 5000\nSpam:x@example.test FRIEND\nTo:y@example.test RELAY\nTo:late@example.test ERROR:4.2.1:450 later\nx@held.example QUARANTINE:look\n"
	a := NewAccess(always(&policy.Policy{Access: table(t, text)}, nil), log.Logger())
	noted := 0
	a.Noted = func(line *door.Line) { noted++ }
	for key, rule := range map[string]string{
		"connect:203.0.113.5":   `msg=reject door=map client=203.0.113.5 rule="access:1: connect:203.0.113.5 REJECT"`,
		"from:bad@good.example": `msg=reject door=map from=bad@good.example reply="550 5.7.1 no" rule="access:2: from:bad@good.example ERROR:5.7.1:550 no"`,
		"198.51.100":            `msg=discard door=map rule="access:3: 198.51.100 DISCARD"`,
		"connect:192.0.2.9":     `msg=reject door=map client=192.0.2.9 rule="access:4: connect:192.0.2.9 REJECT"`,
		"to:late@example.test":  `msg=tempfail door=map to=late@example.test reply="450 4.2.1 later" rule="access:9: to:late@example.test ERROR:4.2.1:450 later"`,
		"x@held.example":        `msg=quarantine door=map rule="access:10: x@held.example QUARANTINE:look"`,
		"connect:203.0.113.6":   "", "greetpause:203.0.113.5": "", "spam:x@example.test": "", "to:y@example.test": "", "connect:203.0.113.7": "",
	} {
		before := len(log.String())
		for range 3 { // one line for all of them
			a.Lookup(t.Context(), key)
		}
		if n := strings.Count(log.String()[before:], "\n"); n > 1 {
			t.Errorf("%s is logged %d times", key, n)
		}
		line := log.String()[before:]
		if rule == "" && line != "" || !strings.Contains(line, rule) {
			t.Errorf("%s is logged as %q, expected %q", key, line, rule)
		}
	}
	if lines := strings.Count(log.String(), "\n"); noted != lines {
		t.Errorf("%d lines noted, %d logged", noted, lines)
	}
}

func TestGrantsThatAreUsedAreCounted(t *testing.T) {
	grants := &grantTable{states: map[string]policy.GrantState{"2001:db8::8": policy.GrantHeld}}
	a := NewAccess(always(&policy.Policy{}, grants), nil)
	for _, key := range []string{"connect:ipv6:2001:db8:0:0:0:0:0:8", "connect:203.0.113.9", "from:a@b.example"} {
		a.Lookup(t.Context(), key)
	}
	if n := a.granted.Load(); n != 1 {
		t.Errorf("%d look-ups answered by a grant, expected 1", n)
	}
}

func TestPasswordsAreNotLogged(t *testing.T) {
	const text = "AuthInfo:smart.example\t\"U:user\" \"P:TopSecretPw\" \"M:PLAIN\"\nConnect:203.0.113.5\tREJECT\n"
	ts := serve(t, Config{Maps: map[string]Map{"access": NewAccess(always(&policy.Policy{Access: table(t, text)}, nil), nil).Lookup}})
	c := dial(t, ts.addr)
	c.ask("access AuthInfo:smart.example", `OK "U:user" "P:TopSecretPw" "M:PLAIN"`)
	c.ask("access connect:203.0.113.5", "OK REJECT")
	for _, want := range []string{`key=AuthInfo:smart.example status=OK value="(not shown)"`, "key=connect:203.0.113.5 status=OK value=REJECT"} {
		testkit.Eventually(t, "the log has "+want, func() bool { return strings.Contains(ts.log.String(), want) })
	}
	if strings.Contains(ts.log.String(), "TopSecret") {
		t.Errorf("a password is in the log:\n%s", ts.log)
	}
}

// TestAShortenedKeyIsNoClient has the keys that sendmail asks for with
// UseCompressedIPv6Addresses, on one connection: those it makes of a longer one read
// as other clients' addresses.
func TestAShortenedKeyIsNoClient(t *testing.T) {
	const text = "Connect:2001:db8::/112\tREJECT\nConnect:2001:db8:0:0:0:0:1:0/112\tRELAY\nConnect:IPv6:2001:db8::2\tDISCARD\n"
	grants := &grantTable{states: map[string]policy.GrantState{"2001:db8::1": policy.GrantHeld, "2001:db8::5": policy.GrantTemporary}}
	for _, c := range []struct {
		name string
		keys []string
		want string
	}{
		{"a client's own address in a network", []string{"connect:ipv6:2001:db8::9"}, "OK REJECT"},
		{"one that a client outside of it is shortened to", []string{"connect:ipv6:2001:db8::9:8", "ipv6:2001:db8::9:8", "connect:ipv6:2001:db8::9"}, "NOTFOUND "},
		{"without the untagged key between", []string{"connect:ipv6:2001:db8::9:8", "connect:ipv6:2001:db8::9"}, "NOTFOUND "},
		{"in capitals", []string{"Connect:IPv6:2001:DB8::9:8", "IPv6:2001:DB8::9:8", "Connect:IPv6:2001:db8::9"}, "NOTFOUND "},
		{"shortened twice", []string{"connect:ipv6:2001:db8::9:8:7", "ipv6:2001:db8::9:8:7", "connect:ipv6:2001:db8::9:8", "ipv6:2001:db8::9:8", "connect:ipv6:2001:db8::9"}, "NOTFOUND "},
		{"a client that holds a grant", []string{"connect:ipv6:2001:db8::1"}, "OK RELAY"},
		{"one that is shortened to it", []string{"connect:ipv6:2001:db8::1:8", "ipv6:2001:db8::1:8", "connect:ipv6:2001:db8::1"}, "NOTFOUND "},
		{"one that is shortened to one that cannot be asked about", []string{"connect:ipv6:2001:db8::5:8", "connect:ipv6:2001:db8::5"}, "NOTFOUND "},
		{"one that is shortened to an entry of sendmail's form", []string{"connect:ipv6:2001:db8::2:8", "connect:ipv6:2001:db8::2"}, "OK DISCARD"},
		{"the next walk begins with the client itself", []string{"connect:ipv6:2001:db8::9:8", "connect:ipv6:2001:db8::9", "ipv6:2001:db8", "connect:ipv6:2001:db8::1"}, "OK RELAY"},
		{"another client's address after one", []string{"connect:ipv6:2001:db8::18", "connect:ipv6:2001:db8::1"}, "OK RELAY"},
		{"a longer one after its beginning", []string{"connect:ipv6:2001:db8::1", "connect:ipv6:2001:db8::1:8"}, "OK RELAY"},
	} {
		p := &policy.Policy{Access: table(t, text)}
		server := serve(t, Config{Maps: map[string]Map{"access": NewAccess(always(p, grants), nil).Lookup}})
		client := dial(t, server.addr)
		for i, key := range c.keys {
			client.send(netstring("access " + key))
			got, err := client.read()
			if err != nil {
				t.Fatal(err)
			}
			if i == len(c.keys)-1 && got != c.want {
				t.Errorf("%s: %s is answered %q, expected %q", c.name, key, got, c.want)
			}
		}
	}
}

// TestATagThatCameOutOfAnAddressIsNotAnswered: sendmail asks for the domain
// "a:b:".c."connect:127" label by label, until its key is one of a client.
func TestATagThatCameOutOfAnAddressIsNotAnswered(t *testing.T) {
	a := NewAccess(always(&policy.Policy{Access: table(t, "Connect:127\tRELAY\nTo:[IPv6:2001:db8:0:0:0:0:0:8]\tRELAY\nFrom:\"a:b\"@good.example\tREJECT\n")}, nil), nil)
	for key, want := range map[string]Status{
		"to:x@a:victim.example:.b.connect:127": Temp,
		"to:a:victim.example:.b.connect:127":   Temp,
		"to:connect:127":                       Temp,
		"from:connect:127":                     Temp,
		"SPAM:Connect:127":                     Temp,
		"connect:127":                          OK,
		"to:[ipv6:2001:db8:0:0:0:0:0:8]":       OK,
		"to:ipv6:2001:db8:0:0:0:0:0:9":         NotFound,
		"from:a:b@good.example":                NotFound,
		"from:a:b@":                            NotFound,
		"to:127.0.0.1":                         NotFound,
		"to:other.example":                     NotFound,
	} {
		if got := a.Lookup(t.Context(), key); got.Status != want {
			t.Errorf("%s: %v, expected %s", key, got, want)
		}
	}
}

// natGuard is a guard that suspects an address.
func natGuard(t *testing.T, addr string) *door.NATGuard {
	t.Helper()
	g := door.NewNATGuard(slog.New(slog.DiscardHandler))
	for range 100 {
		g.Seen(netip.MustParseAddr(addr))
	}
	if !g.Shared().IsValid() {
		t.Fatal("nothing is suspected")
	}
	return g
}

func TestAnAddressThatClientsShareRelaysNothing(t *testing.T) {
	p := &policy.Policy{Access: table(t, `Connect:10.88.0.1	RELAY
Connect:10.88	RELAY
10		RELAY
Connect:10.88.0	REJECT
Connect:10.89	RELAY
Connect:10.8	RELAY
Connect:10.88.0.11	RELAY
Connect:IPv6:fd00:0:0:1	RELAY
To:10.88	RELAY
Connect:host.containers.internal	RELAY
`)}
	grants := &grantTable{states: map[string]policy.GrantState{"10.88.0.1": policy.GrantHeld, "10.88.0.2": policy.GrantHeld}}
	for _, tt := range []struct {
		shared, key string
		want        Answer
	}{
		{"10.88.0.1", "connect:10.88.0.1", Answer{Status: NotFound}},
		{"10.88.0.1", "connect:10.88", Answer{Status: NotFound}},
		{"10.88.0.1", "10", Answer{Status: NotFound}},
		{"10.88.0.1", "connect:10.88.0", Answer{OK, "REJECT"}},
		{"10.88.0.1", "connect:10.89", Answer{OK, "RELAY"}},
		{"10.88.0.1", "connect:10.8", Answer{OK, "RELAY"}},
		{"10.88.0.1", "connect:10.88.0.11", Answer{OK, "RELAY"}},
		{"10.88.0.1", "connect:10.88.0.2", Answer{OK, "RELAY"}}, // another client's grant
		{"10.88.0.1", "to:10.88", Answer{OK, "RELAY"}},
		{"10.88.0.1", "connect:host.containers.internal", Answer{OK, "RELAY"}},
		{"fd00::1:0:0:0:1", "connect:ipv6:fd00:0:0:1", Answer{Status: NotFound}},
		{"fd00::2:0:0:0:1", "connect:ipv6:fd00:0:0:1", Answer{OK, "RELAY"}},
		{"192.168.1.1", "connect:10.88.0.1", Answer{OK, "RELAY"}},
	} {
		now := door.Snapshot{Policy: p, Grants: grants, NAT: natGuard(t, tt.shared)}
		a := NewAccess(func() door.Snapshot { return now }, nil)
		if got := a.Lookup(t.Context(), tt.key); got != tt.want {
			t.Errorf("shared %s, key %s: %v, expected %v", tt.shared, tt.key, got, tt.want)
		}
		for _, evaluated := range []policy.Policy{{Access: p.Access, Shadow: true}, {Access: p.Access, Checks: policy.Checks{Relay: policy.RelayCheck{Mode: policy.ModeShadow}}}} {
			now.Policy = &evaluated
			if got := a.Lookup(t.Context(), tt.key); tt.want.Status == NotFound && got != (Answer{OK, "RELAY"}) {
				t.Errorf("shared %s, key %s, with a relay check that is not enforced: %v, expected RELAY", tt.shared, tt.key, got)
			}
		}
	}
}

// TestATagThatCameOutOfAnAddressIsNotAnswered: sendmail asks for the domain
// "a:b:".c."connect:127" label by label, until its key is one of a client.
