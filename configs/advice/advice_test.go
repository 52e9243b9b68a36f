package advice

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/integration/testkit"
)

// cfDir is where Debian's package sendmail-cf has its m4 files.
const cfDir = "/usr/share/sendmail/cf"

// generate makes a sendmail.cf of a sendmail.mc, and gives its path. What m4 complains
// of is an error.
func generate(t *testing.T, mc string) string {
	t.Helper()
	testkit.Need(t, "m4")
	dir := t.TempDir()
	for name, text := range map[string]string{"milterd.m4": sendmail.Include, "access": "", "local-host-names": "", "relay-domains": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mc = strings.NewReplacer("/etc/mail/m4/milterd.m4", dir+"/milterd.m4", "/etc/mail/milterd.m4", dir+"/milterd.m4",
		"include(`/etc/mail/m4/dialup.m4')dnl", "", "include(`/etc/mail/m4/provider.m4')dnl", "").Replace(mc)
	m4 := exec.Command("m4", "-D_CF_DIR_="+cfDir+"/", "-")
	m4.Stdin = strings.NewReader(mc)
	var complaints strings.Builder
	m4.Stderr = &complaints
	cf, err := m4.Output()
	if err != nil || strings.Contains(complaints.String(), "ERROR") || strings.Contains(complaints.String(), "m4:") {
		t.Fatalf("m4: %v\n%s", err, complaints.String())
	}
	path := filepath.Join(dir, "sendmail.cf")
	if err := os.WriteFile(path, bytes.ReplaceAll(cf, []byte("/etc/mail/"), []byte(dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// variant is a sendmail.mc of testdata; debian.mc is Debian's own.
func variant(t *testing.T, name string) string {
	t.Helper()
	if _, err := os.Stat(cfDir + "/m4/cf.m4"); err != nil {
		testkit.Missing(t, "needs the package sendmail-cf: "+err.Error())
	}
	path := filepath.Join("testdata", name+".mc")
	if name == "debian" {
		path = cfDir + "/debian/sendmail.mc"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// variants are the sendmail.mc files that are examined. Those of RHEL and FreeBSD are
// written after their stock files, the others after guides of their time.
var variants = []string{"debian", "rhel", "freebsd", "poprelayd", "auth-goaway", "split", "virtual", "smarthost", "broken"}

// config is a configuration that reads nothing of this machine but a sendmail.cf.
func config(t *testing.T, cf, more string) *configs.Config {
	t.Helper()
	dir := filepath.Dir(cf)
	c, err := configs.Parse(filepath.Join(dir, "milterd.yaml"), []byte("sendmail: {cf: "+cf+"}\naccess: {file: access}\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// report is what the doctor says, without the places of this test.
func report(t *testing.T, cf string, c *configs.Config) string {
	t.Helper()
	var b strings.Builder
	for _, f := range Doctor(Examined{Config: c, CF: cf, Resolver: "nameserver 192.0.2.53\n", Now: time.Now(), BothDoors: "include(`/etc/mail/m4/milterd.m4')dnl"}) {
		b.WriteString(f.Severity.String() + ": " + f.String() + "\n")
		if f.Cure != "" {
			b.WriteString("    " + f.Cure + "\n")
		}
	}
	return strings.ReplaceAll(b.String(), filepath.Dir(cf)+"/", "")
}

func TestFindingsOfEverySendmailMC(t *testing.T) {
	for _, name := range variants {
		t.Run(name, func(t *testing.T) {
			cf := generate(t, variant(t, name))
			testkit.Golden(t, filepath.Join("testdata", name+".findings"), report(t, cf, config(t, cf, "")))
		})
	}
}

func TestImportsOfEverySendmailMC(t *testing.T) {
	for _, name := range variants {
		t.Run(name, func(t *testing.T) {
			cf := generate(t, variant(t, name))
			read, err := configs.ReadSendmailCF(cf)
			if err != nil {
				t.Fatal(err)
			}
			text := Import(read, cf)
			if _, err := configs.Parse(filepath.Join(filepath.Dir(cf), "milterd.yaml"), []byte(text)); err != nil {
				t.Errorf("it does not load: %v", err)
			}
			testkit.Golden(t, filepath.Join("testdata", name+".yaml"), strings.ReplaceAll(text, filepath.Dir(cf), "/etc/mail"))
		})
	}
}

func TestNamesThatDifferAreTold(t *testing.T) {
	cf := generate(t, variant(t, "virtual"))
	c, err := configs.Parse(filepath.Join(filepath.Dir(cf), "milterd.yaml"), []byte("access: {file: access}\ndomains: {hostname: mx.example.test, local: [own.example], relay: [two.example]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := report(t, cf, c)
	for _, want := range []string{
		"milterd has mx.example.test, own.example, sendmail does not",
		"one.example, milterd does not and refuses such mail",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestWhatIsNoNameIsNotShown has a sendmail.cf that names a file with passwords.
func TestWhatIsNoNameIsNotShown(t *testing.T) {
	cf := generate(t, variant(t, "virtual"))
	dir := filepath.Dir(cf)
	passwords := filepath.Join(dir, "passwords")
	text, err := os.ReadFile(cf)
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string]string{
		passwords: "daemon:*:19000:0:99999:7:::\nroot:$6$salt$secret:19000:0:99999:7:::\nuser:secret\n",
		cf:        string(text) + "Fw" + passwords + "\n",
	} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for domains, want := range map[string]string{
		"": "passwords:1: class w: an entry that is no name",
		"domains: {hostname: mx.example.test, local: [own.example]}\n": "sendmail has (3 that are no names), ",
	} {
		got := report(t, cf, config(t, cf, domains))
		if !strings.Contains(got, want) || strings.Contains(got, "secret") || strings.Contains(got, "19000") {
			t.Errorf("expected %q and none of the entries in\n%s", want, got)
		}
	}
}

// TestWhatLiesAround is about files and directories, and needs no sendmail.cf of m4.
func TestWhatLiesAround(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-20 * 24 * time.Hour)
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	const yaml = "sendmail: {cf: sendmail.cf}\nmode: shadow\nlisten: {milter: 'local:DIR/open/s', map: []}\nchecks: {dnsbl: {lists: {bl.example: {}}}}\naccess: {file: access}\n"
	for name, text := range map[string]string{
		"sendmail.cf":  "Sparse=0\nC{TrustAuthMech}PLAIN\nO PrivacyOptions=goaway\nXm, S=local:" + open + "/s, F=T, T=R:2s\nO InputMailFilters=m\nKaccess hash " + dir + "/access\n",
		"access":       "Connect:198\tRELAY\nConnect:10\tRELAY\nConnect:203.0.113\tRELAY\nTo:198\tRELAY\n",
		"access.db":    "",
		"milterd.yaml": strings.ReplaceAll(yaml, "DIR", dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"access.db", "milterd.yaml"} {
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	c, err := configs.Load(filepath.Join(dir, "milterd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range Doctor(Examined{Config: c, CF: filepath.Join(dir, "sendmail.cf"), Resolver: "# none\nnameserver 8.8.8.8\nnameserver 192.0.2.53\n", Now: time.Now(), BothDoors: "include(`/etc/mail/m4/milterd.m4')dnl"}) {
		b.WriteString(f.Severity.String() + ": " + f.String() + "\n    " + f.Cure + "\n")
	}
	testkit.Golden(t, filepath.Join("testdata", "around.findings"), strings.ReplaceAll(b.String(), dir, "DIR"))
}

// TestPasswordsThatHoldWithAnyRealm matter only if something goes by the login.
func TestPasswordsThatHoldWithAnyRealm(t *testing.T) {
	cf := generate(t, variant(t, "debian"))
	const limited = "limits: {rules: {logins: {rate: 100/1h}}}\n"
	for _, c := range []struct {
		name, config, sasl, options string
		want                        bool
	}{
		{"a limit by login", limited, "pwcheck_method: saslauthd\n", "OPTIONS=\"-c -m /var/run/saslauthd\"\n", true},
		{"realms that are looked at", limited, "pwcheck_method: saslauthd\n", "OPTIONS=\"-c -m /var/run/saslauthd -r\"\n", false},
		{"senders by login", "checks: {sender_login: {mode: enforce, allow: ['{login}']}}\n", "mech_list: PLAIN\n pwcheck_method: auxprop saslauthd\n", "", true},
		{"nothing by login", "", "pwcheck_method: saslauthd\n", "", false},
		{"passwords of SASL's own", limited, "# not saslauthd\npwcheck_method: auxprop\n", "", false},
		{"no file", limited, "", "", false},
	} {
		got := false
		for _, f := range Doctor(Examined{Config: config(t, cf, c.config), CF: cf, SASL: c.sasl, Saslauthd: c.options, Now: time.Now()}) {
			got = got || strings.HasPrefix(f.Text, "saslauthd takes a password with any realm")
		}
		if got != c.want {
			t.Errorf("%s: told %t, want %t", c.name, got, c.want)
		}
	}
}

// TestAnImportedGrantLiftsNoRefusal that sendmail gives before it looks for the client in
// the map.
func TestAnImportedGrantLiftsNoRefusal(t *testing.T) {
	const drac = "FEATURE(`drac')dnl\nMAILER(`local')"
	for _, c := range []struct {
		name, mc, also string
		want           bool
	}{
		{"rules in Local_check_rcpt", "poprelayd", "MAILER(`local')", true},
		{"the same, with all else after it", "poprelayd", "FEATURE(`delay_checks')dnl\nMAILER(`local')", false},
		{"DRAC", "virtual", drac, true},
		{"DRAC, with all else after it", "virtual", "FEATURE(`delay_checks')dnl\n" + drac, true},
	} {
		cf := generate(t, strings.Replace(variant(t, c.mc), "MAILER(`local')", c.also, 1))
		text, got := imported(t, cf)
		if !got.GrantsConfigured() || got.Grants.RelayOnly != c.want {
			t.Errorf("%s: grants.relay_only: %v, expected %v\n%s", c.name, got.Grants.RelayOnly, c.want, text)
		}
	}
}

// imported is what -import makes of a sendmail.cf, and the configuration that it is.
func imported(t *testing.T, cf string) (text string, got *configs.Config) {
	t.Helper()
	read, err := configs.ReadSendmailCF(cf)
	if err != nil {
		t.Fatal(err)
	}
	text = Import(read, cf)
	if got, err = configs.Parse(filepath.Join(filepath.Dir(cf), "milterd.yaml"), []byte(text)); err != nil {
		t.Fatalf("it does not load: %v\n%s", err, text)
	}
	return text, got
}

// TestImportsOfDNSLists: what a sendmail.cf takes for a listing the import does, and what it
// cannot take over it names.
func TestImportsOfDNSLists(t *testing.T) {
	for _, c := range []struct {
		name, lines string
		lists       map[string][]string
		stays       string
	}{
		{"any answer", "FEATURE(`dnsbl', `bl.example')dnl", map[string][]string{"bl.example": {"127.0.0.0/8"}}, ""},
		{"names", "FEATURE(`rhsbl', `names.example')dnl", map[string][]string{"names.example": {"127.0.0.0/8"}}, ""},
		{"any last octet", "FEATURE(`enhdnsbl', `bl.example', `', `', `127.0.0.$-.')dnl", map[string][]string{"bl.example": {"127.0.0.[0-255]"}}, ""},
		{"asked twice", "FEATURE(`enhdnsbl', `bl.example', `\"550 one\"', `', `127.0.0.2.')dnl\nFEATURE(`enhdnsbl', `bl.example', `\"550 two\"', `t', `127.0.0.3.', `127.0.0.2.')dnl",
			map[string][]string{"bl.example": {"127.0.0.2", "127.0.0.3"}}, "who is listed at bl.example reads the text of line"},
		{"asked twice, once about any answer", "FEATURE(`enhdnsbl', `bl.example', `', `', `127.0.0.2.')dnl\nFEATURE(`dnsbl', `bl.example')dnl",
			map[string][]string{"bl.example": {"127.0.0.0/8", "127.0.0.2"}}, ""},
		{"an error of the list", "FEATURE(`enhdnsbl', `bl.example', `', `', `127.255.255.254.')dnl", nil, "where it answers 127.255.255.254, which milterd never takes"},
		{"quarantine alone", "FEATURE(`dnsbl', `bl.example', `quarantine')dnl", nil, "which discards or quarantines"},
		{"addresses and names", "FEATURE(`dnsbl', `bl.example')dnl\nFEATURE(`rhsbl', `bl.example')dnl",
			map[string][]string{"bl.example": {"127.0.0.0/8"}}, "which is asked about addresses and about names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cf := generate(t, strings.Replace(variant(t, "virtual"), "MAILER(`local')", c.lines+"\nMAILER(`local')", 1))
			text, got := imported(t, cf)
			lists := make(map[string][]string)
			for _, l := range got.DNS.Lists {
				for _, code := range l.Codes {
					lists[l.Zone] = append(lists[l.Zone], code.String())
				}
			}
			if fmt.Sprint(lists) != fmt.Sprint(c.lists) || !strings.Contains(text, c.stays) || (c.lists == nil) != !strings.Contains(text, "\n# Less strict than before:") {
				t.Errorf("lists %v, expected %v and %q in\n%s", lists, c.lists, c.stays, text)
			}
		})
	}
}

// TestFindingsAreInOrder: a cause comes before the worst of what comes of it, and what another
// user has found in the same words is not told again.
func TestFindingsAreInOrder(t *testing.T) {
	cause := Found(configs.Severe, "local:/s", "milterd is not running", "")
	cause.Cause = true
	again := Found(configs.Severe, "user milterd", "b: unreadable", "")
	port, file, late := Found(configs.Severe, "127.0.0.1:25", "silent", ""), Found(configs.Severe, "b", "unreadable", ""), Found(configs.Note, "a", "x", "")
	got := inOrder([]configs.Finding{late, again, port, file, cause})
	if want := []configs.Finding{cause, port, file, late}; !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestAPublicResolverOfOnesOwnChoice is told of, too.
func TestAPublicResolverOfOnesOwnChoice(t *testing.T) {
	cf := generate(t, variant(t, "debian"))
	for servers, want := range map[string]bool{"[8.8.8.8]": true, "['9.9.9.9:53']": true, "['[2620:fe::9]:53']": true, "[127.0.0.1]": false} {
		got := report(t, cf, config(t, cf, "dns: {servers: "+servers+"}\nchecks: {dnsbl: {lists: {bl.example: {}}}}\n"))
		if strings.Contains(got, "is a public resolver") != want {
			t.Errorf("%s: expected %v in\n%s", servers, want, got)
		}
	}
}

// A sendmail.cf may come from elsewhere, and so the names in it.
func TestAFindingHasNoControlCharacters(t *testing.T) {
	var b strings.Builder
	f := configs.Finding{Problem: configs.Problem{File: "a\x1b[2J.cf", Line: 1, Text: "sendmail has \x1b]0;x\x07\u202e"}, Cure: "R$*\t\x9b31m"}
	if err := Write(&b, []configs.Finding{f}, false); err != nil {
		t.Fatal(err)
	}
	if want := "note: a?[2J.cf:1: sendmail has ?]0;x??\n    change: R$*\t?31m\n0 errors, 0 warnings, 1 note\n"; b.String() != want {
		t.Errorf("got %q\nwant %q", b.String(), want)
	}
}
