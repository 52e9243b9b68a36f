package grant_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/policy/grant"
)

func TestLoginsAndTheirGrants(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config grant.Config
		steps  []step
	}{
		{"a login grants its address and no other", grant.Config{}, []step{
			{"ask 203.0.113.8", "none"},
			{"login 203.0.113.8 shin", "granted"},
			{"ask 203.0.113.8", "held shin"},
			{"ask 203.0.113.9", "none"},
		}},
		{"a grant ends after thirty minutes", grant.Config{}, []step{
			{"login 203.0.113.8 shin", "granted"},
			{"pass 29m59s", ""},
			{"ask 203.0.113.8", "held shin"},
			{"pass 1s", ""},
			{"ask 203.0.113.8", "none"},
			{"login 203.0.113.8 shin", "granted"},
		}},
		{"each login makes it longer", grant.Config{TTL: time.Minute}, []step{
			{"login 203.0.113.8 shin", "granted"},
			{"pass 50s", ""},
			{"login 203.0.113.8 shin", "renewed"},
			{"pass 50s", ""},
			{"ask 203.0.113.8", "held shin"},
			{"pass 10s", ""},
			{"ask 203.0.113.8", "none"},
		}},
		{"an IPv6 address is granted exactly, not its network", grant.Config{}, []step{
			{"login 2001:db8::8 shin", "granted"},
			{"ask 2001:db8::8", "held shin"},
			{"ask 2001:db8::9", "none"},
		}},
		{"a mapped address is the IPv4 one, and a zone does not count", grant.Config{}, []step{
			{"login ::ffff:203.0.113.8 shin", "granted"},
			{"ask 203.0.113.8", "held shin"},
			{"ask ::ffff:203.0.113.8", "held shin"},
			{"login 2001:db8::8%eth0 shin", "granted"},
			{"ask 2001:db8::8", "held shin"},
		}},
		{"addresses that stand for many clients get none", grant.Config{}, []step{
			{"login 127.0.0.1 shin", "excluded loopback network 127.0.0.0/8"},
			{"login ::1 shin", "excluded loopback network ::1/128"},
			{"login ::ffff:127.0.0.1 shin", "excluded loopback network 127.0.0.0/8"},
			{"login 10.1.2.3 shin", "excluded private network 10.0.0.0/8"},
			{"login fd00::1 shin", "excluded private network fc00::/7"},
			{"login fec0::1 shin", "excluded private network fec0::/10"},
			{"login feff:ffff::1 shin", "excluded private network fec0::/10"},
			{"login 64:ff9b::10.0.0.1 shin", "excluded private network 10.0.0.0/8, as 10.0.0.1"},
			{"login 64:ff9b::127.0.0.1 shin", "excluded loopback network 127.0.0.0/8, as 127.0.0.1"},
			{"login 64:ff9b::100.64.0.1 shin", "excluded cgnat network 100.64.0.0/10, as 100.64.0.1"},
			{"login 64:ff9b:1::192.168.0.1 shin", "excluded private network 192.168.0.0/16, as 192.168.0.1"},
			{"login ::192.168.0.1 shin", "excluded private network 192.168.0.0/16, as 192.168.0.1"},
			{"login ::169.254.0.1 shin", "excluded link-local network 169.254.0.0/16, as 169.254.0.1"},
			{"login ::ffff:0:172.16.0.1 shin", "excluded private network 172.16.0.0/12, as 172.16.0.1"},
			{"login 2002:0a00:0001::1 shin", "excluded private network 10.0.0.0/8, as 10.0.0.1"},
			{"login 2002:7f00:0001:5::9 shin", "excluded loopback network 127.0.0.0/8, as 127.0.0.1"},
			{"login 2002:e000:0001::1 shin", "excluded not an address of a client, as 224.0.0.1"},
			{"login 64:ff9b::203.0.113.8 shin", "granted"},
			{"login 2002:cb00:7108::1 shin", "granted"},
			{"login ::203.0.113.8 kim", "granted"},
			{"ask 64:ff9b::203.0.113.8", "held shin"},
			{"ask 64:ff9b::10.0.0.1", "none"},
			{"login 169.254.1.1 shin", "excluded link-local network 169.254.0.0/16"},
			{"login fe80::1%eth0 shin", "excluded link-local network fe80::/10"},
			{"login 100.64.0.1 shin", "excluded cgnat network 100.64.0.0/10"},
			{"login 0.0.0.0 shin", "excluded not an address of a client"},
			{"login :: shin", "excluded not an address of a client"},
			{"login 224.0.0.1 shin", "excluded not an address of a client"},
			{"login ff02::1 shin", "excluded not an address of a client"},
			{"login 255.255.255.255 shin", "excluded not an address of a client"},
			{"ask 10.1.2.3", "none"},
		}},
		{"our own addresses get none", grant.Config{Own: func() []netip.Addr { return []netip.Addr{parse("::ffff:203.0.113.25")} }}, []step{
			{"login 203.0.113.25 shin", "excluded an address of this machine"},
			{"login 203.0.113.26 shin", "granted"},
		}},
		{"networks can be excluded, or none", grant.Config{Exclude: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/24")}}, []step{
			{"login 203.0.113.8 shin", "excluded excluded network 203.0.113.0/24"},
			{"login 10.1.2.3 shin", "granted"},
			{"login 224.0.0.1 shin", "excluded not an address of a client"},
		}},
		{"only required networks get any", grant.Config{Require: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("10.0.0.0/8")}}, []step{
			{"login 203.0.113.8 shin", "granted"},
			{"login 198.51.100.8 shin", "excluded outside the required networks"},
			{"login 10.0.0.1 shin", "excluded private network 10.0.0.0/8"},
		}},
		{"one user more than the limit loses the oldest login", grant.Config{MaxPerUser: 2}, []step{
			{"login 203.0.113.1 shin", "granted"},
			{"login 203.0.113.2 shin", "granted"},
			{"login 203.0.113.1 shin", "renewed"},
			{"login 203.0.113.3 shin", "granted"},
			{"ask 203.0.113.1", "held shin"},
			{"ask 203.0.113.2", "none"},
			{"ask 203.0.113.3", "held shin"},
			{"login 203.0.113.4 Shin", "granted"},
			{"ask 203.0.113.1", "held shin"},
		}},
		{"the limit is ten unless it is set, or off", grant.Config{}, []step{
			{"login 203.0.113.1 shin", "granted"}, {"login 203.0.113.2 shin", "granted"}, {"login 203.0.113.3 shin", "granted"},
			{"login 203.0.113.4 shin", "granted"}, {"login 203.0.113.5 shin", "granted"}, {"login 203.0.113.6 shin", "granted"},
			{"login 203.0.113.7 shin", "granted"}, {"login 203.0.113.8 shin", "granted"}, {"login 203.0.113.9 shin", "granted"},
			{"login 203.0.113.10 shin", "granted"},
			{"ask 203.0.113.1", "held shin"},
			{"login 203.0.113.11 shin", "granted"},
			{"ask 203.0.113.1", "none"},
			{"revokeuser shin", "10 <nil>"},
		}},
		{"users that nobody knows have no limit", grant.Config{MaxPerUser: 1}, []step{
			{"login 203.0.113.1", "granted"},
			{"login 203.0.113.2", "granted"},
			{"ask 203.0.113.1", "held"},
		}},
		{"no limit", grant.Config{MaxPerUser: -1}, []step{
			{"login 203.0.113.1 shin", "granted"},
			{"login 203.0.113.2 shin", "granted"},
			{"ask 203.0.113.1", "held shin"},
		}},
		{"an address changes its user, and a login without a name keeps it", grant.Config{}, []step{
			{"login 203.0.113.1 shin", "granted"},
			{"login 203.0.113.1 kim", "granted"},
			{"ask 203.0.113.1", "held kim"},
			{"login 203.0.113.1", "renewed"},
			{"ask 203.0.113.1", "held kim"},
			{"revokeuser shin", "0 <nil>"},
			{"ask 203.0.113.1", "held kim"},
			{"revokeuser kim", "1 <nil>"},
			{"ask 203.0.113.1", "none"},
		}},
		{"a revoked grant is gone at once", grant.Config{}, []step{
			{"login 203.0.113.1 shin", "granted"},
			{"revoke ::ffff:203.0.113.1", "true <nil>"},
			{"ask 203.0.113.1", "none"},
			{"revoke 203.0.113.1", "false <nil>"},
		}},
		{"a full store renews and grants nothing new", grant.Config{Max: 1}, []step{
			{"login 203.0.113.1 shin", "granted"},
			{"login 203.0.113.2 kim", "full too many relay grants"},
			{"login 203.0.113.1 kim", "granted"},
			{"ask 203.0.113.1", "held kim"},
			{"pass 30m", ""},
			{"login 203.0.113.2 kim", "granted"},
		}},
		{"what cannot be a login grants nothing", grant.Config{}, []step{
			{"login  ", "invalid no address"},
			{"login 203.0.113.1 a\x00b", "invalid user name has control characters"},
			{"login 203.0.113.1 a\u009bb", "invalid user name has control characters"},
			{"login 203.0.113.1 \xff", "invalid user name is not valid UTF-8"},
			{"login 203.0.113.1 " + strings.Repeat("a", 321), "invalid user name of 321 octets, the limit is 320"},
			{"ask 203.0.113.1", "none"},
			{"login 203.0.113.1 " + strings.Repeat("a", 320), "granted"},
			{"revokeuser", "0 revoke relay grants of a user: no name"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			newFixture(t, tt.config).play(tt.steps)
		})
	}
}
