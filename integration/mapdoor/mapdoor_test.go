package mapdoor

import (
	"context"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/milter/socketmap"
	"milterd/policy"
)

// mapsConfig is a sendmail.cf of some maps and no rules.
const mapsConfig = `V10/Berkeley
Kaccess socket -T<TMPF> local:DIR/map.sock
Kother socket -T<TMPF> local:DIR/map.sock
Kasis socket -f local:DIR/map.sock
Kunserved socket local:DIR/map.sock
`

func (s site) writeMaps() {
	s.write("maps.cf", strings.ReplaceAll(mapsConfig, "DIR", s.dir))
}

func TestSendmailUnderstandsEachAnswer(t *testing.T) {
	s := newSite(t)
	s.writeMaps()
	var mu sync.Mutex
	var keys []string
	answers := socketmap.Map(func(_ context.Context, key string) socketmap.Answer {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, key)
		switch key {
		case "missing":
			return socketmap.Answer{Status: socketmap.NotFound}
		case "later":
			return socketmap.Answer{Status: socketmap.Temp, Value: "not now"}
		case "empty":
			return socketmap.Answer{Status: socketmap.OK}
		case "panics":
			panic("as it should")
		}
		return socketmap.Answer{Status: socketmap.OK, Value: "ERROR:5.7.1:550 no, (not) you"}
	})
	door := s.open(map[string]socketmap.Map{"access": answers, "other": answers, "asis": answers})
	b := s.test("maps.cf")
	long := strings.Repeat("Long", 100)
	for _, tt := range []struct{ name, in, key, want string }{
		{"a value", "access", "Connect:203.0.113.5", "returns ERROR:5.7.1:550 no, (not) you (0)"},
		{"no value", "access", "empty", "returns  (0)"},
		{"nothing found", "access", "missing", "no match (68)"},
		{"nobody can tell", "access", "later", "no match (75)"},
		{"a panic", "access", "panics", "no match (75)"},
		{"a second map", "other", "From:a@b.example", "returns ERROR:5.7.1:550 no, (not) you (0)"},
		{"a map with -f", "asis", "From:A@B.Example", "returns ERROR:5.7.1:550 no, (not) you (0)"},
		{"a long key", "access", long, "returns ERROR:5.7.1:550 no, (not) you (0)"},
		{"a long key of a map with -f", "asis", long, "returns ERROR:5.7.1:550 no, (not) you (0)"},
		{"a map that is not served", "unserved", "k", "no match (75)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := b.lookup(tt.in, tt.key); got != tt.want {
				t.Errorf("sendmail says %q, expected %q", got, tt.want)
			}
		})
	}
	want := []string{
		"connect:203.0.113.5", "empty", "missing", "later", "panics", "from:a@b.example", "From:A@B.Example",
		strings.ToLower(long[:256]), long,
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys that sendmail sent (-want +got):\n%s", diff)
	}
	if n := door.Counters.Connections.Load(); n != 1 {
		t.Errorf("%d connections, expected one for all maps", n)
	}
}

func TestALostConnectionCostsALookUp(t *testing.T) {
	s := newSite(t)
	s.writeMaps()
	maps := served(&policy.Policy{Access: parse(t, "Connect:203.0.113.5\tREJECT\n")}, nil)
	const key, found, later = "connect:203.0.113.5", "returns REJECT (0)", "no match (75)"
	first := s.open(maps)
	b := s.test("maps.cf")
	say := func(when string, b *tester, want string) {
		t.Helper()
		if got := b.lookup("access", key); got != want {
			t.Errorf("%s: sendmail says %q, expected %q", when, got, want)
		}
	}
	say("while it runs", b, found)
	first.close(t)
	second := s.open(maps)
	say("after a restart, on the old connection", b, later)
	say("after a restart, on a new connection", b, found)
	second.close(t)
	say("stopped, on the old connection", b, later)
	say("stopped, on a new connection", b, later)
	s.open(maps)
	say("started again, in a process that could not connect", b, later)
	say("started again, in a new process", s.test("maps.cf"), found)
}

// accessConfig is a stock configuration with an access map.
const accessConfig = "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\n" +
	"OSTYPE(`debian')dnl\n" +
	"define(`confDONT_PROBE_INTERFACES', `true')dnl\n" +
	"define(`confSERVICE_SWITCH_FILE', `DIR/switch')dnl\n" +
	"define(`confDOMAIN_NAME', `" + hostname + "')dnl\n" +
	"FEATURE(`nocanonify')dnl\n" +
	"FEATURE(`accept_unresolvable_domains')dnl\n" +
	"FEATURE(`accept_unqualified_senders')dnl\n" +
	"FEATURE(`access_db', `MAP')dnl\n" +
	"FEATURE(`blocklist_recipients')dnl\n" +
	"FEATURE(`delay_checks', `friend', `n')dnl\n" +
	"FEATURE(`greet_pause', `0')dnl\n" +
	"FEATURE(`ratecontrol', `nodelay')dnl\n" +
	"FEATURE(`conncontrol', `nodelay')dnl\n" +
	"LOCAL_DOMAIN(`local.example')dnl\n" +
	"LOCAL_CONFIG\nDmexample.test\n" +
	// A $| that is typed is not one to sendmail -bt.
	"LOCAL_RULESETS\n" +
	"Sask_greet\nR$*\t$@ $>\"greet_pause\" $&{client_name} $| $&{client_addr}\n" +
	"Sask_relay\nR$*\t$@ $>\"check_relay\" $&{client_name} $| $&{client_addr}\n" +
	"Sask_tls\nR$*\t$@ $>\"tls_client\" $&{verify} $| MAIL\n" +
	"MAILER_DEFINITIONS\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"

// configure writes NAME.cf with an access map.
func (s site) configure(name, accessMap string) string {
	s.t.Helper()
	s.write("switch", "hosts files\naliases files\n")
	mc := strings.NewReplacer("DIR", s.dir, "MAP", accessMap).Replace(accessConfig)
	s.write(name+".cf", s.pipe(mc, "m4"))
	return name + ".cf"
}

func (s site) withSocket() string {
	return s.configure("socket", "socket -T<TMPF> local:"+s.path("map.sock"))
}

func (s site) withHash(table string) string {
	s.pipe(table, "makemap", "hash", s.path("access"))
	return s.configure("hash", "hash -T<TMPF> "+s.path("access"))
}

const accessTable = `Connect:203.0.113.5	REJECT
Connect:203.0.113	ERROR:5.7.1:550 We do not want mail from (this) network, thank you
Connect:192.0.2.7	RELAY
192.0.2.8		OK
Connect:dial.example	DISCARD
Connect:IPv6:2001:db8:0:1	RELAY
From:spammer@good.example	REJECT
good.example		OK
From:held.example	QUARANTINE:held for a look
To:relayed.example	RELAY
To:nobody@local.example	ERROR:5.1.1:550 Gone
Spam:friend@local.example	FRIEND
GreetPause:203.0.113	5000
ClientRate:203.0.113.5	1
ClientRate:		10
ClientConn:192.0.2	3
Srv_Features:203.0.113.5	V s
TLS_Clt:mx.good.example	VERIFY:112
`

// session asks about one client, sender and recipient what sendmail asks in an SMTP
// session, ruleset by ruleset.
func session(name, addr, resolve, from, to string) string {
	macros := ".D{client_name}" + name + "\n.D{client_addr}" + addr + "\n.D{client_resolve}" + resolve + "\n.D{daemon_flags} \n" +
		".D{mail_from}<" + from + ">\n.D{verify}NONE\n.Df" + from + "\n"
	return macros + "ask_greet x\nask_relay x\nsrv_features " + name + "\nask_tls x\ncheckmail <" + from + ">\ncheck_rcpt <" + to + ">\n"
}

// allSessions ask about every pair of a client with a sender and a recipient.
func allSessions() string {
	var all strings.Builder
	for _, client := range [][3]string{
		{"[203.0.113.5]", "203.0.113.5", "FAIL"}, {"mx.good.example", "203.0.113.9", "OK"}, {"pc.our.example", "192.0.2.7", "OK"},
		{"mx.plain.example", "192.0.2.8", "OK"}, {"a.dial.example", "198.51.100.9", "OK"}, {"[IPv6:2001:db8:0:1:0:0:0:9]", "IPv6:2001:db8:0:1:0:0:0:9", "FORGED"},
	} {
		for _, mail := range [][2]string{
			{"a@good.example", "shin@local.example"}, {"spammer@good.example", "friend@local.example"}, {"b@held.example", "nobody@local.example"},
			{"a@other.example", "x@relayed.example"}, {"a@other.example", "x@elsewhere.example"}, {"", "a%b.example@local.example"},
		} {
			all.WriteString(session(client[0], client[1], client[2], mail[0], mail[1]))
		}
	}
	return all.String()
}

// notFound is the one thing that the two kinds of maps say differently: with which
// number they have not found a key.
var notFound = regexp.MustCompile(`NOT FOUND \(\d+\)`)

var lookups = regexp.MustCompile(`(?m)^map_lookup\(access, (.*)\) => `)

func TestRulesetsDecideAsOnAHashMap(t *testing.T) {
	s := newSite(t)
	s.open(served(&policy.Policy{Access: parse(t, accessTable)}, nil))
	var transcripts [2][]string
	for i, config := range []string{s.withHash(accessTable), s.withSocket()} {
		out := s.test(config, "-d60.1").transcript(allSessions())
		transcripts[i] = strings.Split(notFound.ReplaceAllString(out, "NOT FOUND"), "\n")
	}
	hash, socket := transcripts[0], transcripts[1]
	if diff := cmp.Diff(hash, socket); diff != "" {
		t.Errorf("sendmail with a hash map and with the socket map (-hash +socket):\n%s", diff)
	}
	text := strings.Join(socket, "\n")
	if strings.Contains(text, "(75)") {
		t.Error("a look-up failed")
	}
	asked := make(map[string]int)
	for _, m := range lookups.FindAllStringSubmatch(text, -1) {
		tag, _, _ := strings.Cut(strings.ToLower(m[1]), ":")
		asked[tag]++
	}
	for _, tag := range []string{"connect", "from", "to", "spam", "greetpause", "clientrate", "clientconn", "srv_features", "tls_clt"} {
		if asked[tag] == 0 {
			t.Errorf("sendmail asked for no %s: key, so nothing is proven about it; it asked for %v", tag, asked)
		}
	}
	t.Logf("%d look-ups in 36 sessions", len(lookups.FindAllString(text, -1)))
}

// granted is a set of clients with a relay grant.
type granted []string

func (g granted) Grant(_ context.Context, client netip.Addr) policy.GrantState {
	if slices.Contains(g, client.String()) {
		return policy.GrantHeld
	}
	return policy.GrantNone
}

func TestAGrantMakesSendmailRelay(t *testing.T) {
	s := newSite(t)
	config := s.withSocket()
	const table = "Connect:198.51.100\tREJECT\nConnect:198.51.100.6\tREJECT\n"
	p := &policy.Policy{Access: parse(t, table)}
	relayOnly := &policy.Policy{Access: p.Access, GrantsRelayOnly: true}
	grants := granted{"203.0.113.8", "198.51.100.5", "198.51.100.6", "2001:db8::8"}
	const relayDenied = "$# error $@ 5 . 7 . 1 $: \"550 Relaying denied. IP name lookup failed \" "
	for _, tt := range []struct {
		name   string
		policy *policy.Policy
		addr   string
		want   string
	}{
		{"a client that holds a grant", p, "203.0.113.8", "RELAY"},
		{"an IPv6 client that holds one", p, "IPv6:2001:db8:0:0:0:0:0:8", "RELAY"},
		{"in a network that is refused", p, "198.51.100.5", "RELAY"},
		{"in a refused network, by a grant for relaying only", relayOnly, "198.51.100.5", relayDenied + "[ 198 . 51 . 100 . 5 ]"},
		{"a client that holds such a grant", relayOnly, "203.0.113.8", "RELAY"},
		{"a client that is refused by its address", p, "198.51.100.6", relayDenied + "[ 198 . 51 . 100 . 6 ]"},
		{"a client without a grant", p, "203.0.113.9", relayDenied + "[ 203 . 0 . 113 . 9 ]"},
		{"before there is a policy", nil, "203.0.113.8", `$# error $@ 4 . 3 . 0 $: "451 Temporary system failure. Please try again later."`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := site{t, s.dir}
			s.open(served(tt.policy, grants))
			out := s.test(config).transcript(session("["+tt.addr+"]", tt.addr, "FAIL", "a@other.example", "x@elsewhere.example"))
			if got := result(out, "Basic_check_rcpt"); got != tt.want {
				t.Errorf("sendmail decides %s, expected %s\n%s", got, tt.want, out)
			}
		})
	}
}

// result is what the last call of a ruleset returned.
func result(transcript, ruleset string) string {
	last := ""
	for line := range strings.Lines(transcript) {
		name, rest, _ := strings.Cut(strings.TrimLeft(line, "> "), " ")
		if value, ok := strings.CutPrefix(strings.TrimSpace(rest), "returns:"); ok && name == ruleset {
			last = strings.TrimSpace(value)
		}
	}
	return last
}

// TestAShortenedAddressIsNoOtherClient: with UseCompressedIPv6Addresses sendmail
// shortens IPv6:2001:db8::1:8 to IPv6:2001:db8::1 while it walks, which is another
// client's address.
func TestAShortenedAddressIsNoOtherClient(t *testing.T) {
	s := newSite(t)
	config := s.withSocket()
	text, err := os.ReadFile(s.path(config))
	if err != nil {
		t.Fatal(err)
	}
	s.write(config, string(text)+"O UseCompressedIPv6Addresses=true\n")
	p := &policy.Policy{Access: parse(t, "Connect:2001:db8::2:0/112\tRELAY\nConnect:2001:db8::/112\tREJECT\n")}
	s.open(served(p, granted{"2001:db8::1"}))
	for _, tt := range []struct {
		name, addr      string
		relays, refused bool
	}{
		{"the client that holds a grant", "IPv6:2001:db8::1", true, false},
		{"one that is shortened to it", "IPv6:2001:db8::1:8", false, false},
		{"one that is refused", "IPv6:2001:db8::3", false, true},
		{"one that is shortened to it", "IPv6:2001:db8::3:8", false, false},
		{"one in a network that relays", "IPv6:2001:db8::2:9", true, false},
		{"one that is shortened into it", "IPv6:2001:db8::2:9:8", false, false},
	} {
		out := s.test(config).transcript(session("["+tt.addr+"]", tt.addr, "OK", "a@other.example", "x@elsewhere.example"))
		relays := result(out, "Basic_check_rcpt") == "RELAY"
		if relays != tt.relays {
			t.Errorf("%s (%s) relays: %t", tt.name, tt.addr, relays)
		}
		refused := strings.Contains(out, "returns: < REJECT >")
		if refused != tt.refused {
			t.Errorf("%s (%s) finds a REJECT: %t", tt.name, tt.addr, refused)
		}
	}
}
