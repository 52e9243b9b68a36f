package configs

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
	"milterd/policy/access"
)

// cf is a sendmail.cf with what counts, and rules in the manner of the FEATUREs
// skip and relay_entire_domain.
const cf = `# a configuration
Cwcf.example.test
FwDIR/names %[^\#]
FR-o DIR/relays %[^\#]
Djmx.cf.example.test
C{TrustAuthMech}GSSAPI
O UseCompressedIPv6Addresses=true
Kaccess hash -T<TMPF> DIR/access-of-sendmail
Xmilterd, S=local:/run/milterd/milter.sock, F=T
O InputMailFilters=milterd
SD
R<SKIP> <$+> <$+> <$- $-> <$*>	$@ <$2> <$5>
SRcpt_ok
R$+ < @ $* $=m >	$@ RELAY
`

func TestASendmailCFFillsInWhatHasNoExplicitKey(t *testing.T) {
	files := map[string]string{
		"sendmail.cf":        cf,
		"access-of-sendmail": "Connect:203.0.113.5\tREJECT\nFrom:bad.example\tREJECT\n",
		"names":              "named.example.test\n",
		"relays":             "relayed.example\n",
		"access":             "Connect:203.0.113.5\tOK\n",
	}
	dir := write(t, files)
	fromCF := access.Features{Skip: true, RelayEntireDomain: true, CompressedIPv6: true}
	fromCFNames := append([]string{"cf.example.test", "named.example.test", "mx.cf.example.test", "vm.example.test"}, always...)
	cases := []struct {
		name, text string
		check      func(t *testing.T, p *policy.Policy)
	}{
		{"everything comes from sendmail.cf", "", func(t *testing.T, p *policy.Policy) {
			equal(t, "class w", p.Local.Entries(), fromCFNames)
			equal(t, "class R", p.Relay.Entries(), []string{"relayed.example"})
			equal(t, "mechanisms", p.Checks.Relay.TrustAuthMech, []string{"GSSAPI"})
			if p.Access.Len() != 2 || p.Features != fromCF || p.Hostname != "mx.cf.example.test" {
				t.Errorf("%d entries, features %+v, host name %q", p.Access.Len(), p.Features, p.Hostname)
			}
		}},
		{"an explicit access file wins, alone", "access: {file: access}", func(t *testing.T, p *policy.Policy) {
			if p.Access.Len() != 1 || p.Features != fromCF {
				t.Errorf("%d entries, features %+v", p.Access.Len(), p.Features)
			}
		}},
		{"explicit features win, alone", "access: {features: [delay_checks]}", func(t *testing.T, p *policy.Policy) {
			if p.Access.Len() != 2 || p.Features != (access.Features{DelayChecks: true, CompressedIPv6: true}) {
				t.Errorf("%d entries, features %+v", p.Access.Len(), p.Features)
			}
		}},
		{"explicit features leave the form of addresses to sendmail.cf", "access: {features: []}", func(t *testing.T, p *policy.Policy) {
			if p.Features != (access.Features{CompressedIPv6: true}) {
				t.Errorf("features %+v", p.Features)
			}
		}},
		{"an explicit host name wins, and is in class w", "domains: {hostname: mx.example.test}", func(t *testing.T, p *policy.Policy) {
			if p.Hostname != "mx.example.test" {
				t.Errorf("host name %q", p.Hostname)
			}
			equal(t, "class w", p.Local.Entries(), append([]string{"mx.example.test"}, fromCFNames...))
		}},
		{"explicit local names win, alone", "domains: {local: [example.test]}", func(t *testing.T, p *policy.Policy) {
			equal(t, "class w", p.Local.Entries(), append([]string{"example.test", "mx.cf.example.test"}, always...))
			equal(t, "class R", p.Relay.Entries(), []string{"relayed.example"})
		}},
		{"explicit relay names win, alone", "domains: {relay: []}", func(t *testing.T, p *policy.Policy) {
			equal(t, "class w", p.Local.Entries(), fromCFNames)
			equal(t, "class R", p.Relay.Entries(), nil)
		}},
		{"explicit mechanisms win, alone", "checks: {relay: {trust_auth_mech: [PLAIN]}}", func(t *testing.T, p *policy.Policy) {
			equal(t, "mechanisms", p.Checks.Relay.TrustAuthMech, []string{"PLAIN"})
			if p.Features != fromCF {
				t.Errorf("features %+v", p.Features)
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, warnings := build(t, dir, "sendmail: {cf: sendmail.cf}\n"+c.text+"\n")
			c.check(t, p)
			if len(warnings) > 0 {
				t.Errorf("warnings %q", warnings)
			}
		})
	}
}

// TestATableThatIsMilterdsAlone: without FEATURE(access_db) sendmail.cf cannot say which
// FEATUREs the table is used with, if sendmail asks milterd about each recipient.
func TestATableThatIsMilterdsAlone(t *testing.T) {
	withoutTable := strings.ReplaceAll(cf, "Kaccess hash -T<TMPF> DIR/access-of-sendmail\n", "")
	const asks = "Kmilterd socket -T<TMPF> local:/run/milterd/map.sock\nSLocal_check_rcpt\nR$*\t$: $(milterd 3 $| $1 $)\n"
	for _, c := range []struct {
		name, cf string
		want     access.Features
	}{
		{"nobody asks it", withoutTable, access.Features{Skip: true, RelayEntireDomain: true, CompressedIPv6: true}},
		{"sendmail asks", withoutTable + asks, access.Features{Skip: true, DelayChecks: true, Friend: true, RelayEntireDomain: true, CompressedIPv6: true}},
		{"sendmail asks for the table, too", cf + asks, access.Features{Skip: true, RelayEntireDomain: true, CompressedIPv6: true}},
		{"by one that does not tell the domain", withoutTable + strings.Replace(asks, "milterd 3", "milterd 2", 1), access.Features{Skip: true, DelayChecks: true, Friend: true, RelayEntireDomain: true, CompressedIPv6: true}},
		{"by an older milterd.m4", withoutTable + strings.Replace(asks, "milterd 3", "milterd 1", 1), access.Features{Skip: true, DelayChecks: true, Friend: true, RelayEntireDomain: true, CompressedIPv6: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"sendmail.cf": c.cf, "access-of-sendmail": "", "names": "", "relays": "", "access": ""})
			file := "access: {file: access}\n"
			if strings.Contains(c.cf, "access-of") {
				file = ""
			}
			p, warnings := build(t, dir, "sendmail: {cf: sendmail.cf}\n"+file)
			if p.Features != c.want {
				t.Errorf("features %+v, expected %+v", p.Features, c.want)
			}
			old := strings.Contains(c.cf, "milterd 1 ") || strings.Contains(c.cf, "milterd 2 ")
			if len(warnings) != map[bool]int{true: 1}[old] || old && !strings.Contains(warnings[0], "the rules are those of an older milterd.m4") {
				t.Errorf("warnings %q", warnings)
			}
		})
	}
}

func TestFilesThatSendmailNeedsAreMissedOnTheLineThatNamesThem(t *testing.T) {
	dir := write(t, map[string]string{"sendmail.cf": cf})
	_, _, err := parse(t, dir, "sendmail: {cf: sendmail.cf}\n").Policy()
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		"DIR/sendmail.cf:3: class w: stat DIR/names: no such file or directory",
		"DIR/sendmail.cf:8: access table: stat DIR/access-of-sendmail: no such file or directory",
	}
	if diff := cmp.Diff(want, strings.Split(strings.ReplaceAll(err.Error(), dir, "DIR"), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestAnOptionalMapThatIsNotThereIsEmpty: K... -o FILE. Where makemap's FILE.db is
// there, sendmail has a table, and milterd must not go without.
func TestAnOptionalMapThatIsNotThereIsEmpty(t *testing.T) {
	for _, c := range []struct{ name, options, there, wrong string }{
		{"neither text nor map", "-T<TMPF> -o", "", ""},
		{"neither, with -o first", "-o -T<TMPF>", "", ""},
		{"not optional", "-T<TMPF>", "", "sendmail.cf:2: access table: stat DIR/map: no such file or directory"},
		{"a map without its text", "-o -T<TMPF>", "map.db", "sendmail.cf:2: access table: stat DIR/map: no such file or directory"},
		{"a text without its map", "-o -T<TMPF>", "map", ""},
	} {
		files := map[string]string{"sendmail.cf": filters + "Kaccess hash " + c.options + " DIR/map\nC{TrustAuthMech}PLAIN\nSD\n"}
		if c.there != "" {
			files[c.there] = ""
		}
		dir := write(t, files)
		p, warnings, err := parse(t, dir, "sendmail: {cf: sendmail.cf}\n").Policy()
		if c.wrong != "" {
			if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != "DIR/"+strings.Replace(c.wrong, ":2:", ":3:", 1) {
				t.Errorf("%s: %v, expected %s", c.name, err, c.wrong)
			}
			continue
		}
		want := ""
		if c.there == "" {
			want = dir + "/map: no such file, taken as empty (access table)"
		}
		if err != nil || p.Access.Len() != 0 || strings.Join(warnings, "\n") != want {
			t.Errorf("%s: %v, warnings %q, expected %q", c.name, err, warnings, want)
		}
	}
}

// TestClassesWithTheirFiles takes class R with what it takes in, and class m.
func TestClassesWithTheirFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"sendmail.cf": filters + "C{TrustAuthMech}PLAIN\nC{VirtHost}v1.example\nF{VirtHost}DIR/virthosts %[^\\#]\nCR$={VirtHost}\nF{G}DIR/none\n" +
			"Dmown.example\nCm second.example\nFm-o DIR/more\nFw-o DIR/names\nKaccess hash -o DIR/access\nSRcpt_ok\nR$+ < @ $* $=m >\t$@ RELAY\n",
		"virthosts": "v2.example v3.example # v4.example\n",
		"more":      "third.example\nexample\n",
		"names":     "\xef\xbb\xbfmarked.example\nlocalhost\nvm\nmail\nroot:$6$salt$hash:19000:0:99999:7:::\nuser:secret\n[192.0.2.1] 2001:db8::1 IPv6:2001:db8 .sub.example bücher.example\n",
	})
	p, warnings, err := parse(t, dir, "sendmail: {cf: sendmail.cf}\n").Policy()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "class R", p.Relay.Entries(), []string{"v1.example", "v2.example", "v3.example"})
	equal(t, "class m", p.OwnDomains.Entries(), []string{"example", "own.example", "second.example", "third.example"})
	if p.Domain != "own.example" {
		t.Errorf("$m is %q", p.Domain)
	}
	want := []string{
		"DIR/access: no such file, taken as empty (access table)",
		`DIR/more:2: class m: "example" relays for everything below it`,
		"DIR/names:1: class w: the file begins with a UTF-8 byte order mark, which sendmail takes for a part of the first name; save it without one",
		`DIR/names:4: class w: "mail" stands for USER@mail alone, expected a full name such as mail.example.com`,
		"DIR/names:5: class w: an entry that is no name, and is not shown; expected a name, or a network in whole octets such as 203.0.113",
		"DIR/names:6: class w: an entry that is no name, and is not shown; expected a name, or a network in whole octets such as 203.0.113",
	}
	for i := range warnings {
		warnings[i] = strings.ReplaceAll(warnings[i], dir, "DIR")
	}
	slices.Sort(warnings)
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// filters are the lines of a sendmail.cf that ask milterd.
const filters = "Xmilterd, S=local:/run/milterd/milter.sock, F=T\nO InputMailFilters=milterd\n"

func TestASendmailCFThatMilterdCannotFollowIsWarnedAbout(t *testing.T) {
	dir := write(t, map[string]string{
		"access": "",
		"sendmail.cf": filters + `Fw|/usr/bin/names
Kaccess socket -T<TMPF> local:/run/other.sock
SRelay_ok
`})
	c := parse(t, dir, "sendmail: {cf: sendmail.cf}\n")
	c.Access.File = filepath.Join(dir, "access")
	_, warnings, err := c.Policy()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"/sendmail.cf:3: class w: the output of a program",
		"/sendmail.cf:4: the access map is the socket local:/run/other.sock, which is not listen.map",
		"/sendmail.cf: no TRUST_AUTH_MECH",
	} {
		if i >= len(warnings) || !strings.HasPrefix(warnings[i], dir+want) {
			t.Errorf("warnings %q, expected %q", warnings, want)
		}
	}
}

func TestRulesForADaemonThatSendmailHasNot(t *testing.T) {
	daemons := cf + "O DaemonPortOptions=Name=MTA, Port=smtp\nO DaemonPortOptions=Port=587\n"
	dir := write(t, map[string]string{"sendmail.cf": daemons, "access-of-sendmail": "", "names": "", "relays": "", "access": ""})
	const ports = "ports:\n  MTA: {auth: refuse}\n  Daemon1: {auth: allow}\n  587: {auth: require}\n  submission: {auth: require}\n"
	const number = "DIR/milterd.yaml:6: ports.submission: taken for the name of a daemon (Name= in DAEMON_OPTIONS); for the rules of the port write 587"
	_, warnings := build(t, dir, "sendmail: {cf: sendmail.cf}\n"+ports+"  MSA: {auth: require}\n")
	equal(t, "warnings", warnings, []string{
		"DIR/milterd.yaml:7: ports.MSA: no DAEMON_OPTIONS in DIR/sendmail.cf has Name=MSA, so these rules never apply; the names there are MTA, Daemon1", number})
	_, warnings = build(t, dir, "access: {file: access}\n"+ports+"domains: {local: []}\n")
	equal(t, "warnings without a sendmail.cf", warnings, []string{number})
}
