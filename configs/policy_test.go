package configs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
	"milterd/policy/access"
)

// write puts files into a new directory.
func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		text = strings.ReplaceAll(text, "DIR", dir)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// build makes a policy of a configuration beside its files; DIR stands for the
// directory.
func build(t *testing.T, dir, text string) (*policy.Policy, []string) {
	t.Helper()
	p, warnings, err := parse(t, dir, strings.ReplaceAll(text, "DIR", dir)).Policy()
	if err != nil {
		t.Fatalf("Policy:\n%v", err)
	}
	for i := range warnings {
		warnings[i] = strings.ReplaceAll(warnings[i], dir, "DIR")
	}
	return p, warnings
}

// always are the names that class w holds on the machine of these tests.
var always = []string{"[127.0.0.1]", "[ipv6:0:0:0:0:0:0:0:1]", "localhost"}

// equal compares lists without regard to order.
func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = append([]string{}, got...), append([]string{}, want...)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestAPolicyIsMadeOfTheConfigurationAndItsFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"access": "Connect:203.0.113.5\tREJECT\nTo:customer.example\tRELAY\n",
		"local":  "# our own names\nexample.test\n\nOther.Example.Test # and another\n",
		"relay":  "customer.example\n198.51.100\n",
	})
	p, warnings := build(t, dir, `
access: {file: access, features: [delay_checks]}
domains:
  hostname: mx.example.test
  local: [third.example.test, DIR/local]
  relay: [DIR/relay]
mode: shadow
ports:
  25: {auth: refuse}
`)
	equal(t, "class w", p.Local.Entries(), append([]string{
		"example.test", "other.example.test", "third.example.test", "mx.example.test"}, always...))
	equal(t, "class R", p.Relay.Entries(), []string{"customer.example", "198.51.100"})
	if p.Access.Len() != 2 || p.Access.Name() != filepath.Join(dir, "access") {
		t.Errorf("access table %s with %d entries", p.Access.Name(), p.Access.Len())
	}
	if p.Features != (access.Features{DelayChecks: true}) || p.Hostname != "mx.example.test" || !p.Shadow {
		t.Errorf("features %+v, host name %q, shadow %v", p.Features, p.Hostname, p.Shadow)
	}
	if p.Ports["25"].Auth != policy.AuthRefuse || p.Ports["587"].Auth != policy.AuthRequire {
		t.Errorf("ports %+v", p.Ports)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
}

func TestWithoutAHostNameTheMachineHasItsOwn(t *testing.T) {
	dir := write(t, map[string]string{"access": ""})
	p, _ := build(t, dir, "access: {file: access}\ndomains: {local: [], relay: []}\n")
	if p.Hostname != "vm.example.test" {
		t.Errorf("host name %q", p.Hostname)
	}
	equal(t, "class w", p.Local.Entries(), append([]string{"vm.example.test"}, always...))
}

func TestMissingDefaultFilesAreWarningsAndTakenAsEmpty(t *testing.T) {
	dir := t.TempDir()
	c, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	c.Access.File = filepath.Join(dir, "access")
	c.Domains.Local = []string{filepath.Join(dir, "local-host-names")}
	c.Domains.Relay = []string{filepath.Join(dir, "relay-domains")}
	p, warnings, err := c.Policy()
	if err != nil {
		t.Fatal(err)
	}
	// sendmail does not expect a relay-domains file either.
	equal(t, "warnings", warnings, []string{
		dir + "/access: no such file, taken as empty (access table)",
		dir + "/local-host-names: no such file, taken as empty (class w)",
	})
	if p.Access.Len() != 0 || p.Relay.Len() != 0 {
		t.Errorf("%d access entries, %d names in class R", p.Access.Len(), p.Relay.Len())
	}
}

func TestADefaultFileThatCannotBeReadIsAnError(t *testing.T) {
	c, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	c.Access.File = t.TempDir()
	c.Domains.Local, c.Domains.Relay = nil, nil
	if _, _, err := c.Policy(); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("Policy() = %v, expected an error about a directory", err)
	}
}

func TestEveryProblemOfEveryFileIsReportedAtOnce(t *testing.T) {
	dir := write(t, map[string]string{"access": "one\nConnect:203.0.113.5\tREJECT\ntwo\n"})
	_, warnings, err := parse(t, dir, `access: {file: access}
domains:
  local: [/no/such/file, /no/such/other]
`).Policy()
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		dir + "/milterd.yaml:3: class w: stat /no/such/file: no such file or directory",
		dir + "/milterd.yaml:3: class w: stat /no/such/other: no such file or directory",
		dir + `/access:1: key "one" has no value, expected KEY VALUE`,
		dir + `/access:3: key "two" has no value, expected KEY VALUE`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
}

func TestWarningsOfTheAccessTableAndOfClassFilesNameTheirLines(t *testing.T) {
	dir := write(t, map[string]string{
		"access": "Connect:203.0.113.5\tREJECT\nConnect:203.0.113.5\tOK\n",
		"relay":  "# networks\n203.0.113.0/24\nuser@customer.example\n.customer.example\n",
	})
	_, warnings := build(t, dir, "access: {file: access}\ndomains: {local: [], relay: [DIR/relay]}\n")
	if len(warnings) != 3 ||
		!strings.HasPrefix(warnings[0], "DIR/relay:2: class R: \"203.0.113.0/24\": a class holds no prefix lengths") ||
		!strings.HasPrefix(warnings[1], "DIR/relay:3: class R: \"user@customer.example\" is an address") ||
		!strings.HasPrefix(warnings[2], "DIR/access:2: ") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestAnAccessTableThatIsNoRegularFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, _, err := parse(t, dir, "access: {file: /dev/zero}\ndomains: {local: [], relay: []}\n").Policy()
	if err == nil || !strings.Contains(err.Error(), "milterd.yaml:1: access table: /dev/zero is not a regular file") {
		t.Errorf("Policy() = %v", err)
	}
}

func TestFilesListsEverythingAPolicyDependsOn(t *testing.T) {
	dir := write(t, map[string]string{"sendmail.cf": cf})
	abs := func(names ...string) []string {
		for i, n := range names {
			if !strings.HasPrefix(n, "/") {
				names[i] = filepath.Join(dir, n)
			}
		}
		return names
	}
	cases := []struct {
		name, text string
		want       []string
	}{
		{"without a file of its own, the default files", "mode: shadow\n",
			abs("milterd.yaml", "/etc/mail/access", "/etc/mail/local-host-names", "/etc/mail/relay-domains")},
		{"configured files, whether they exist or not", "access: {file: access}\ndomains: {local: [a, DIR/local], relay: []}\n",
			abs("milterd.yaml", "access", "local")},
		{"the files that sendmail.cf names", "sendmail: {cf: sendmail.cf}\n",
			abs("milterd.yaml", "sendmail.cf", "access-of-sendmail", "names", "relays")},
		{"no files of sendmail.cf that explicit keys replace", "sendmail: {cf: sendmail.cf}\naccess: {file: access}\ndomains: {local: []}\n",
			abs("milterd.yaml", "sendmail.cf", "access", "relays")},
		{"a sendmail.cf that is not there yet", "sendmail: {cf: none.cf}\naccess: {file: access}\ndomains: {local: [], relay: []}\n",
			abs("milterd.yaml", "none.cf", "access")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			equal(t, "files", parse(t, dir, strings.ReplaceAll(c.text, "DIR", dir)).Files(), c.want)
		})
	}
}

func TestTheEmbeddedConfigurationDependsOnTheDefaultFilesOnly(t *testing.T) {
	c, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "files", c.Files(), []string{"/etc/mail/access", "/etc/mail/local-host-names", "/etc/mail/relay-domains"})
}

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
	fromCFNames := append([]string{"cf.example.test", "named.example.test", "mx.cf.example.test", "vm.example.test", "vm"}, always...)
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

func TestTheMachineNameIsOneLine(t *testing.T) {
	if name := machineName(); strings.ContainsAny(name, " \n") || strings.HasSuffix(name, ".") {
		t.Errorf("machine name %q", name)
	}
}
