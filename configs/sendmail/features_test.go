package sendmail

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
	"milterd/policy/access"
)

// cfDir is where Debian's package sendmail-cf has its m4 files.
const cfDir = "/usr/share/sendmail/cf"

// generate makes a sendmail.cf of .mc lines.
func generate(t *testing.T, lines ...string) []byte {
	t.Helper()
	_, err := exec.LookPath("m4")
	if err == nil {
		_, err = os.Stat(cfDir + "/m4/cf.m4")
	}
	if err != nil {
		testkit.Missing(t, fmt.Sprintf("a sendmail.cf cannot be generated (packages m4 and sendmail-cf): %v", err))
	}
	mc := "divert(0)dnl\ninclude(`" + cfDir + "/m4/cf.m4')dnl\nOSTYPE(`debian')dnl\n" +
		strings.Join(lines, "\n") + "\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"
	m4 := exec.Command("m4", "-D_CF_DIR_="+cfDir+"/", "-")
	m4.Stdin = strings.NewReader(mc)
	var errors strings.Builder
	m4.Stderr = &errors
	cf, err := m4.Output()
	if err != nil || strings.Contains(errors.String(), "ERROR") {
		t.Fatalf("m4: %v\n%s", err, errors.String())
	}
	return cf
}

// mc is one way to switch a FEATURE on. Each line needs FEATURE(access_db) first,
// which takes some of the names as arguments.
var featureLines = []struct {
	name string
	// argument of FEATURE(access_db), or a line of its own
	argument, line string
	want           access.Features
}{
	{name: "skip", argument: "skip", want: access.Features{Skip: true}},
	{name: "blocklist_recipients", line: "FEATURE(`blocklist_recipients')", want: access.Features{BlocklistRecipients: true}},
	{name: "delay_checks", line: "FEATURE(`delay_checks')", want: access.Features{DelayChecks: true}},
	{name: "delay_checks friend", line: "FEATURE(`delay_checks', `friend')", want: access.Features{DelayChecks: true, Friend: true}},
	{name: "delay_checks hater", line: "FEATURE(`delay_checks', `hater')", want: access.Features{DelayChecks: true, Hater: true}},
	{name: "lookupdotdomain", argument: "lookupdotdomain", want: access.Features{LookupDotDomain: true}},
	{name: "relay_hosts_only", line: "FEATURE(`relay_hosts_only')", want: access.Features{RelayHostsOnly: true}},
	{name: "relay_entire_domain", line: "FEATURE(`relay_entire_domain')", want: access.Features{RelayEntireDomain: true}},
	{name: "relay_mail_from", line: "FEATURE(`relay_mail_from')", want: access.Features{RelayMailFrom: true}},
	{name: "relay_mail_from domain", line: "FEATURE(`relay_mail_from', `domain')", want: access.Features{RelayMailFrom: true, RelayMailFromDomain: true}},
	{name: "relay_local_from", line: "FEATURE(`relay_local_from')", want: access.Features{RelayLocalFrom: true}},
	{name: "relaytofulladdress", argument: "relaytofulladdress", want: access.Features{RelayToFullAddress: true}},
	{name: "use_client_ptr", line: "FEATURE(`use_client_ptr')", want: access.Features{UseClientPTR: true}},
}

// union switches on what either of two sets has.
func union(a, b access.Features) access.Features {
	return access.Features{
		Skip:                a.Skip || b.Skip,
		BlocklistRecipients: a.BlocklistRecipients || b.BlocklistRecipients,
		DelayChecks:         a.DelayChecks || b.DelayChecks,
		Friend:              a.Friend || b.Friend,
		Hater:               a.Hater || b.Hater,
		LookupDotDomain:     a.LookupDotDomain || b.LookupDotDomain,
		RelayHostsOnly:      a.RelayHostsOnly || b.RelayHostsOnly,
		RelayEntireDomain:   a.RelayEntireDomain || b.RelayEntireDomain,
		RelayMailFrom:       a.RelayMailFrom || b.RelayMailFrom,
		RelayMailFromDomain: a.RelayMailFromDomain || b.RelayMailFromDomain,
		RelayLocalFrom:      a.RelayLocalFrom || b.RelayLocalFrom,
		RelayToFullAddress:  a.RelayToFullAddress || b.RelayToFullAddress,
		UseClientPTR:        a.UseClientPTR || b.UseClientPTR,
	}
}

// deduce generates a sendmail.cf with the chosen features and reads it.
func deduce(t *testing.T, chosen ...int) (got, want access.Features) {
	t.Helper()
	arguments := []string{""}
	var lines []string
	for _, i := range chosen {
		f := featureLines[i]
		want = union(want, f.want)
		if f.argument != "" {
			arguments = append(arguments, "`"+f.argument+"'")
		} else {
			lines = append(lines, f.line)
		}
	}
	accessDB := "FEATURE(`access_db', " + strings.Join(arguments, ", ") + ")"
	c, err := Parse(generate(t, append([]string{accessDB}, lines...)...), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	if c.Access.Text != "/etc/mail/access" {
		t.Errorf("access map %+v", c.Access)
	}
	return c.Features, want
}

func TestEveryFeatureIsToldByItsRules(t *testing.T) {
	for i, f := range featureLines {
		t.Run(f.name, func(t *testing.T) {
			got, want := deduce(t, i)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("features (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryPairOfFeaturesIsToldByItsRules(t *testing.T) {
	for i, a := range featureLines {
		for j := i + 1; j < len(featureLines); j++ {
			b := featureLines[j]
			if strings.HasPrefix(a.name, "delay_checks") && strings.HasPrefix(b.name, "delay_checks") {
				continue // one FEATURE with different arguments
			}
			t.Run(a.name+" and "+b.name, func(t *testing.T) {
				t.Parallel()
				got, want := deduce(t, i, j)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("features (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestAllFeaturesTogetherAreToldByTheirRules(t *testing.T) {
	for _, delay := range []string{"delay_checks", "delay_checks friend", "delay_checks hater"} {
		t.Run(delay, func(t *testing.T) {
			var chosen []int
			for i, f := range featureLines {
				arguments := strings.HasPrefix(f.name, "delay_checks")
				if !arguments || f.name == delay {
					chosen = append(chosen, i)
				}
			}
			got, want := deduce(t, chosen...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("features (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASendmailCFWithoutAnAccessTableHasNoFeatures(t *testing.T) {
	c, err := Parse(generate(t), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	if c.Features != (access.Features{}) || c.Access != (Map{}) || len(c.Problems) > 0 {
		t.Errorf("features %+v, map %+v, problems %v", c.Features, c.Access, c.Problems)
	}
}

func TestAGeneratedSendmailCFGivesItsNamesAndFiles(t *testing.T) {
	c, err := Parse(generate(t,
		"define(`confDOMAIN_NAME', `mx.example.test')",
		"LOCAL_DOMAIN(`example.test other.example')",
		"FEATURE(`use_cw_file')",
		"RELAY_DOMAIN(`customer.example 198.51.100')",
		"RELAY_DOMAIN_FILE(`/etc/mail/more-relays')",
		"VIRTUSER_DOMAIN(`virtual.example')",
		"VIRTUSER_DOMAIN_FILE(`/etc/mail/virthosts %[^\\#]')",
		"GENERICS_DOMAIN_FILE(`/etc/mail/generics')",
		"FEATURE(`virtusertable')",
		"FEATURE(`virtuser_entire_domain')",
		"FEATURE(`access_db', `btree -T<TMPF> /etc/mail/lists/access')",
		"TRUST_AUTH_MECH(`GSSAPI DIGEST-MD5')",
	), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	if c.Hostname != "mx.example.test" {
		t.Errorf("host name %q", c.Hostname)
	}
	for what, pair := range map[string][2]any{
		"class w": {[]string{"vm.example.test", "localhost", "example.test", "other.example", "mx.example.test"}, c.Local.Names},
		"class R": {[]string{"customer.example", "198.51.100", "virtual.example"}, c.Relay.Names},
		"mechs":   {[]string{"GSSAPI", "DIGEST-MD5"}, c.TrustAuthMech},
		"map":     {[2]string{"btree", "/etc/mail/lists/access"}, [2]string{c.Access.Type, c.Access.Text}},
		"local":   {[]string{"/etc/mail/local-host-names"}, paths(c.Local.Files)},
		"relay":   {[]string{"-o /etc/mail/relay-domains", "/etc/mail/more-relays", "/etc/mail/virthosts"}, paths(c.Relay.Files)},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestStockRulesAreNoRulesOfOnesOwn(t *testing.T) {
	c, err := Parse(generate(t,
		"FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access', `skip', `lookupdotdomain', `relaytofulladdress')",
		"FEATURE(`blocklist_recipients')", "FEATURE(`delay_checks', `friend')", "FEATURE(`greet_pause', `5000')",
		"FEATURE(`ratecontrol', `nodelay')", "FEATURE(`conncontrol', `nodelay')", "FEATURE(`relay_entire_domain')",
		"FEATURE(`relay_mail_from', `domain')", "FEATURE(`relay_local_from')", "FEATURE(`dnsbl', `zen.example')",
		"FEATURE(`enhdnsbl', `zen.example')", "FEATURE(`badmx')", "FEATURE(`require_rdns')", "FEATURE(`block_bad_helo')",
		"FEATURE(`use_client_ptr')", "FEATURE(`use_cw_file')", "FEATURE(`mailertable')", "FEATURE(`check_other')",
		"FEATURE(`compat_check')", "TRUST_AUTH_MECH(`PLAIN')",
	), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Problems) > 0 {
		t.Errorf("problems %v", c.Problems)
	}
}

func TestTheMapOfFeatureDracIsPointedOut(t *testing.T) {
	c, err := Parse(generate(t, "FEATURE(`access_db')", "FEATURE(`drac')"), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	if got := problems(c); !strings.Contains(got, "FEATURE(drac)") {
		t.Errorf("problems %q, expected FEATURE(drac)", got)
	}
}

func paths(files []ClassFile) []string {
	var list []string
	for _, f := range files {
		path := f.Path
		if f.Optional {
			path = "-o " + path
		}
		list = append(list, path)
	}
	return list
}

func TestRelayingThatMilterdDoesNotFollowIsAProblem(t *testing.T) {
	for feature, want := range map[string]string{
		"promiscuous_relay": "0: FEATURE(promiscuous_relay) is in force: sendmail relays for everybody, milterd does not",
		"relay_based_on_MX": "0: FEATURE(relay_based_on_MX) is in force: milterd does not follow it; list the domains in domains.relay",
	} {
		t.Run(feature, func(t *testing.T) {
			c, err := Parse(generate(t, "FEATURE(`access_db')", "FEATURE(`"+feature+"')"), "vm.example.test")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, problems(c)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
