package integration_test

import (
	"testing"

	"milterd/integration/harness"
)

// fault is one line of a sendmail.mc that the doctor warns of.
type fault struct {
	// about is a part of the finding.
	name, about string
	// wrong is the line. The cure of the finding stands for it then, or what is written
	// here if the finding cannot know it.
	wrong, cure string
	// beside are lines that stay as they are beside a cure that the finding gives.
	beside string
	// where is the place of the line: filter, beside the stock access table; include,
	// in place of it; late, at the end, but the cure in place of it; otherwise at the end.
	where string
	// access is the table of milterd, config more of its configuration.
	access, config string
	options        harness.Options
	// from says lines to the server, and the last reply matches bad with the line, and
	// good with the cure.
	from, to  string
	lines     []string
	bad, good string
	// withoutMilterd: it is stopped before.
	withoutMilterd bool
	// follows: milterd takes names and the access table from the sendmail.cf.
	follows bool
}

var (
	foreign = []string{"MAIL FROM:<>", "RCPT TO:<x@victim.example>"}
	ours    = []string{"MAIL FROM:<>", "RCPT TO:<postmaster@example.test>"}
)

const (
	include   = "include(`/etc/mail/m4/milterd.m4')dnl"
	refusal   = "Connect:198.51.100.77\tREJECT\n"
	mayRelay  = "Connect:198.51.100.77\tRELAY\n"
	enforced  = "checks: {rdns: {mode: off}}\n"
	shadow    = "mode: shadow\n"
	localPort = "127.0.0.2"
	// otherFilter is one that is down.
	otherFilter = "MAIL_FILTER(`other', `S=local:/run/milterd/other.sock')dnl\n"
)

var faults = []fault{
	{name: "no filter line", about: "no INPUT_MAIL_FILTER leads to", where: "filter", wrong: "dnl none",
		access: refusal, config: enforced, lines: ours, bad: "^250 ", good: "^550 5.7.1"},
	{name: "the wrong socket", about: "no INPUT_MAIL_FILTER leads to", where: "filter",
		wrong: "INPUT_MAIL_FILTER(`milterd', `S=local:/run/milterd/other.sock, F=T')dnl", lines: ours, bad: "^451 4.3.2", good: "^250 "},
	{name: "no F=T", about: "no F=T", where: "filter", wrong: "INPUT_MAIL_FILTER(`milterd', `S=local:/run/milterd/milter.sock')dnl",
		lines: []string{"MAIL FROM:<>"}, bad: "^250 ", good: "^451 4.3.2", withoutMilterd: true},
	{name: "F=R", about: "F=R", where: "filter", wrong: "INPUT_MAIL_FILTER(`milterd', `S=local:/run/milterd/milter.sock, F=R')dnl",
		lines: []string{"MAIL FROM:<>"}, bad: "^(554|550) ", good: "^451 4.3.2", withoutMilterd: true},
	{name: "time-outs below the deadline", about: "sendmail gives milterd up", where: "filter",
		wrong:   "INPUT_MAIL_FILTER(`milterd', `S=local:/run/milterd/milter.sock, F=T, T=S:10s;R:1s;E:1m')dnl",
		config:  "dns: {deadline: 3s}\nchecks: {rdns: {source: own, temp: {action: accept}}}\n",
		options: harness.Options{DNS: []string{"77.100.51.198.in-addr.arpa. TIMEOUT"}},
		lines:   []string{"MAIL FROM:<>", "RCPT TO:<root@example.test>"}, bad: "^451 4.3.2", good: "^250 "},
	{name: "deferred delivery", about: "DeliveryMode is deferred", wrong: "define(`confDELIVERY_MODE', `deferred')dnl", lines: foreign, bad: "^250 ", good: "^550 5.7.1"},
	{name: "deferred delivery of one daemon", about: "DAEMON_OPTIONS(`Name=MTB, Addr=203.0.113.25, Port=2525, Listen=20')dnl",
		wrong: "DAEMON_OPTIONS(`Name=MTB, Addr=203.0.113.25, DeliveryMode=d, Port=2525, Listen=20')dnl",
		from:  stranger, to: harness.ServerAddr4 + ":2525", lines: foreign, bad: "^250 ", good: "^550 5.7.1"},
	{name: "promiscuous_relay", about: "promiscuous_relay", wrong: "FEATURE(`promiscuous_relay')", lines: foreign, bad: "^250 ", good: "^550 5.7.1"},
	{name: "relay_local_from", about: "relay_local_from", wrong: "FEATURE(`relay_local_from')",
		lines: []string{"MAIL FROM:<x@mx.example.test>", foreign[1]}, bad: "^250 ", good: "^550 5.7.1"},
	{name: "relay_mail_from", about: "FEATURE(relay_mail_from) is in force", wrong: "FEATURE(`relay_mail_from')", options: harness.Options{Access: "From:x@good.example\tRELAY\n",
		DNS: []string{"good.example. A 203.0.113.5"}},
		lines: []string{"MAIL FROM:<x@good.example>", foreign[1]}, bad: "^250 ", good: "^550 5.7.1"},
	{name: "loose_relay_check", about: "FEATURE(loose_relay_check) is in force", wrong: "FEATURE(`loose_relay_check')", options: harness.Options{RelayDomains: "partner.example\n"},
		lines: []string{"MAIL FROM:<>", "RCPT TO:<x%victim.example@partner.example>"}, bad: "^250 ", good: "^550 5.7.1"},
	{name: "class R is too wide", about: "class R has 198", wrong: "RELAY_DOMAIN(`198')dnl", cure: "RELAY_DOMAIN(`10.1')dnl", lines: foreign, bad: "^250 ", good: "^550 5.7.1"},
	{name: "class R has a top-level domain", about: `"example" relays for everything below it`, wrong: "RELAY_DOMAIN(`example')dnl", cure: "RELAY_DOMAIN(`partner.example')dnl",
		lines: foreign, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a filter that is not asked", about: "not in InputMailFilters", where: "filter", wrong: "MAIL_FILTER(`milterd', `S=local:/run/milterd/milter.sock, F=T')dnl",
		access: refusal, config: enforced, lines: ours, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a daemon with other filters", about: "the daemon MTB asks other filters than milterd", access: refusal, config: enforced,
		options: harness.Options{Include: "FEATURE(`access_db', , `skip')dnl\n" + harness.FilterLines + otherFilter},
		wrong:   "DAEMON_OPTIONS(`Name=MTB, Family=inet, Addr=203.0.113.25, Port=2525, M=A, InputMailFilters=other')dnl",
		from:    stranger, to: harness.ServerAddr4 + ":2525", lines: ours, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a daemon that alone asks milterd", about: "the daemon MTA asks other filters than milterd", where: "filter", access: refusal, config: enforced,
		wrong: "MAIL_FILTER(`milterd', `S=local:/run/milterd/milter.sock, F=T')dnl\nDAEMON_OPTIONS(`Name=MTB, Addr=127.0.0.2, Port=2525, I=milterd')dnl",
		cure:  harness.FilterLines, lines: ours, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a rule of one's own that lets relay", about: "Local_check_rcpt accepts by a rule of your own", follows: true, config: enforced,
		wrong: "LOCAL_RULESETS\nSLocal_check_rcpt\nR$*\t$: $&{client_addr}\nR198.51.100.77\t$# OK", cure: "RELAY_DOMAIN(`198.51.100.77')dnl",
		lines: foreign, bad: "^550 5.7.1", good: "^250 "},
	{name: "relay_based_on_MX", about: "FEATURE(relay_based_on_MX) is in force", follows: true, config: enforced, options: harness.Options{DNS: []string{"partner.example. MX 10 mx.example.test."}},
		wrong: "FEATURE(`relay_based_on_MX')dnl", cure: "RELAY_DOMAIN(`partner.example')dnl",
		lines: []string{"MAIL FROM:<>", "RCPT TO:<x@partner.example>"}, bad: "^550 5.7.1", good: "^250 "},
	{name: "a class that a program fills", about: "class R: ", follows: true, config: enforced, wrong: "LOCAL_CONFIG\nFR|/bin/echo partner.example", cure: "RELAY_DOMAIN(`partner.example')dnl",
		lines: []string{"MAIL FROM:<>", "RCPT TO:<x@partner.example>"}, bad: "^550 5.7.1", good: "^250 "},
	{name: "a mark that the rules do not know", about: "has -T<XX>, a mark that its rules do not know", where: "include", access: refusal, withoutMilterd: true,
		wrong: "FEATURE(`access_db', `socket -T<XX> local:/run/milterd/map.sock')dnl",
		lines: ours, bad: "^421 4.3.2 Connection rate limit exceeded", good: "^451 4.3.0"},
	{name: "port 587 without a", about: "port 587 does not demand AUTH", wrong: "DAEMON_OPTIONS(`Name=MSB, Addr=127.0.0.2, Port=submission, M=E')dnl",
		from: "127.0.0.1", to: localPort + ":587", lines: []string{"MAIL FROM:<>"}, bad: "^250 ", good: "^530 5.7.0"},
	{name: "AUTH on port 25, where milterd refuses it", about: "Name=MTB, Family=inet, Addr=127.0.0.2, Port=smtp, M=A", config: "ports: {25: {auth: refuse}}\n" + enforced,
		wrong: "DAEMON_OPTIONS(`Name=MTB, Family=inet, Addr=127.0.0.2, Port=smtp')dnl", options: harness.Options{Users: map[string]string{"shin": "secret"}},
		from: "127.0.0.1", to: localPort + ":25", lines: []string{"auth PLAIN"}, bad: "^235 ", good: "^503 5.3.3"},
	{name: "AUTH on port 25", about: "Name=MTB, Family=inet, Addr=127.0.0.2, Port=smtp, M=A", wrong: "DAEMON_OPTIONS(`Name=MTB, Family=inet, Addr=127.0.0.2, Port=smtp')dnl",
		from: "127.0.0.1", to: localPort + ":25", lines: []string{"auth PLAIN"}, bad: "^535 ", good: "^503 5.3.3"},
	{name: "passwords in clear text", about: "go over the wire in clear text", wrong: "dnl none", lines: []string{"EHLO client.example"},
		bad: `AUTH .*PLAIN`, good: `AUTH DIGEST-MD5 CRAM-MD5\n`},
	{name: "VRFY", about: "VRFY and EXPN", wrong: "define(`confPRIVACY_FLAGS', `needmailhelo')dnl", lines: []string{"VRFY postmaster"}, bad: "^250 ", good: "^252 "},
	{name: "EXPN", about: "VRFY and EXPN", wrong: "define(`confPRIVACY_FLAGS', `needmailhelo')dnl", lines: []string{"EXPN postmaster"}, bad: "^250 ", good: "^502 "},
	{name: "a greeting that tells the version", about: "the greeting tells the version", wrong: "define(`confSMTP_LOGIN_MSG', `$j Sendmail $v/$Z; $b')dnl",
		lines: []string{"greeting"}, bad: `8\.1\d\.\d`, good: "^220 mx.example.test ESMTP [A-Z][^/]*$"},
	{name: "rules behind rules that end the set", about: "the ruleset Local_check_rcpt has rules already",
		wrong: "LOCAL_RULESETS\nSLocal_check_rcpt\nR$*\t$@ done\nSLocal_check_rcpt\nR$*\t$#error $@ 5.7.1 $: \"550 no\"",
		cure:  "LOCAL_RULESETS\nSLocal_check_rcpt\nR$*\t$#error $@ 5.7.1 $: \"550 no\"\nR$*\t$@ done",
		lines: ours, bad: "^250 ", good: "^550 5.7.1"},
	{name: "the include behind the FEATUREs that use the table", about: "FEATURE(`greet_pause') stands before the access table", where: "late",
		wrong: include, cure: include,
		access: "GreetPause:198.51.100\t0\n", lines: []string{"early EHLO client.example"}, bad: "^554 ", good: "^220 "},
	{name: "the rules of the include are never called", about: "the rules of milterd.m4 are never called", where: "include", access: mayRelay, config: enforced,
		wrong: noFeatures + "define(`MILTERD_NO_ACCESS')dnl\ndefine(`MILTERD_NO_RULESETS')dnl\n" + include,
		cure:  noFeatures + "define(`MILTERD_NO_ACCESS')dnl\ndefine(`MILTERD_NO_RULESETS')dnl\n" + include + "\nLOCAL_RULESETS\nSLocal_check_rcpt\nR$*\t$: $>milterd_rcpt $1",
		lines: foreign, bad: "^550 5.7.1", good: "^250 "},
	{name: "a table of sendmail's own beside milterd's", about: "a table of their own", where: "include", config: enforced, options: harness.Options{Access: refusal},
		wrong: "define(`MILTERD_NO_ACCESS')dnl\n" + include + "\nFEATURE(`access_db')dnl", cure: include,
		lines: ours, bad: "^550 5.7.1", good: "^250 "},
	{name: "the table of another socket", about: "which is not listen.map", where: "include",
		wrong: "FEATURE(`access_db', `socket -T<TMPF> local:/run/milterd/none.sock')dnl\n" + harness.FilterLines, beside: harness.FilterLines,
		lines: ours, bad: "^451 4.3.0", good: "^250 "},
	{name: "an access table behind milterd's", about: "the access map is defined again", where: "include", access: "GreetPause:198.51.100\t0\n",
		wrong: include + "\nFEATURE(`greet_pause', 5000)\nLOCAL_CONFIG\nKaccess hash -o /etc/mail/none", cure: include + "\nFEATURE(`greet_pause', 5000)",
		lines: []string{"early EHLO client.example"}, bad: "^554 ", good: "^220 "},
	{name: "a table that is empty while milterd is down", about: "has -o", where: "include", access: refusal,
		wrong: "FEATURE(`access_db', `socket -o -T<TMPF> local:/run/milterd/map.sock')dnl",
		lines: ours, bad: "^250 ", good: "^451 4.3.0", withoutMilterd: true},
	{name: "entries that sendmail does not ask for", about: "entries srv_features: have no effect", where: "include", access: "Srv_Features:198.51.100\tP\n",
		wrong: noFeatures + "define(`MILTERD_NO_ACCESS')dnl\n" + include, cure: noFeatures + include,
		lines: []string{"EHLO client.example"}, bad: `ENHANCEDSTATUSCODES\n250-PIPELINING`, good: `ENHANCEDSTATUSCODES\n250-[^P]`},
	{name: "no access table", about: "no FEATURE(access_db)", where: "include", access: mayRelay, config: enforced, options: harness.Options{Access: mayRelay},
		wrong: harness.FilterLines, beside: harness.FilterLines,
		lines: foreign, bad: "^550 5.7.1", good: "^250 "},
	{name: "questions to another socket", about: "so sendmail does not ask milterd about recipients", where: "include",
		wrong: "define(`MILTERD_MAP', `local:/run/milterd/none.sock')dnl\n" + include, beside: include,
		lines: ours, bad: "^451 4.3.0", good: "^250 "},
	{name: "a ruleset that is gone with the table", about: "a rule calls the ruleset SearchList", where: "include",
		wrong: harness.FilterLines, cure: include,
		lines: ours, bad: "^554 5.3.5", good: "^250 "},
}

// TestWhatTheDoctorWarnsOfHappensAndIsCured has a real sendmail show what each finding
// is about, and then puts the line in that the finding gives.
func TestWhatTheDoctorWarnsOfHappensAndIsCured(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			given := f.run(t, f.wrong, true, f.bad)
			if f.cure == "" {
				f.cure = given.Cure + "\n" + f.beside
			}
			if !t.Failed() {
				f.run(t, f.cure, false, f.good)
			}
		})
	}
}

// run starts a server with a line, and checks whether the doctor tells of it, and what a
// client is told.
func (f fault) run(t *testing.T, line string, wrong bool, want string) finding {
	t.Helper()
	o := f.options
	o.LocalHostNames, o.Files = "example.test\n", map[string]string{"access": f.access}
	o.Config = "access: {file: access}\ndomains: {local: [], relay: []}\n" + f.config
	if f.config == "" {
		o.Config += shadow
	}
	if f.follows {
		o.Config = "sendmail: {cf: " + stockCF + "}\n" + f.config
	}
	switch f.where {
	case "filter":
		o.Include = "FEATURE(`access_db', , `skip')dnl\n" + line + "\n"
	case "include":
		o.Include = line + "\n"
	case "late":
		o.Include = "dnl none\n"
		if o.MC = line + "\n"; !wrong {
			o.Include, o.MC = o.MC, ""
		}
	default:
		o.MC = line + "\n"
	}
	env := start(t, o)
	findings, _ := examine(t, "-offline")
	given, found := about(findings, f.about)
	if found != wrong {
		t.Errorf("with %s: found %v, in %+v", line, found, findings)
	}
	if f.withoutMilterd {
		if err := env.Milterd.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	from, to := stranger, port25
	if f.from != "" {
		from, to = f.from, f.to
	}
	shows(t, "with "+line, conversation(t, from, to, f.lines...), want)
	if err := env.Close(); err != nil {
		t.Fatal(err)
	}
	return given
}
