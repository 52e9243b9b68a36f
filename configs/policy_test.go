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
var always = []string{"[127.0.0.1]", "localhost"}

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
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	want = []string{
		dir + `/access:1: key "one" has no value, expected KEY VALUE; the entry is left out`,
		dir + `/access:3: key "two" has no value, expected KEY VALUE; the entry is left out`,
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestEntriesThatCannotBeUsedAreLeftOutAndCounted(t *testing.T) {
	for table, want := range map[string]int{
		"Connect:198.51.100.7/24\tREJECT\nConnect:203.0.113.0/255.255.255.0\tREJECT\nConnect:192.0.2.9\tREJECT\n": 2,
		"Connect:192.0.2.9\tREJECT\nFrom:a.example\t550 " + strings.Repeat("x", 1010) + "\n":                      1,
		"Connect:192.0.2.9\tREJECT\n From:a.example\tREJECT\nFrom:b.example\n":                                    2,
		"Connect:192.0.2.9\tREJECT\nConnect:::ffff:192.0.2.0/120\tRELAY\nConnect:2001:db8::/129\tRELAY\n":         2,
		"\xef\xbb\xbfFrom:a.example\tREJECT\nConnect:192.0.2.9\tREJECT\n":                                         1,
		"\xef\xbb\xbf# a comment\nConnect:192.0.2.9\tREJECT\n":                                                    0,
		"Connect:192.0.2.9\tREJECT\nFrom:a.example\t999 what\n":                                                   0,
		"Connect:192.0.2.9\tREJECT\n": 0,
	} {
		dir := write(t, map[string]string{"access": table})
		c := parse(t, dir, "access: {file: access}\ndomains: {local: [], relay: []}\n")
		p, warnings, err := c.Policy()
		if err != nil {
			t.Errorf("%q: %v", table, err)
			continue
		}
		leftOut := 0
		for _, w := range warnings {
			if strings.HasSuffix(w, "; the entry is left out") {
				leftOut++
			}
		}
		if c.LeftOut != want || leftOut != want {
			t.Errorf("%q: %d left out, %d of that in warnings, expected %d", table, c.LeftOut, leftOut, want)
		}
		if value, _, _ := p.Access.Lookup("connect:192.0.2.9"); value != "REJECT" {
			t.Errorf("%q: the good entry is %q", table, value)
		}
	}
}

func TestWarningsOfTheAccessTableAndOfClassFilesNameTheirLines(t *testing.T) {
	dir := write(t, map[string]string{
		"access": "Connect:203.0.113.5\tREJECT\nConnect:203.0.113.5\tOK\n",
		"relay":  "# networks\n203.0.113.0/24\nuser@customer.example\n.customer.example\nroot:x:0:0:root:/root:/bin/bash\nIPv6:2001:db8::/32\n203.0/16\n",
	})
	_, warnings := build(t, dir, "access: {file: access}\ndomains: {local: [], relay: [DIR/relay]}\n")
	if len(warnings) != 6 ||
		!strings.HasPrefix(warnings[0], "DIR/relay:2: class R: \"203.0.113.0/24\": a class holds no prefix lengths") ||
		!strings.HasPrefix(warnings[1], "DIR/relay:3: class R: an entry that is no name, and is not shown; expected a name") ||
		!strings.HasPrefix(warnings[2], "DIR/relay:5: class R: an entry that is no name, and is not shown; expected a name") ||
		!strings.HasPrefix(warnings[3], "DIR/relay:6: class R: \"IPv6:2001:db8::/32\": a class holds no prefix lengths") ||
		!strings.HasPrefix(warnings[4], "DIR/relay:7: class R: \"203.0/16\": a class holds no prefix lengths") ||
		!strings.HasPrefix(warnings[5], "DIR/access:2: ") {
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

// TestATableIsBounded has files that are larger than they look, or never end.
func TestATableIsBounded(t *testing.T) {
	dir := write(t, map[string]string{"sparse": "From:a.example\tREJECT\n", "hole": "From:a.example\tREJECT\n", "good": "From:a.example\tREJECT\n"})
	for name, octets := range map[string]int64{"sparse": 2 << 30, "hole": 200 << 20} {
		if err := os.Truncate(filepath.Join(dir, name), octets); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ file, most, want string }{
		{"sparse", "", "DIR/sparse: the access table has 2147483648 octets, expected 256MiB at most (access.max_size)"},
		{"hole", "", "DIR/hole:2: NUL octet, expected text"},
		{"hole", ", max_size: 100MiB", "DIR/hole: the access table has 209715200 octets, expected 100MiB at most (access.max_size)"},
		{"/proc/kallsyms", ", max_size: 64KiB", "/proc/kallsyms: the access table grew while it was read, expected 64KiB at most (access.max_size)"},
		{"good", ", max_size: 64KiB", ""},
	} {
		_, _, err := parse(t, dir, "access: {file: "+c.file+c.most+"}\ndomains: {local: [], relay: []}\n").Policy()
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), dir, "DIR")
		}
		if got != c.want {
			t.Errorf("%s%s: %q, expected %q", c.file, c.most, got, c.want)
		}
	}
}

// TestOwnDomainsWithoutASendmailCF: $m is what follows the first label of the host
// name, as long as that is no top-level domain.
func TestOwnDomainsWithoutASendmailCF(t *testing.T) {
	dir := write(t, map[string]string{"access": ""})
	for host, want := range map[string]string{"mx.example.test": "example.test", "shop.example": "", "mx": ""} {
		p, _ := build(t, dir, "access: {file: access, features: [relay_entire_domain]}\ndomains: {hostname: "+host+", local: [], relay: []}\n")
		if got := strings.Join(p.OwnDomains.Entries(), " "); p.Domain != want || got != want {
			t.Errorf("%s: $m %q, class m %q, expected %q", host, p.Domain, got, want)
		}
	}
}

func TestTheMachineNameIsOneLine(t *testing.T) {
	if name := machineName(); strings.ContainsAny(name, " \n") || strings.HasSuffix(name, ".") {
		t.Errorf("machine name %q", name)
	}
}

// TestTheSampleSaysThatItActs: its line for the first days works as it stands.
func TestTheSampleSaysThatItActs(t *testing.T) {
	text, err := os.ReadFile("split-25-587.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, t.TempDir(), strings.Replace(string(text), "\n#mode: shadow\n", "\nmode: shadow\n", 1))
	if c.Mode != policy.ModeShadow {
		t.Errorf("mode %s", c.Mode)
	}
}
