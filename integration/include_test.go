package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/integration/harness"
	"milterd/policy/access"
)

// stockMC is what Debian's package installs as sendmail.mc, and accessLine the line of
// it that the include takes the place of.
const (
	stockMC    = "/usr/share/sendmail/cf/debian/sendmail.mc"
	accessLine = "FEATURE(`access_db', , `skip')dnl\n"
)

// set is a line of sendmail.mc that defines one of the include's words.
func set(word, value string) string { return "define(`" + word + "', " + value + ")dnl\n" }

// madeCF is a sendmail.cf and what m4 said when it made it.
type madeCF struct{ path, text, said string }

// makeCF makes a sendmail.cf of the stock sendmail.mc, with other lines in place of
// accessLine, INCLUDE standing for the include, and more at its end.
func makeCF(t *testing.T, lines, end string) madeCF {
	t.Helper()
	dir := t.TempDir()
	include := filepath.Join(dir, "milterd.m4")
	writeFile(t, include, sendmail.Include)
	stock, err := os.ReadFile(stockMC)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(stock), accessLine)
	if !found {
		t.Fatalf("%s has no line %q", stockMC, accessLine)
	}
	mc := filepath.Join(dir, "sendmail.mc")
	writeFile(t, mc, before+strings.ReplaceAll(lines, "INCLUDE", "include(`"+include+"')dnl\n")+after+end)
	var said strings.Builder
	m4 := exec.Command("m4", mc)
	m4.Stderr = &said
	out, err := m4.Output()
	if err != nil {
		t.Fatalf("m4: %v\n%s", err, &said)
	}
	made := madeCF{path: filepath.Join(dir, "sendmail.cf"), text: string(out), said: said.String()}
	writeFile(t, made.path, made.text)
	return made
}

// test runs sendmail -bt on the file and returns all that it says.
func (m madeCF) test(t *testing.T, commands string) string {
	t.Helper()
	bt := exec.Command("/usr/sbin/sendmail", "-C", m.path, "-bt")
	bt.Stdin = strings.NewReader(commands)
	out, err := bt.CombinedOutput()
	if err != nil && !strings.Contains(commands, "Local_check_rcpt") { // which fails without milterd
		t.Fatalf("sendmail -bt: %v\n%s", err, out)
	}
	return string(out)
}

// accepted checks that neither m4 nor sendmail has anything to say about the file, but that
// there are rules before those of Basic_check_rcpt.
func (m madeCF) accepted(t *testing.T) {
	t.Helper()
	if m.said != "" {
		t.Errorf("m4 says:\n%s", m.said)
	}
	out := m.test(t, "/quit\n")
	const all = "WARNING: Ruleset Basic_check_rcpt has multiple definitions\nADDRESS TEST MODE (ruleset 3 NOT automatically invoked)\nEnter <ruleset> <address>\n> "
	if strings.TrimSpace(out) != strings.TrimSpace(all) {
		t.Errorf("sendmail -bt says:\n%s", out)
	}
}

// lines are the lines of a sendmail.cf without comments.
func (m madeCF) lines() map[string]bool {
	all := make(map[string]bool)
	for line := range strings.Lines(m.text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			all[line] = true
		}
	}
	return all
}

// without lists the lines of a that b has not, in alphabetical order.
func without(a, b map[string]bool) []string {
	var rest []string
	for line := range a {
		if !b[line] {
			rest = append(rest, line)
		}
	}
	slices.Sort(rest)
	return rest
}

// question are the lines of the rules that ask, which are always there.
var question = []string{
	"Smilterd_domain", "R$*\t\t\t$: $>ParseRecipient $1", "R$#$*\t\t\t$@", "R$* < @ $+ > $*\t\t$@ $2", "R$*\t\t\t$@ .",
	"Smilterd_to",
	"R$*\t\t\t$: $1 $| $>milterd_domain $1",
	"R<$* $=O $* @ $*> $| $*\t$@ <$1 $2 $3 @ $4> $| $5",
	"R<$* @ $* $=O $*> $| $*\t$@ <$1 @ $2 $3 $4> $| $5",
	"R<$- @ $+> $| $+\t$: <$1 @ $2> $| $3 $| $(dequote $1 $)",
	"R<$*> $| $+ $| $* $=O $*\t$@ <$1> $| $2",
	"R<$+ @ $+> $| $+ $| $*\t$@ <$1 @ $3> $|",
	"R<$+ @ $+> $| $+\t$@ <$1 @ $3> $|",
	"Smilterd_ask",
	"R$*\t\t\t$: $>milterd_to $1",
	"R$* $| $*\t\t$: <$&{rcpt_mailer}> $| $1 $| $2",
	"R<error> $| $*\t\t$: $&{rcpt_host} $| $1",
	"R<$*> $| $*\t\t$: $| $2",
	"R$* $| $*\t\t$: <$&{verify}> $| $1 $| $2",
	"R<OK> $| $*\t\t$: TMPF $| $&{cert_issuer} $| $&{cert_subject} $| $1",
	"R<TRUSTED> $| $*\t$: TMPF $| $&{cert_issuer} $| $&{cert_subject} $| $1",
	"R<$*> $| $*\t\t$: TMPF $| $| $| $2",
	"RTMPF $| $* $| $* $| $* $| $* $| $*\t$: $(milterd 3 $| $&i $| $&{client_addr} $| $&{client_resolve} $| $&{daemon_port} $| $&{daemon_name} $| $&{auth_type} $| $&{auth_authen} $| $&{tls_version} $| $&{verify} $| $&{rcpt_mailer} $| $3 $| $&{client_name} $| $&{client_ptr} $| $1 $| $2 $| $&s $| $&f $| $4 $| $5 $| END $: TMPF $)",
	"Smilterd_answer",
	"R$*\t\t\t$: $>milterd_ask $1",
	"RSHOW $+\t\t$: <$1>",
	"R<TRUSTED>\t\t$#RELAY", "R<RELAY>\t\t$@ NONE $(milterd_macro {milterd_relay} $@ yes $)",
	"R<NONE>\t\t\t$@ NONE $(milterd_macro {milterd_relay} $)",
	"R<REFUSE $-.$-.$- $+>\t$#error $@ $1.$2.$3 $: $4",
	"R<DISCARD>\t\t$#discard $: discard",
	"R<QUARANTINE $+>\t$#error $@ quarantine $: $1",
	"R$*\t\t\t$#error $@ 4.3.0 $: \"451 Temporary system failure. Please try again later\"",
	"Smilterd_rcpt",
	"R$*\t\t\t$: $1 $| $>milterd_answer $1",
	"R$* $| NONE\t\t$@ $1",
	"R$*\t\t\t$: <$&{milterd_relay}> $1", "R<yes> $*\t\t$@ RELAY $(milterd_macro {milterd_relay} $)", "R<$*> $*\t\t$: $2",
}

// behindTag is what milterd.m4 has between the tag and the rest of a key.
const behindTag = "$| skip $| $&i $| $&{client_addr} $|"

// part is one of the things that milterd.m4 does to a sendmail.cf.
type part struct {
	off         string   // the word that leaves it out; empty: it is always there
	added, gone []string // lines of the file
}

var parts = []part{
	{off: "MILTERD_NO_FILTER", added: []string{
		"O InputMailFilters=milterd", "Xmilterd, S=local:/run/milterd/milter.sock, F=T, T=S:10s;R:10s;E:1m",
		"O Milter.macros.connect=j, _, {daemon_name}, {if_name}, {if_addr}",
		"O Milter.macros.helo={tls_version}, {cipher}, {cipher_bits}, {cert_subject}, {cert_issuer}",
		"O Milter.macros.envfrom=i, {auth_type}, {auth_authen}, {auth_ssf}, {auth_author}, {mail_mailer}, {mail_host}, {mail_addr}",
		"O Milter.macros.envrcpt={rcpt_mailer}, {rcpt_host}, {rcpt_addr}", "O Milter.macros.eom={msg_id}",
	}},
	{off: "MILTERD_NO_ACCESS", added: []string{"Kaccess socket -f -T<TMPF> local:/run/milterd/map.sock"}, gone: []string{"Kaccess hash -T<TMPF> /etc/mail/access"}},
	{off: "", added: append([]string{"Kmilterd socket -q -f local:/run/milterd/map.sock", "Kmilterd_macro macro"}, question...)},
	{off: "MILTERD_NO_RECEIVED", added: []string{
		"HReceived: $?{milterd_scrub}from SMTP", "$|$?sfrom $s $.$?_($?s$|from $.$_)",
		"$.$.by $j$?{milterd_scrub} (SMTP server)$| ($v/$Z)$.$?r with $r$. id $i$?{tls_version}",
		"RHIDE $+\t\t$: <$1> $(milterd_macro {milterd_scrub} $@ yes $)",
	}, gone: []string{
		"HReceived: $?sfrom $s $.$?_($?s$|from $.$_)", "$.by $j ($v/$Z)$?r with $r$. id $i$?{tls_version}",
	}},
	{off: "MILTERD_NO_RULESETS", added: []string{"R$*\t\t\t$: $>milterd_rcpt $1"}},
	{off: "MILTERD_NO_BANNER", added: []string{"O SmtpGreetingMessage=$j $b"}, gone: []string{
		"O SmtpGreetingMessage=$j Sendmail $v/$Z; $b; (No UCE/UBE) $?{client_addr}logging access from: ${client_name}(${client_resolve})-$_$.",
	}},
	{off: "MILTERD_NO_PRIVACY", added: []string{stockPrivacy}, gone: []string{stockPrivacy + ",authwarnings"}},
}

const stockPrivacy = "O PrivacyOptions=needmailhelo,needexpnhelo,needvrfyhelo,restrictqrun,restrictexpand,nobodyreturn"

// TestEachPartOfTheIncludeCanBeSwitchedOff compares sendmail.cf files with one that
// is made without the include.
func TestEachPartOfTheIncludeCanBeSwitchedOff(t *testing.T) {
	needWorld(t)
	stock := makeCF(t, accessLine, "").lines()
	cases := [][]string{{}, {"MILTERD_NO_FILTER", "MILTERD_NO_ACCESS", "MILTERD_NO_RECEIVED", "MILTERD_NO_RULESETS", "MILTERD_NO_BANNER", "MILTERD_NO_PRIVACY"}}
	for _, p := range parts {
		if p.off != "" {
			cases = append(cases, []string{p.off})
		}
	}
	for _, off := range cases {
		t.Run(strings.Join(append(off, "only"), " "), func(t *testing.T) {
			defines := ""
			for _, word := range off {
				defines += set(word, "")
			}
			lines := defines + "INCLUDE"
			if slices.Contains(off, "MILTERD_NO_ACCESS") {
				lines += accessLine
			}
			var added, gone []string
			for _, p := range parts {
				if !slices.Contains(off, p.off) {
					added, gone = append(added, p.added...), append(gone, p.gone...)
				}
			}
			// What rules of one's own may call, and a form without the macro.
			if slices.Contains(off, "MILTERD_NO_RULESETS") {
				added = append(added, "Smilterd_received", "R$*\t\t\t$: $>milterd_rcpt $1")
			}
			if slices.Contains(off, "MILTERD_NO_RECEIVED") {
				added = append(added, "RHIDE $+\t\t$: <$1>")
			}
			slices.Sort(added)
			slices.Sort(gone)
			made := makeCF(t, lines, "")
			made.accepted(t)
			// The rules that ask for the table are the stock ones but for what is behind tags.
			if asked := strings.Contains(made.text, behindTag); asked == slices.Contains(off, "MILTERD_NO_ACCESS") {
				t.Errorf("the rules ask milterd for the table: %v", asked)
			}
			made.text = strings.ReplaceAll(made.text, behindTag, ":")
			if diff := cmp.Diff(added, without(made.lines(), stock)); diff != "" {
				t.Errorf("lines that the include adds (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(gone, without(stock, made.lines())); diff != "" {
				t.Errorf("lines that it takes the place of (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheIncludesWordsChangeWhatItDoes(t *testing.T) {
	needWorld(t)
	full := makeCF(t, "INCLUDE", "").lines()
	for _, c := range []struct {
		name, defines string
		want          []string
	}{
		{"the map's address", set("MILTERD_MAP", "`inet:8893@127.0.0.1'"),
			[]string{"Kaccess socket -f -T<TMPF> inet:8893@127.0.0.1", "Kmilterd socket -q -f inet:8893@127.0.0.1"}},
		{"the filter's address", set("MILTERD_FILTER", "`inet:8891@127.0.0.1'"), []string{"Xmilterd, S=inet:8891@127.0.0.1, F=T, T=S:10s;R:10s;E:1m"}},
		{"time-outs", set("MILTERD_TIMEOUTS", "`C:2m;S:5s;R:5s'"), []string{"Xmilterd, S=local:/run/milterd/milter.sock, F=T, T=C:2m;S:5s;R:5s"}},
		{"a text for the client, with a comma", set("MILTERD_FROM", "`from mail (hidden, for good)'"), []string{"HReceived: $?{milterd_scrub}from mail (hidden, for good)"}},
		{"a text for the version, with a comma", set("MILTERD_BY", "`(mail, of a kind)'"),
			[]string{"$.$.by $j$?{milterd_scrub} (mail, of a kind)$| ($v/$Z)$.$?r with $r$. id $i$?{tls_version}"}},
		{"no text for the version", set("MILTERD_BY", "`'"), []string{"$.$.by $j$?{milterd_scrub}$| ($v/$Z)$.$?r with $r$. id $i$?{tls_version}"}},
		{"a greeting with a comma", set("MILTERD_BANNER", "`Hello, there; $b'"), []string{"O SmtpGreetingMessage=$j Hello, there; $b"}},
		{"no greeting", set("MILTERD_BANNER", "`'"), []string{"O SmtpGreetingMessage=$j "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := makeCF(t, c.defines+"INCLUDE", "")
			made.accepted(t)
			for i := range c.want {
				c.want[i] = strings.TrimSpace(c.want[i])
			}
			if diff := cmp.Diff(c.want, without(made.lines(), full)); diff != "" {
				t.Errorf("lines that change (-want +got):\n%s", diff)
			}
		})
	}
	for _, c := range []struct {
		name, options      string
		skip, lookupDotDom bool
	}{
		{"as it is", "", true, false},
		{"two options", set("MILTERD_ACCESS_OPTIONS", "``skip', `lookupdotdomain''"), true, true},
		{"one option", set("MILTERD_ACCESS_OPTIONS", "`lookupdotdomain'"), false, true},
		{"no option", set("MILTERD_ACCESS_OPTIONS", "`'"), false, false},
	} {
		t.Run("options of the access table: "+c.name, func(t *testing.T) {
			made := makeCF(t, c.options+"INCLUDE", "")
			made.accepted(t)
			cf, err := sendmail.Parse([]byte(made.text), harness.Hostname)
			if err != nil {
				t.Fatal(err)
			}
			want := access.Features{Skip: c.skip, LookupDotDomain: c.lookupDotDom, DelayChecks: true, Friend: true}
			if diff := cmp.Diff(want, cf.Features); diff != "" {
				t.Errorf("features that milterd reads (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTheTableStaysWhereAFeatureNeedsIt: MILTERD_NO_ACCESS may be said in any file.
func TestTheTableStaysWhereAFeatureNeedsIt(t *testing.T) {
	needWorld(t)
	without := set("MILTERD_NO_ACCESS", "")
	if diff := cmp.Diff(makeCF(t, "INCLUDE", "").lines(), makeCF(t, without+"INCLUDE", "").lines()); diff != "" {
		t.Errorf("Debian's own file (-without the word +with it):\n%s", diff)
	}
	for _, c := range []struct {
		feature string
		needs   bool
	}{
		{"", false},
		{"FEATURE(`blocklist_recipients')dnl\n", false},
		{"FEATURE(`relay_hosts_only')dnl\n", false},
		{"stock_FEATURE(`delay_checks')dnl\n", false},
		{"stock_FEATURE(`delay_checks', `hater')dnl\n", true},
		{"stock_FEATURE(`greet_pause', `500')dnl\n", true},
		{"stock_FEATURE(`conncontrol')dnl\n", true},
		{"stock_FEATURE(`ratecontrol')dnl\n", true},
		{"FEATURE(`relay_mail_from')dnl\n", true},
	} {
		made := makeCF(t, noFeatures+without+"INCLUDE"+c.feature, "")
		if !strings.Contains(c.feature, "relay_mail_from") {
			made.accepted(t)
		}
		if asks := strings.Contains(made.text, "$(access "); asks != c.needs || asks != strings.Contains(made.text, "\nKaccess socket -f -T<TMPF> ") {
			t.Errorf("%q: sendmail asks for the table: %v, expected %v", c.feature, asks, c.needs)
		}
	}
}

// TestOnesOwnPrivacyFlagsStay: milterd.m4 takes one flag away and no other.
func TestOnesOwnPrivacyFlagsStay(t *testing.T) {
	needWorld(t)
	for _, c := range []struct{ name, flags, want string }{
		{"one flag", "`authwarnings'", "public"},
		{"the first of several", "`authwarnings, noexpn,novrfy'", "noexpn,novrfy"},
		{"the last", "`noexpn, authwarnings'", "noexpn"},
		{"one among others", "`goaway,authwarnings,restrictqrun'", "goaway,restrictqrun"},
		{"in quotes of its own", "``authwarnings,noexpn,novrfy''", "noexpn,novrfy"},
		{"not there", "`goaway'", "goaway"},
		{"no flags", "`'", "public"},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := makeCF(t, set("confPRIVACY_FLAGS", c.flags)+"INCLUDE", "")
			made.accepted(t)
			if want := "O PrivacyOptions=" + c.want; !made.lines()[want] {
				t.Errorf("no line %q, but %q", want, regexp.MustCompile("O PrivacyOptions.*").FindString(made.text))
			}
		})
	}
	made := makeCF(t, "INCLUDE"+set("confPRIVACY_FLAGS", "`authwarnings,noexpn'"), "")
	made.accepted(t)
	if want := "O PrivacyOptions=authwarnings,noexpn"; !made.lines()[want] {
		t.Errorf("flags that are defined behind the include: no line %q", want)
	}
}

// ownRules are an administrator's own, for the ruleset that the include uses.
const ownRules = "LOCAL_RULESETS\nSLocal_check_rcpt\n"

// TestTheIncludeAmongLinesOfOnesOwn tells what becomes of the include where a
// sendmail.mc has more to say: whether its ruleset is still asked, and what m4 and
// sendmail -bt say. Nobody answers here, so where milterd is asked, sendmail's answer
// is 451.
func TestTheIncludeAmongLinesOfOnesOwn(t *testing.T) {
	needWorld(t)
	const twice = "WARNING: Ruleset Local_check_rcpt has multiple definitions"
	const asked, notAsked = `$# error $@ 4 . 3 . 0 $: "451 Temporary system failure. Please try again later"`, ""
	for _, c := range []struct {
		name, lines, end string
		want, said       string
	}{
		{"nothing else", "INCLUDE", "", asked, ""},
		{"rules behind it are added to its own", "INCLUDE", ownRules + "R$*\t\t$@ OK\n", asked, twice},
		{"rules before it come first, and may end the ruleset", ownRules + "R$*\t\t$@ OK\n\ndivert(0)dnl\nINCLUDE", "", "OK", twice},
		{"rules before it that go on", ownRules + "R$* <bad@$*>\t\t$#error $: 550 no\n\ndivert(0)dnl\nINCLUDE", "", asked, twice},
		{"rules of one's own only, which do not ask", set("MILTERD_NO_RULESETS", "") + "INCLUDE", ownRules + "R$*\t\t$: $1\n", notAsked, ""},
		{"rules of one's own only, which ask", set("MILTERD_NO_RULESETS", "") + "INCLUDE", ownRules + "R$*\t\t$: $>milterd_rcpt $1\n", asked, ""},
		{"rules of one's own only, which ask by an older name", set("MILTERD_NO_RULESETS", "") + "INCLUDE", ownRules + "R$*\t\t$: $>milterd_received $1\n", asked, ""},
		{"another ruleset of one's own", "INCLUDE", "LOCAL_RULESETS\nSLocal_check_mail\nR$*\t\t$: $1\n", asked, ""},
		{"a configuration of one's own", "LOCAL_CONFIG\nKmine macro\n\ndivert(0)dnl\nINCLUDE", "LOCAL_CONFIG\nKothers macro\n", asked, ""},
		{"greet_pause before it", "FEATURE(`greet_pause', `500')dnl\nINCLUDE", "", asked, "*** WARNING: FEATURE(`greet_pause') before FEATURE(`access_db')\n\tgreet_pause will not use access_db!"},
		{"ratecontrol before it", "FEATURE(`ratecontrol')dnl\nINCLUDE", "", asked, "*** ERROR: FEATURE(`ratecontrol') requires FEATURE(`access_db')"},
		{"delay_checks before it", "FEATURE(`delay_checks', `friend')dnl\nINCLUDE", "", asked, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := makeCF(t, c.lines, c.end)
			out := made.test(t, "Local_check_rcpt <x@other.example>\n/quit\n")
			out = strings.Replace(out, "WARNING: Ruleset Basic_check_rcpt has multiple definitions\n", "", 1)
			if c.said != "" && !strings.Contains(made.said+out, c.said) || c.said == "" && (made.said != "" || strings.Contains(out, "WARNING")) {
				t.Errorf("m4 says %q, sendmail -bt says\n%s\nexpected %q", made.said, out, c.said)
			}
			got := ""
			for line := range strings.Lines(out) {
				if value, ok := strings.CutPrefix(line, "Local_check_rcpt returns: "); ok {
					got = strings.TrimSpace(value)
				}
			}
			if c.want == notAsked && got != "< x @ other . example >" || c.want != notAsked && got != c.want {
				t.Errorf("Local_check_rcpt returns %q, expected %q\n%s", got, c.want, out)
			}
		})
	}
}

// TestWhatMilterdSaysOfAnInclude: a configuration that fits its sendmail.cf has
// nothing said of it, and the one-line set-up is left in peace.
func TestWhatMilterdSaysOfAnInclude(t *testing.T) {
	needWorld(t)
	const hide = "received: {whose: [authenticated, relayed]}\n"
	const filterAlone = accessLine + harness.FilterLines
	for _, c := range []struct {
		name, lines, end, config string
		want                     string // expression for all warnings, without DIR/sendmail.cf:LINE:
	}{
		{"the include", "INCLUDE", "", "", ""},
		{"the include, and clients that are hidden", "INCLUDE", "", hide, ""},
		{"the include, and grants", "INCLUDE", "", "grants: {control: local:/run/milterd/control.sock}\nlimits: {file: limits}\n", ""},
		{"one filter line", filterAlone, "", "", ""},
		{"one filter line, and grants", filterAlone, "", "grants: {control: local:/run/milterd/control.sock}\nlimits: {file: limits}\n", "^no socket map leads to listen.map .* know nothing of grants"},
		{"one filter line, and clients that are hidden", filterAlone, "", hide, "^the Received field that sendmail itself adds shows the client of all mail"},
		{"without the filter", set("MILTERD_NO_FILTER", "") + "INCLUDE", "", "", "^no INPUT_MAIL_FILTER leads to listen.milter .*there is none$"},
		{"without the access table", set("MILTERD_NO_ACCESS", "") + "INCLUDE" + accessLine, "", hide, ""},
		{"without the field", set("MILTERD_NO_RECEIVED", "") + "INCLUDE", "", "", ""},
		{"without the field, and clients that are hidden", set("MILTERD_NO_RECEIVED", "") + "INCLUDE", "", hide, "^the Received field that sendmail itself adds shows the client of all mail"},
		{"without the ruleset", set("MILTERD_NO_RULESETS", "") + "INCLUDE", "", hide, "^the Received field that sendmail itself adds .*no ruleset calls milterd_rcpt"},
		{"with a ruleset of one's own", set("MILTERD_NO_RULESETS", "") + "INCLUDE", ownRules + "R$*\t\t$: $>milterd_rcpt $1\n", hide, ""},
		{"without the greeting", set("MILTERD_NO_BANNER", "") + "INCLUDE", "", hide, ""},
		{"another map", set("MILTERD_MAP", "`inet:8893@127.0.0.1'") + "INCLUDE", "", "",
			`^the access map is the socket inet:8893@127.0.0.1, which is not listen.map \(local:.*\), so .*` + "\n" + `the map milterd is the socket inet:8893@127.0.0.1, which is not listen.map`},
		{"another map, which milterd knows", set("MILTERD_MAP", "`inet:8893@127.0.0.1'") + "INCLUDE", "", "listen: {map: inet:8893@127.0.0.1}\n" + hide, ""},
		{"another filter", set("MILTERD_FILTER", "`inet:8891@127.0.0.1'") + "INCLUDE", "", "", "^no INPUT_MAIL_FILTER leads to listen.milter"},
		{"another filter, which milterd knows", set("MILTERD_FILTER", "`inet:8891@127.0.0.1'") + "INCLUDE", "", "listen: {milter: inet:8891@127.0.0.1}\n", ""},
		{"other texts", set("MILTERD_FROM", "`from mail'") + set("MILTERD_BY", "`'") + "INCLUDE", "", hide,
			`^the Received field .* "from mail" .*\(MILTERD_FROM\), and received.from is "from SMTP"` + "\n" + `the Received field .* "" .*\(MILTERD_BY\), and received.by is "\(SMTP server\)"$`},
		{"other texts, which milterd knows", set("MILTERD_FROM", "`from mail'") + set("MILTERD_BY", "`'") + "INCLUDE", "", "received: {whose: [relayed], from: from mail, by: \"\"}\n", ""},
		{"FEATURE(access_db) left behind it", "INCLUDE" + accessLine, "", "", "^the access map is defined again, after line "},
		{"FEATURE(access_db) left before it", accessLine + "INCLUDE", "", hide, ""},
		{"relaying for senders", "INCLUDE" + "FEATURE(`relay_mail_from')dnl\n", "", hide, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := makeCF(t, c.lines, c.end)
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "access"), "")
			file := filepath.Join(dir, "milterd.yaml")
			writeFile(t, file, fmt.Sprintf("sendmail: {cf: %q}\naccess: {file: access}\ndomains: {local: [], relay: []}\n"+
				"checks: {relay: {trust_auth_mech: [PLAIN]}}\n%s", made.path, c.config))
			config, err := configs.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			_, warnings, err := config.Policy()
			if err != nil {
				t.Fatal(err)
			}
			place := regexp.MustCompile(regexp.QuoteMeta(made.path) + `(:\d+)?: `)
			got := place.ReplaceAllString(strings.Join(warnings, "\n"), "")
			if c.want == "" && got != "" || !regexp.MustCompile(c.want).MatchString(got) {
				t.Errorf("warnings:\n%s\nexpected %s", got, c.want)
			}
		})
	}
}
