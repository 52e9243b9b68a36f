package sendmail

import (
	"strings"
	"testing"
)

// TestRulesThatAcceptArePointedOut has ways in which real sendmail.cf files relay
// without the access table: LINE and the beginning of what is said, or nothing.
func TestRulesThatAcceptArePointedOut(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a popauth map in Local_check_rcpt", "SLocal_check_rcpt\nR$*\t$: <$(popauth $&{client_addr} $: ? $)>\nR<?>\t$@ x\nR<$*>\t$# OK\n",
			"4: Local_check_rcpt accepts by a rule of your own, <$*> -> $#OK; milterd does not follow it"},
		{"a hook with a number", "SLocal_check_mail=99\nR$* @ friend.example\t$#ok\n", "2: Local_check_mail accepts"},
		{"for clients", "SLocal_check_relay\nR$* $| 10.$*\t$#OK\n", "2: Local_check_relay accepts"},
		{"for mechanisms", "SLocal_Relay_Auth\nR$*\t$# RELAY\n", "2: Local_Relay_Auth accepts"},
		{"several rules", "SLocal_check_rcpt\nRa\t$#OK\nRb\t$#OK\n", "2: Local_check_rcpt accepts by a rule of your own, a -> $#OK (and more such rules); milterd"},
		{"a ruleset that it calls", "SLocal_check_rcpt\nR$*\t$: $>popip $1\nR$#$*\t$#$1\nSpopip\nR$*\t$: $(popip $&{client_addr} $)\nR$+\t$# RELAY\n",
			"6: Local_check_rcpt accepts by a rule of your own, $+ -> $#RELAY"},
		{"in quotes, and round in circles", "SLocal_check_rcpt\nR$*\t$: $1 $| $>\"a\" $1\nSa\nR$*\t$: $>a $1\nR$*\t$: $>b $1\nSb\nR$*\t$>a\nRx\t$#TEMP\n", "8: Local_check_rcpt accepts"},
		{"a mailer that the rule finds", "SLocal_check_rcpt\nR$*\t$# $(what $1 $)\n", "2: Local_check_rcpt accepts"},
		{"one that only refuses", "SLocal_check_rcpt\nRx\t$#error $@ 5.7.1 $: \"550 no\"\nRy\t$#Discard $: x\nRz\t$@ OK\n", ""},
		{"one that hands on", "SLocal_check_rcpt\nR$*\t$: $1 $| $>mine $1\nR$* $| $#$*\t$#$2\nSmine\nRx\t$#ERROR $: no\n", ""},
		{"one that looks at addresses", "SLocal_check_rcpt\nR$*\t$: $>CanonAddr $1\nSCanonAddr\nR$*\t$: $>Parse0 $1\nSParse0\nR$*\t$#local $: $1\n", ""},
		{"milterd's own", "SLocal_check_rcpt\nR$*\t$: $1 $| $>milterd_check $1\nR$* $| $#$*\t$#$2\nSmilterd_check\nRRELAY\t$#RELAY\n", ""},
		{"a ruleset that nothing calls", "Smine\nR$*\t$#OK\n", ""},
		{"FEATURE(drac)", "SRelay_ok\nR$*\t$: <> $(drac $1 $: <?> $1 $)\nR<> <?> $+\t$: $1\nR<> $+\t$@ RELAY\n", "2: Relay_ok relays by the map of FEATURE(drac); milterd does not"},
		{"a map put into Relay_ok", "SRelay_ok\nR$*\t$: $(whoson $1 $: ? $)\n", "2: Relay_ok relays by the map whoson;"},
		{"a class put into Relay_ok", "SRelay_ok\nR$={MyNets} $*\t$@ RELAY\n", "2: Relay_ok relays by the class MyNets;"},
		{"a network put into Relay_ok", "SRelay_ok\nR192.0.2.$-\t$@ RELAY\n", "2: Relay_ok relays by the address 192.0.2.$-;"},
		{"domains put into Rcpt_ok", "SRcpt_ok\nR$+ < @ $=V >\t$@ RELAY\n", "2: Rcpt_ok relays by the class V;"},
		{"a blank before the name of the map", "SRelay_ok\nR$*\t$: $( whoson $1 $: ? $)\n", "2: Relay_ok relays by the map whoson;"},
		{"the stock rules", "SRelay_ok\nR0\t$@ RELAY\nR127.0.0.1\t$@ RELAY\nR$=R $*\t$@ RELAY\nR$*\t$: $>A <$1> <?> <+ Connect> <$1>\nSRcpt_ok\nR$* $| $={TrustAuthMech}\t$# RELAY\nR$+ < @ $* $=m >\t$@ RELAY\n", ""},
	} {
		got := problems(read(t, c.text))
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" || strings.Count(got, "\n") > 0 {
			t.Errorf("%s: %q, expected %q", c.name, got, c.want)
		}
	}
}

// TestNoFeatureIsTakenForARuleOfOnesOwn has each FEATURE that milterd follows.
func TestNoFeatureIsTakenForARuleOfOnesOwn(t *testing.T) {
	for _, f := range featureLines {
		config, err := Parse(generate(t, "FEATURE(`access_db', `', `"+f.argument+"')", f.line), "vm.example.test")
		if err != nil {
			t.Fatal(err)
		}
		if got := problems(config); strings.Contains(got, " relays by ") {
			t.Errorf("%s: %s", f.name, got)
		}
	}
}

func TestOtherWaysOfRelayingArePointedOut(t *testing.T) {
	for text, want := range map[string]string{
		"O DeliveryMode=deferred\n":   "1: DeliveryMode is deferred",
		"O DeliveryMode=background\n": "",
		// Class m is used by FEATURE(relay_entire_domain) only.
		"Fm|/bin/names\n": "",
		"Fm|/bin/names\nSRcpt_ok\nR$+ < @ $* $=m >\t$@ RELAY\n": "1: class m: the output of a program",
	} {
		if got := problems(read(t, text)); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%q: %q, expected %q", text, got, want)
		}
	}
}

func TestRulesetsThatAreCalledAndNotThere(t *testing.T) {
	for rules, want := range map[string]string{
		"SLocal_check_mail\nR$*\t$: $>Nowhere $1 $>\"Nowhere\" $1": "Nowhere",
		"SLocal_check_mail\nR$*\t$: $>canonify $1 $>3 $1 $>$1 x":   "",
		"SLocal_check_mail\nR$*\t$: $>LATER $1\nSlater\nR$*\t$@ x": "LATER",
	} {
		config, err := Parse(generate(t, "LOCAL_RULESETS", rules), "vm.example.test")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, call := range config.Undefined {
			got = append(got, call.Value)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", rules, got, want)
		}
	}
}
