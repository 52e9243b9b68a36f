package configs

import (
	"strings"
	"testing"

	"milterd/policy"
)

// stockField and hidingField are the Received fields of the stock sendmail and of
// milterd.m4.
const (
	stockField  = "HReceived: $?sfrom $s $.$?_($?s$|from $.$_)\n\t$.by $j ($v/$Z)$?r with $r$. id $i; $b\n"
	hidingField = "HReceived: $?{milterd_scrub}from SMTP\n\t$|$?sfrom $s $.$?_($?s$|from $.$_)\n\t$.$.by $j$?{milterd_scrub} (SMTP server)$| ($v/$Z)$. id $i; $b\n"
	asksMap     = "Kaccess socket -T<TMPF> local:/run/milterd/map.sock\nKmilterd socket -q -f local:/run/milterd/map.sock\n"
	asks        = "Smilterd_rcpt\nRHIDE $+\t$: $1 $(milterd_macro {milterd_scrub} $@ yes $)\n"
	calls       = "SLocal_check_rcpt\nR$*\t$: $>milterd_rcpt $1\n"
)

func TestAReceivedFieldThatShowsClientsAllTheSameIsWarnedAbout(t *testing.T) {
	const own = "DIR/sendmail.cf:1: the Received field that sendmail itself adds "
	const whose = "received: {whose: [authenticated]}\n"
	cases := []struct {
		name, config, cf, want string
	}{
		{"one filter line, and nobody is to be hidden", "", stockField, ""},
		{"one filter line, and somebody is", whose, stockField,
			own + "shows the client of all mail, also of the mail that received is about; milterd.m4 gives it a form without the client"},
		{"by the rule of a port", "ports: {587: {received: scrub}}\n", stockField,
			own + "shows the client of all mail, also of the mail that received is about; milterd.m4 gives it a form without the client"},
		{"only versions are taken out", "received: {whose: [relayed], client: false}\n", stockField, ""},
		{"scrubbing is off", "received: {mode: off, whose: [relayed]}\n", stockField, ""},
		{"with the include", whose, hidingField + asksMap + asks + calls, ""},
		{"with the include, and nobody is to be hidden", "received: {from: from mail}\n", hidingField + asksMap + asks + calls, ""},
		{"nothing asks", whose, hidingField + asksMap, own + "shows the client of all mail: no ruleset calls milterd_rcpt (MILTERD_NO_RULESETS)"},
		{"nothing calls what asks", whose, hidingField + asksMap + asks, own + "shows the client of all mail: no ruleset calls milterd_rcpt (MILTERD_NO_RULESETS)"},
		{"a ruleset of one's own calls it", whose, hidingField + asksMap + "SLocal_check_mail\nR$*\t$: $> \"milterd_rcpt\" $1\n" + asks, ""},
		{"a ruleset of one's own asks by itself", whose, hidingField + asksMap + strings.Replace(asks, "milterd_rcpt", "Local_check_rcpt", 1), ""},
		{"another text for the client", "received: {whose: [authenticated], from: from mail}\n", hidingField + asksMap + asks + calls,
			own + `says "from SMTP" in place of the client (MILTERD_FROM), and received.from is "from mail"`},
		{"another text for the version", "received: {whose: [authenticated], by: \"\"}\n", hidingField + asksMap + asks + calls,
			own + `says "(SMTP server)" in place of its version (MILTERD_BY), and received.by is ""`},
		{"the map of the field leads elsewhere", whose, hidingField + strings.Replace(asksMap, "-f local:/run/milterd/map.sock", "-f local:/run/m.sock", 1) + asks + calls,
			"DIR/sendmail.cf:5: the map milterd is the socket local:/run/m.sock, which is not listen.map (local:/run/milterd/map.sock), so sendmail does not ask milterd about recipients"},
		{"with an older include", whose, hidingField + strings.Replace(asksMap, "Kmilterd socket -q -f", "Kreceived socket -T<TMPF>", 1) + asks + calls,
			"DIR/sendmail.cf:5: the rules are those of an older milterd.m4, by which sendmail does not ask milterd about each recipient: install the new one, and make sendmail.cf anew"},
		{"the access map is defined again behind the include", "", hidingField + asksMap + asks + calls + "Kaccess hash -T<TMPF> DIR/access\n",
			"DIR/sendmail.cf:10: the access map is defined again, after line 4 made it milterd, and the last one counts, so sendmail's own rules do not ask milterd; milterd.m4 takes the place of FEATURE(`access_db')"},
		{"the access map is defined again before the include", "", "Kaccess hash -T<TMPF> DIR/access\n" + asksMap, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"access": "", "sendmail.cf": c.cf + filters + "C{TrustAuthMech}PLAIN\nScheck_rcpt\n"})
			_, warnings := build(t, dir, "sendmail: {cf: sendmail.cf}\naccess: {file: access}\n"+c.config)
			wantWarnings(t, warnings, c.want)
		})
	}
}

func TestScrubbingHasAModeOnEachPort(t *testing.T) {
	c, err := Parse("milterd.yaml", []byte("ports: {587: {checks: {received: shadow, rdns: off}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Ports["587"].Checks; got["received"] != policy.ModeShadow || got["rdns"] != policy.ModeOff {
		t.Errorf("modes %v", got)
	}
	_, err = Parse("milterd.yaml", []byte("ports:\n  587: {checks: {received: scrub}}\n"))
	const want = `milterd.yaml:2: ports.587.checks.received: "scrub", expected enforce, shadow or off`
	if err == nil || err.Error() != want {
		t.Errorf("error %v, expected %s", err, want)
	}
}
