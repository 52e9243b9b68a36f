package rulesets

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"milterd/policy"
	"milterd/policy/access"
)

// generator makes tables and sessions out of a small world, so that keys and
// facts meet often.
type generator struct{ *rand.Rand }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

var domains = []string{
	"good.example", "sub.good.example", "deep.sub.good.example", "example", "other.test",
	"local.example", "sub.local.example", "relay.example", "host.relay.example", "xrelay.example",
	"mx.example.test", "host.example.test", "example.test", "localhost", "a-b.example", "x",
}

var users = []string{"shin", "bob", "bob+news", "bob+a+b", "postmaster", "u.v", "x_y", "SHIN"}

var addresses = []string{
	"203.0.113.5", "203.0.113.8", "203.0.113.25", "203.0.112.9", "198.51.100.7", "192.0.2.1", "127.0.0.1",
	"2001:db8::5", "2001:db8:1::8", "2001:db8:0:1:2:3:4:5", "::1",
}

func (g generator) features() access.Features {
	f := access.Features{
		Skip: g.chance(60), BlocklistRecipients: g.chance(60), DelayChecks: g.chance(60),
		LookupDotDomain: g.chance(30), RelayHostsOnly: g.chance(25), RelayEntireDomain: g.chance(25),
		RelayMailFrom: g.chance(25), RelayLocalFrom: g.chance(20), RelayToFullAddress: g.chance(25), UseClientPTR: g.chance(20),
	}
	if f.DelayChecks {
		f.Friend = g.chance(50)
		f.Hater = !f.Friend && g.chance(40)
	}
	f.RelayMailFromDomain = f.RelayMailFrom && g.chance(50)
	return f
}

// address4or6 is a client address and its forms as keys.
func (g generator) addressKey() string {
	text := access.FormatAddr(netip.MustParseAddr(pick(g, addresses...)))
	separator := "."
	if strings.HasPrefix(text, "IPv6:") {
		separator = ":"
	}
	for g.chance(45) {
		i := strings.LastIndex(text, separator)
		if i < 0 {
			break
		}
		text = text[:i]
	}
	if g.chance(15) {
		return "[" + text + "]"
	}
	return text
}

func (g generator) userKey() string {
	user := pick(g, users...)
	if name, _, ok := strings.Cut(user, "+"); ok && g.chance(40) {
		user = pick(g, name, name+"+*")
	}
	return user + "@" + pick(g, append(domains, "", "")...)
}

func (g generator) key() string {
	rest := ""
	switch g.IntN(6) {
	case 0, 1:
		rest = g.addressKey()
	case 2, 3:
		rest = pick(g, domains...)
		if g.chance(15) {
			rest = "." + rest
		}
	default:
		rest = g.userKey()
	}
	tag := pick(g, "Connect:", "From:", "To:", "Spam:", "", "connect:", "TO:")
	if g.chance(3) {
		return pick(g, "CERTIssuer:/CN=ca", "CERTSubject:/CN=client")
	}
	return tag + rest
}

func (g generator) value() string {
	return pick(g, "OK", "RELAY", "RELAY", "REJECT", "DISCARD", "SKIP", "FRIEND", "HATER", "reject", "Relay", "SUBJECT",
		"ERROR:5.7.1:550 Go away", "ERROR:550 5.7.9 Not here", "ERROR:4.7.1:450 Come back later", "ERROR:Later perhaps",
		"550 We do not want this", "450 4.3.2 Busy", "No code at all", "ERROR:5.1.8:Nobody", `ERROR:"550 5.7.3 quoted"`,
		"QUARANTINE:suspect mail", "quarantine:held back")
}

// table is a table that makemap takes without a complaint.
func (g generator) table() string {
	var b strings.Builder
	seen := map[string]bool{}
	for range 20 + g.IntN(120) {
		key := g.key()
		if folded := strings.ToLower(key); !seen[folded] {
			seen[folded] = true
			fmt.Fprintf(&b, "%s\t%s\n", key, g.value())
		}
	}
	return b.String()
}

// session is one question to both sides.
type session struct {
	conn policy.Connection
	tls  policy.TLS
	auth policy.Auth
	from string
	to   string
}

func (g generator) session() session {
	s := session{from: g.sender(), to: g.recipient()}
	if !g.chance(3) {
		s.conn.Addr = netip.MustParseAddr(pick(g, addresses...))
	}
	if s.conn.PTR = pick(g, append(domains, "")...); s.conn.PTR == "localhost" {
		// sendmail would ask the hosts file for another name of localhost.
		s.conn.PTR = "mail.good.example"
	}
	s.conn.Resolve = pick(g, policy.ResolveOK, policy.ResolveOK, policy.ResolveOK, policy.ResolveFail, policy.ResolveForged, policy.ResolveTemp)
	s.conn.Name = "[" + s.conn.ClientAddr() + "]"
	if s.conn.Resolve == policy.ResolveOK && s.conn.PTR != "" {
		s.conn.Name = s.conn.PTR
	}
	if g.chance(15) {
		s.auth = policy.Auth{Type: pick(g, "PLAIN", "GSSAPI", "plain"), Authen: "shin"}
	}
	if g.chance(8) {
		s.tls = policy.TLS{Version: "TLSv1.3", Verify: pick(g, "OK", "NO", "TRUSTED"), CertIssuer: "/CN=ca", CertSubject: "/CN=client"}
	}
	return s
}

func (g generator) sender() string {
	switch {
	case g.chance(5):
		return ""
	case g.chance(4):
		return pick(g, users...)
	case g.chance(10):
		return g.disguise(pick(g, users...), pick(g, domains...))
	}
	return pick(g, users...) + "@" + g.domain()
}

func (g generator) domain() string {
	d := pick(g, domains...)
	switch g.IntN(12) {
	case 0:
		return strings.ToUpper(d)
	case 1:
		return d + "."
	case 2:
		return pick(g, "[203.0.113.25]", "[203.0.113.8]", "[IPv6:2001:db8::5]")
	}
	return d
}

// recipient is a plain address, or one of the tricks that try to have a host
// behind our own reached.
func (g generator) recipient() string {
	user, one, two := pick(g, users...), g.domain(), g.domain()
	switch g.IntN(15) {
	case 14:
		return g.disguise(user, one)
	case 0:
		return user + "%" + one + "@" + two
	case 1:
		return one + "!" + user + "@" + two
	case 2:
		return "@" + one + ":" + user + "@" + two
	case 3:
		return `"` + user + "@" + one + `"@` + two
	case 4:
		return user + "%" + pick(g, domains...) + "%" + one + "@" + two
	case 5:
		return pick(g, user, user+"%"+one, one+"!"+user, `"`+user+`"@`+one, user+"@"+one+"..", `"`+user+"%"+one+`"@`+two,
			`"`+one+"!"+user+`"@`+two, user+"@"+one+"@"+two, "@"+one+",@"+two+":"+user+"@"+one, user+"@")
	}
	return user + "@" + one
}

// disguise writes an address in one of the ways that sendmail takes although no
// standard allows them. Comments are left to the dialogues: sendmail -bt does not
// take them out, sendmail itself does.
func (g generator) disguise(user, domain string) string {
	return pick(g, user+"@"+domain+";", `"`+user[:1]+`"`+user[1:]+"@"+domain, user+" @ "+domain)
}
