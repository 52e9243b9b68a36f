package attack

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"milterd/integration/harness"
)

// delayed are the checks of client and sender that sendmail makes at RCPT: Debian's file
// has FEATURE(delay_checks).
const delayed = "FEATURE(`block_bad_helo')dnl\nFEATURE(`dnsbl', `sbl.example', `\"550 listed\"')dnl\nLOCAL_RULESETS\n" +
	"SLocal_check_mail\nR$*evil$*\t$#error $@ 5.7.1 $: \"550 sender\"\nSLocal_check_relay\nR$*\t$: $&{client_addr}\nR192.0.2.99\t$#error $@ 5.7.1 $: \"550 client\"\n"

// callersDelayed come with a HELO and a sender that one of the checks refuses, or that all
// let pass.
var callersDelayed = []struct{ addr, helo, from string }{
	{"192.0.2.70", "good.example", "a@good.example"}, {"192.0.2.70", "localhost", "a@good.example"}, {"192.0.2.70", "[203.0.113.25]", "a@good.example"},
	{"192.0.2.88", "good.example", "a@good.example"}, {"192.0.2.99", "good.example", "a@good.example"}, {"192.0.2.70", "good.example", "a@evil.example"},
	{"192.0.2.70", "good.example", "a@nonexistent.invalid"}, {"192.0.2.70", "good.example", "a@unqualified"},
	{"192.0.2.77", "good.example", "a@good.example"}, {"192.0.2.77", "localhost", "a@good.example"}, {"192.0.2.77", "good.example", "a@evil.example"},
	{"192.0.2.16", "good.example", "a@good.example"}, {"192.0.2.70", "good.example", "bad@good.example"},
}

// TestWhatIsRelayedIsCheckedAsWithoutTheMapDoor compares sendmail alone with sendmail that
// asks the map door: a recipient that is relayed for everybody, or for the client's
// network, is spared none of sendmail's own checks. A login and a grant spare them.
func TestWhatIsRelayedIsCheckedAsWithoutTheMapDoor(t *testing.T) {
	const table = relays + "To:granted.example\tRELAY\nConnect:192.0.2.77\tRELAY\nSpam:friend@\tFRIEND\nConnect:192.0.2.16\tREJECT\nFrom:bad@good.example\tREJECT\n"
	for _, mode := range []string{"enforce", "shadow"} {
		var want []string
		for _, d := range []struct{ name, include, access string }{
			{"sendmail alone", "", table}, {"both doors", bothDoors, ""}, {"one question", noFilter + bothDoors, ""}, {"both doors without the table", noAccess + bothDoors + limitsAlone, ""},
			{"rules of one's own", "define(`MILTERD_NO_RULESETS', `')dnl\n" + bothDoors + "LOCAL_RULESETS\nSLocal_check_rcpt\nR$*\t$: $>milterd_rcpt $1\n", ""},
		} {
			noTable := strings.Contains(d.include, noAccess)
			t.Run(mode+", "+d.name, func(t *testing.T) {
				start(t, harness.Options{
					Include: d.include, Access: d.access, Config: config + "mode: " + mode + "\n", Files: map[string]string{"access": table + limits}, MC: "define(`confALLOW_BOGUS_HELO', `True')dnl\n" + delayed,
					DNS:            append([]string{"88.2.0.192.sbl.example. A 127.0.0.2", "60.113.0.203.sbl.example. A 127.0.0.2", "evil.example. A 198.51.100.82", "granted.example. A 198.51.100.80"}, records...),
					LocalHostNames: own + "\n", RelayDomains: partner + "\n", Mailboxes: []string{"shin", "friend"}, Users: map[string]string{"shin": "secret"},
				})
				var got []string
				for _, c := range callersDelayed {
					for _, to := range []string{"shin@" + own, "friend@" + own, "x@" + partner, "y@granted.example", "friend@granted.example", "z@" + victim, "x@" + partner} {
						got = append(got, fmt.Sprintf("%s %s %s to %s: %s", c.addr, c.helo, c.from, to, replyTo(t, caller{addr: c.addr}, c.helo, c.from, to)))
					}
				}
				if want == nil {
					want = got
					if all := strings.Join(got, "\n"); strings.Count(all, ": 250") < 20 || strings.Count(all, ": 55") < 20 {
						t.Errorf("sendmail alone:\n%s", all)
					}
					return
				}
				for i := range want {
					// Without the table sendmail knows no friends, and in shadow mode no entries.
					unknown := noTable && (strings.Contains(want[i], " to friend@") || mode == "shadow" && strings.Contains(want[i], "bad@") || mode == "shadow" && strings.HasPrefix(want[i], "192.0.2.16"))
					if got[i] != want[i] && !unknown {
						t.Errorf("%s, and sendmail alone %s", got[i], want[i])
					}
				}
				if out, err := exec.Command(world.Binary, "-config", harness.ConfigFile, "-grant", granted).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				for _, c := range []caller{{addr: granted}, {addr: "192.0.2.88", auth: "PLAIN"}} {
					if reply := replyTo(t, c, "localhost", "a@good.example", "z@"+victim); reply != "250" {
						t.Errorf("%+v relays: %s", c, reply)
					}
				}
			})
		}
	}
}

// replyTo is the code of the reply to a recipient, or to the sender if that is refused.
func replyTo(t *testing.T, c caller, helo, from, to string) string {
	t.Helper()
	conn, err := c.open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, line := range []string{"EHLO " + helo, "MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">"} {
		reply, err := conn.Command(line)
		if err != nil {
			t.Fatal(err)
		}
		if reply.Code != 250 || strings.HasPrefix(line, "RCPT") {
			return fmt.Sprint(reply.Code)
		}
	}
	return ""
}
