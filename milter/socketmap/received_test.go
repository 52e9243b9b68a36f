package socketmap

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"milterd/milter/door"
	"milterd/policy"
)

// scrubbing is a policy of a site that hides its own users.
func scrubbing(t testing.TB, received policy.Scrub) *policy.Policy {
	refuse := policy.Reaction{Action: policy.ActionReject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}}
	return &policy.Policy{
		Access: table(t, "Connect:192.0.2\tRELAY\nFrom:user@our.example\tREJECT\n"),
		Local:  policy.NewClass("our.example"),
		Checks: policy.Checks{
			Relay: policy.RelayCheck{TrustAuthMech: []string{"PLAIN", "CRAM-MD5"}, LocalMailers: []string{"local"}},
			// These refuse whom they know nothing about. The map must not ask them.
			RDNS: policy.RDNSCheck{Source: policy.RDNSSourceOwn, Temp: refuse, Fail: refuse, Forged: refuse},
		},
		Ports: map[string]policy.Port{
			"587":  {Auth: policy.AuthRequire, Checks: map[string]policy.Mode{"rdns": policy.ModeEnforce}},
			"465":  {Received: policy.ReceivedScrub},
			"26":   {Received: policy.ReceivedKeep},
			"2525": {Checks: map[string]policy.Mode{"received": policy.ModeShadow}},
		},
		Received: received,
	}
}

func TestWhoseReceivedFieldIsScrubbed(t *testing.T) {
	var (
		authenticated = policy.Scrub{Authenticated: true}
		relayed       = policy.Scrub{Relayed: true}
		granted       = policy.Scrub{Granted: true}
		networks      = policy.Scrub{Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}}
	)
	grants := &grantTable{states: map[string]policy.GrantState{
		"203.0.113.8": policy.GrantHeld, "2001:db8::8": policy.GrantHeld, "203.0.113.9": policy.GrantTemporary,
	}}
	scrub, keep := Answer{OK, "SCRUB"}, Answer{Status: NotFound}
	for _, tt := range []struct {
		name string
		rule policy.Scrub
		key  string
		want Answer
	}{
		{"a user who authenticated", authenticated, "203.0.113.1/587//PLAIN/OK/esmtp/dial.example/x@other.example", scrub},
		{"in lower case, as the map's flags may have it", authenticated, "203.0.113.1/587//cram-md5/ok/esmtp/dial.example/x@other.example", scrub},
		{"at MAIL already", authenticated, "203.0.113.1/587//PLAIN", scrub},
		{"with a mechanism that is not trusted", authenticated, "203.0.113.1/587//NTLM/OK/esmtp/dial.example/x@other.example", keep},
		{"without authentication", authenticated, "203.0.113.1/25///OK/esmtp/mx.example/x@other.example", keep},
		{"not authenticated, and the field left off", authenticated, "203.0.113.1/25", keep},

		{"relayed by address", relayed, "192.0.2.7/25///FAIL/esmtp/[192.0.2.7]/x@other.example", scrub},
		{"relayed by authentication", relayed, "203.0.113.1/587//PLAIN/OK/esmtp/dial.example/x@other.example", scrub},
		{"relayed by a grant", relayed, "203.0.113.8/25///FAIL/esmtp/[203.0.113.8]/x@other.example", scrub},
		{"a client that may relay, to us", relayed, "192.0.2.7/25///OK/esmtp/pc.example/shin@our.example", keep},
		{"a client that may relay, to a mailbox here", relayed, "192.0.2.7/25///OK/local/pc.example/shin", keep},
		{"a client that may relay, before RCPT", relayed, "192.0.2.7/25///OK", keep},
		{"inbound mail", relayed, "203.0.113.1/25///OK/local/mx.example/shin@our.example", keep},
		{"an open relay's test", relayed, "203.0.113.1/25///OK/esmtp/mx.example/x@other.example", keep},

		{"a grant", granted, "203.0.113.8/25///FAIL/local/[203.0.113.8]/shin@our.example", scrub},
		{"a grant on IPv6", granted, "IPv6:2001:db8:0:0:0:0:0:8/25///FAIL", scrub},
		{"the same, in lower case", granted, "ipv6:2001:db8:0:0:0:0:0:8/25///FAIL", scrub},
		{"no grant", granted, "203.0.113.1/25///OK/local/mx.example/shin@our.example", keep},
		{"nobody can tell about the grant", granted, "203.0.113.9/25///OK/local/mx.example/shin@our.example", Answer{Temp, "whether the client holds a relay grant cannot be asked for now"}},

		{"a listed network", networks, "198.51.100.200/25", scrub},
		{"a listed IPv6 network", networks, "IPv6:2001:db8:1:2:3:4:5:6/25", scrub},
		{"outside of it", networks, "203.0.113.1/25", keep},

		{"a port where all mail is scrubbed", authenticated, "203.0.113.1/465///OK/local/mx.example/shin@our.example", scrub},
		{"a port where none is", authenticated, "203.0.113.1/26//PLAIN/OK/esmtp/dial.example/x@other.example", keep},
		{"a port where it is only tried", authenticated, "203.0.113.1/2525//PLAIN/OK/esmtp/dial.example/x@other.example", keep},
		{"an unknown port", authenticated, "203.0.113.1/x25//PLAIN", scrub},
		{"scrubbing is off", policy.Scrub{Mode: policy.ModeOff, Authenticated: true}, "203.0.113.1/587//PLAIN", keep},
		{"scrubbing is only tried", policy.Scrub{Mode: policy.ModeShadow, Authenticated: true}, "203.0.113.1/587//PLAIN", keep},

		{"a local submission that is relayed", relayed, "0/////esmtp//x@other.example", scrub},
		{"a local submission to us", relayed, "0/////local//shin@our.example", keep},
		{"no key", authenticated, "", keep},
		{"no address", relayed, "/587//PLAIN/OK/esmtp/dial.example/x@other.example", keep},
		{"not an address", authenticated, "203.0.113/587//PLAIN/OK/esmtp/dial.example/x@other.example", keep},
		{"a field left out in the middle", authenticated, "203.0.113.1/587/PLAIN/OK/esmtp/dial.example/x@other.example", keep},
		{"a hostile recipient", authenticated, "203.0.113.1/587//PLAIN/OK/esmtp/dial.example/\x00\"\x1b@%!(<>,\xff 25 - keep@our.example", scrub},
		{"a hostile name", authenticated, "203.0.113.1/587//PLAIN/OK/esmtp/\x00\xff/x@other.example", scrub},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Received(always(scrubbing(t, tt.rule), grants))
			if diff := cmp.Diff(tt.want, r(t.Context(), tt.key)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheReceivedMapUsesWhatIsInForce(t *testing.T) {
	var now door.Snapshot
	r := Received(func() door.Snapshot { return now })
	check := func(when string, want Answer) {
		t.Helper()
		for range 2 {
			if diff := cmp.Diff(want, r(t.Context(), "203.0.113.1/587//PLAIN")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
	}
	check("before there is a policy", Answer{Temp, "the policy is not loaded"})
	now.Policy = scrubbing(t, policy.Scrub{Authenticated: true})
	check("with one", Answer{OK, "SCRUB"})
	now.Policy = scrubbing(t, policy.Scrub{Granted: true})
	check("after a reload", Answer{Status: NotFound})
}

func TestReceivedKeysAreRead(t *testing.T) {
	client := netip.MustParseAddr("203.0.113.8")
	from := func(addr netip.Addr, port uint16) facts {
		return facts{client: policy.Connection{Addr: addr, DaemonPort: port}}
	}
	for _, tt := range []struct {
		name, key string
		want      facts
		ok        bool
	}{
		{
			"every field", "203.0.113.8/587/MSA-v4/PLAIN/FORGED/esmtp/[203.0.113.8]/x@other.example",
			facts{
				policy.Connection{Addr: client, DaemonPort: 587, DaemonName: "MSA-v4", Resolve: policy.ResolveForged, Name: "[203.0.113.8]"},
				policy.Auth{Type: "PLAIN"}, &policy.Recipient{To: "x@other.example", Mailer: "esmtp"},
			}, true,
		},
		{"no value but the address", "203.0.113.8///////", from(client, 0), true},
		{"the address alone", "203.0.113.8", from(client, 0), true},
		{"values that cannot be", "203.0.113.8/70000///MAYBE", from(client, 0), true},
		{"a recipient in angle brackets and with spaces", `203.0.113.8///////<"a b"@c.example>`, facts{client: policy.Connection{Addr: client}, recipient: &policy.Recipient{To: `"a b"@c.example`}}, true},
		{"IPv6", "IPv6:2001:db8:0:0:0:0:0:8/25", from(netip.MustParseAddr("2001:db8::8"), 25), true},
		{"a zone, which no client has", "fe80::1%eth0", from(netip.MustParseAddr("fe80::1"), 0), true},
		{"IPv4 within IPv6", "::ffff:203.0.113.8", from(client, 0), true},
		{"a local submission", "0/25", from(netip.Addr{}, 25), true},
		{"no address", "/25", facts{}, false},
		{"nothing", "", facts{}, false},
		{"the prefix alone", "IPv6:/25", facts{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parseReceived(tt.key)
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Addr{}), cmp.AllowUnexported(facts{})); diff != "" || ok != tt.ok {
				t.Errorf("ok %t, facts (-want +got):\n%s", ok, diff)
			}
		})
	}
}

// Whatever a recipient holds, it changes neither who the client is nor that there is
// an answer.
func FuzzReceivedKey(f *testing.F) {
	for _, seed := range []string{
		"x@other.example", "<x@other.example>", `"a b"@c.example`, "@a,@b:c@d", "a%b%c@d", "a!b!c", "\x00\xff", "", "-", " ", "203.0.113.9/25",
		`"\`, "(", "a@[IPv6:2001:db8::1]", strings.Repeat("@", 900), strings.Repeat("a%", 400) + "@b",
	} {
		f.Add("203.0.113.1/587//PLAIN/OK/esmtp/dial.example/", seed)
		f.Add("192.0.2.7/25///FAIL/esmtp/[192.0.2.7]/", seed)
		f.Add(seed, "")
	}
	authenticated := Received(always(scrubbing(f, policy.Scrub{Authenticated: true}), nil))
	relayed := Received(always(scrubbing(f, policy.Scrub{Relayed: true}), nil))
	f.Fuzz(func(t *testing.T, client, rcpt string) {
		if len(client)+len(rcpt) > maxRequest {
			return
		}
		for _, r := range []Map{authenticated, relayed} {
			if a := r(t.Context(), client+rcpt); a != (Answer{OK, "SCRUB"}) && a != (Answer{Status: NotFound}) {
				t.Fatalf("answer %v", a)
			}
		}
		if strings.Count(client, "/") != 7 {
			return
		}
		without, withoutOK := parseReceived(client)
		with, withOK := parseReceived(client + rcpt)
		without.recipient, with.recipient = nil, nil
		if with != without || withOK != withoutOK {
			t.Fatalf("the recipient changes %+v into %+v", without, with)
		}
	})
}
