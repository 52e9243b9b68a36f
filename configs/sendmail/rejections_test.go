package sendmail

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFactsOfAGeneratedSendmailCF(t *testing.T) {
	c, err := Parse(generate(t,
		"FEATURE(`access_db', , `skip')",
		"FEATURE(`greet_pause', `1000')", "FEATURE(`conncontrol')", "FEATURE(`ratecontrol')", "FEATURE(`block_bad_helo')",
		"FEATURE(`require_rdns')",
		"FEATURE(`dnsbl', `bl.example')",
		"FEATURE(`enhdnsbl', `multi.example', `\"521 Go \" $&{client_name}', `t', `127.0.0.2.', `127.0.0.3.')",
		"FEATURE(`enhdnsbl', `network.example', `', `', `127.0.0.$-.', `127.0.1.2.')",
		"FEATURE(`enhdnsbl', `more.example', `', `', `127.0.0.2.', `127.$+', `discard')",
		"FEATURE(`dnsbl', `quiet.example', `discard')",
		"FEATURE(`rhsbl', `names.example')",
		"FEATURE(`drac')",
		"FEATURE(`no_default_msa')",
		"define(`SMART_HOST', `relay.example')",
		"DAEMON_OPTIONS(`Name=MTA, Port=smtp, M=A')",
		"DAEMON_OPTIONS(`port=587, Addr=203.0.113.25, Modifiers=Ea, N=MSA, Family=inet6')"), "vm.example.test")
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]Fact{
		"greet_pause": c.GreetPause, "conncontrol": c.ConnControl, "ratecontrol": c.RateControl, "block_bad_helo": c.BlockBadHELO,
		"smart host": c.SmartHost, "an option": c.Options.Get("MAXHOPCOUNT"),
	} {
		if f.Line == 0 && name != "an option" {
			t.Errorf("%s is not seen", name)
		}
	}
	if c.GreetPause.Value != "1000" || c.SmartHost.Value != "relay.example" {
		t.Errorf("greet_pause %q, smart host %q", c.GreetPause.Value, c.SmartHost.Value)
	}
	if len(c.RelayMaps) != 1 || c.RelayMaps[0].Value != "drac /etc/mail/drac" || len(c.Reopened) != 0 {
		t.Errorf("relay maps %v, rulesets given twice %v", c.RelayMaps, c.Reopened)
	}
	if c.Received.Line == 0 || !c.Received.ShowsClient || !c.Received.ShowsVersion {
		t.Errorf("Received: %+v", c.Received)
	}
	for i := range c.DNSLists {
		c.DNSLists[i].Line = 0
	}
	lists := []DNSList{
		{Zone: "bl.example", Reply: "550 5.7.1 Rejected: {addr} listed at bl.example"},
		{Zone: "multi.example", Answers: []string{"127.0.0.2", "127.0.0.3"}, Reply: "521 5.7.1 Go {name}", Temporary: "451 4.4.3 Temporary lookup failure of {addr} at multi.example"},
		{Zone: "network.example", Answers: []string{"127.0.0.$-", "127.0.1.2"}, Reply: "550 5.7.1 Rejected: {addr} listed at network.example"},
		{Zone: "more.example", Reply: "550 5.7.1 Rejected: {addr} listed at more.example"},
		{Zone: "quiet.example"},
		{Zone: "names.example", Names: true, Reply: "550 5.7.1 Mail from {listed} refused by blackhole site names.example"},
	}
	if diff := cmp.Diff(lists, c.DNSLists); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
	daemons := c.Daemons[len(c.Daemons)-2:]
	for i := range daemons {
		daemons[i].Line = 0
	}
	if diff := cmp.Diff([]Daemon{
		{Name: "MTA", Port: "25", Flags: "A", Fields: []string{"Name=MTA", "Port=smtp", "M=A"}}, {Name: "MSA", Port: "587", Family: "inet6", Addr: "203.0.113.25", Flags: "Ea", Fields: []string{"port=587", "Addr=203.0.113.25", "Modifiers=Ea", "N=MSA", "Family=inet6"}},
	}, daemons); diff != "" {
		t.Errorf("daemons (-want +got):\n%s", diff)
	}
	if d := daemons[0]; d.Offers() || d.Demands() {
		t.Error("M=A offers AUTH")
	}
	if d := daemons[1]; !d.Offers() || !d.Demands() {
		t.Error("M=Ea does not demand AUTH")
	}
}

func TestReverseDNSRules(t *testing.T) {
	const own = "SLocal_check_relay\nR$*\t$: $&{client_resolve}\nRTEMP\t$#error $@ 4.7.1 $: \"450 No PTR for \" $&{client_addr}\nRFAIL\t$#error $: No PTR\n"
	cases := map[string]struct {
		text string
		want RDNS
	}{
		"rules of one's own":             {own, RDNS{Temp: Fact{"450 4.7.1 No PTR for {addr}", 3}, Fail: Fact{"550 5.7.1 No PTR", 4}, Early: true}},
		"in brackets, behind the sender": {"Sx\nR$*\t$: $1 $| <$&{client_resolve}>\nR$* $| <FORGED>\t$#error $@ 5.7.25 $: 550 forged\n", RDNS{Forged: Fact{"550 5.7.25 forged", 3}, Early: true}},
		"the stock rules on relaying":    {"SRelay_ok\nR$*\t$: < $&{client_resolve} >\nR<FAIL>\t$#error $@ 5.7.1 $: \"550 x\"\n", RDNS{}},
		"a rule that takes":              {"Sx\nR$*\t$: $&{client_resolve}\nRFAIL\t$# OK\n", RDNS{}},
		"a word that is no state":        {"Sx\nR$*\t$: $&{client_addr}\nRFAIL\t$#error $: 550 x\n", RDNS{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, read(t, c.text).RDNS); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
