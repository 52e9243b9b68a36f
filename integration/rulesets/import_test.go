package rulesets

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"milterd/configs"
	"milterd/configs/advice"
	"milterd/policy"
	"milterd/policy/access"
)

// guide are the lines of an old guide: POP before SMTP by a map that poprelayd fills,
// and refusals of clients without reverse DNS, before anything else is asked.
const guide = "Kpopauth hash -a<MATCH> FILES/popip\n" +
	"LOCAL_RULESETS\n" +
	"SLocal_check_relay\n" +
	"R$*\t$: $&{client_resolve}\n" +
	"RTEMP\t$#error $@ 4.7.1 $: \"450 Access denied. Cannot resolve PTR record for \" $&{client_addr}\n" +
	"RFORGED\t$#error $@ 4.7.1 $: \"450 Access denied. IP name possibly forged \" $&{client_name}\n" +
	"RFAIL\t$#error $@ 4.7.1 $: \"450 Access denied. IP name lookup failed \" $&{client_name}\n" +
	"SLocal_check_rcpt\n" +
	"R$*\t$: $1 $| $&{client_addr}\n" +
	"R$* $| $+\t$: $1 $| $(popauth $2 $: <?> $)\n" +
	"R$* $| $*<MATCH>\t$# OK\n" +
	"R$* $| $*\t$@ NoPopAuth\n"

// reader is a client of the guide that has read mail, or one that has not.
type reader struct {
	policy.Answers
	state policy.GrantState
}

func (reader) Begin(policy.Needs)          {}
func (reader) Prepare(policy.MessageNeeds) {}
func (reader) EndMessage()                 {}
func (reader) Close()                      {}
func (r reader) Grant() policy.GrantState  { return r.state }

// TestTheImportOfTheGuideDecidesAsItsSendmail: what that sendmail does not deliver the
// imported configuration does not, and nothing else. How it is not can differ where a
// session has several faults: that sendmail looks at reverse DNS first, milterd last, so
// one of the table's entries may refuse, discard or hold what a 450 would have put off.
// A client that has read mail is one with a grant, which outranks what the table says of
// its name or network: only an entry of its very address refuses it.
func TestTheImportOfTheGuideDecidesAsItsSendmail(t *testing.T) {
	requireSendmail(t)
	seed, generators := newGenerators(t)
	const readMail = "203.0.113.8"
	for i, g := range generators {
		t.Run(fmt.Sprintf("table-%d", i), func(t *testing.T) {
			t.Parallel()
			u := standard(access.Features{Skip: g.chance(50), BlocklistRecipients: g.chance(50)}, g.table())
			u.config += guide
			s := newSendmail(t, u)
			if _, err := runCommand(exec.Command("makemap", "hash", s.path("popip")), readMail+"\tyes\n"); err != nil {
				t.Fatal(err)
			}
			p := s.imported(t)
			sessions := make([]session, sessionsPerTable)
			var queries []query
			for i := range sessions {
				sessions[i] = g.session()
				for !sessions[i].conn.Addr.IsValid() { // this host's own programs have no address
					sessions[i] = g.session()
				}
				queries = append(queries, sessions[i].queries(u.features)...)
			}
			answers := s.ask(t, queries)
			stricter, laxer := 0, 0
			for _, s := range sessions {
				want := s.wanted(u.features, &answers)
				r := reader{state: policy.GrantNone}
				if s.conn.ClientAddr() == readMail {
					r.state = policy.GrantHeld
				}
				got, trace := s.decided(p, r)
				refuses := func(d decision) bool { return d.Action != policy.ActionAccept }
				switch {
				case refusedAddress(want) || refuses(want) == refuses(got):
				case r.state == policy.GrantHeld && refuses(want) && !strings.HasPrefix(want.Text, "Accessdenied.") && got.Action == policy.ActionAccept:
				case refuses(got):
					if stricter++; stricter <= 2 {
						t.Logf("stricter, seed %d: %+v\nsendmail: %+v\nmilterd: %+v %v", seed, s, want, got, trace)
					}
				default:
					if laxer++; laxer <= 3 {
						t.Errorf("laxer, seed %d: %+v\nsendmail: %+v\nmilterd: %+v %v", seed, s, want, got, trace)
					}
				}
			}
			if laxer > 0 || stricter > 0 {
				t.Logf("of %d sessions %d are refused by milterd alone, %d by sendmail alone; the table:\n%s", len(sessions), stricter, laxer, u.table)
			}
		})
	}
}

// imported is the policy of the configuration that -import makes of a sendmail.cf.
func (s *sendmail) imported(t *testing.T) *policy.Policy {
	t.Helper()
	cf, err := configs.ReadSendmailCF(s.path("sendmail.cf"))
	if err != nil {
		t.Fatal(err)
	}
	text := advice.Import(cf, s.path("sendmail.cf"))
	if !strings.Contains(text, "logs: [") {
		t.Errorf("no grants in\n%s", text)
	}
	c, err := configs.Parse(s.path("milterd.yaml"), []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p, _, err := c.Policy()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// decided puts a session to milterd, on port 25.
func (s session) decided(p *policy.Policy, r reader) (decision, []policy.Verdict) {
	session := p.NewSession(s.conn, r)
	session.Helo("client.example", s.tls)
	mail := session.Mail(s.auth, policy.Mail{From: s.from})
	if mail.Action != policy.ActionAccept {
		return decisionOf(mail), []policy.Verdict{mail}
	}
	rcpt := session.Rcpt(policy.Recipient{To: s.to})
	return decisionOf(rcpt), []policy.Verdict{mail, rcpt}
}
