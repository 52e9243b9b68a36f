package rulesets

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"milterd/configs"
	"milterd/configs/advice"
	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/access"
)

// authWithGoaway are the lines of a guide to SMTP AUTH.
const authWithGoaway = "define(`confAUTH_MECHANISMS', `LOGIN PLAIN DIGEST-MD5 CRAM-MD5')dnl\n" +
	"TRUST_AUTH_MECH(`LOGIN PLAIN DIGEST-MD5 CRAM-MD5')dnl\n" +
	"define(`confPRIVACY_FLAGS', `goaway')dnl\n" +
	"define(`confSMTP_LOGIN_MSG', `$j')dnl\n" +
	"define(`confRECEIVED_HEADER', `by $j (SMTP server) with $r id $i$?u for $u; $|; $.$b')dnl\n" +
	"DAEMON_OPTIONS(`Port=smtp, Name=MTA')dnl\n"

// popBeforeSMTP are the lines of an old guide: POP before SMTP by a map that poprelayd fills,
// and refusals of clients without reverse DNS, before anything else is asked.
const popBeforeSMTP = "Kpopauth hash -a<MATCH> FILES/popip\n" +
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
	policy.NoAnswers
	state policy.GrantState
}

func (r reader) Grant() policy.GrantState { return r.state }

// readMail is the client of the poprelayd guide that has read mail.
const readMail = "203.0.113.8"

// guides are old guides, and what makes each of them: whether they have a map of clients
// that have read mail, the lines of their own, the sessions that are theirs, and what their
// imports have to have in them.
var guides = []struct {
	name    string
	reads   bool
	setUp   func(g generator) setUp
	session func(g generator, s session) session
	imports string
}{
	{
		"POP before SMTP, and reverse DNS",
		true,
		func(g generator) setUp {
			u := standard(access.Features{Skip: g.chance(50), BlocklistRecipients: g.chance(50), DelayChecks: g.chance(30)}, g.table())
			u.config += popBeforeSMTP
			return u
		},
		func(_ generator, s session) session { return s },
		"logs: [",
	},
	{
		"DRAC, and reverse DNS",
		true,
		func(g generator) setUp {
			u := standard(access.Features{Skip: g.chance(50), BlocklistRecipients: g.chance(50), DelayChecks: g.chance(30)}, g.table())
			u.classes += "FEATURE(`drac', `hash FILES/popip')dnl\nFEATURE(`require_rdns')dnl\n"
			return u
		},
		func(_ generator, s session) session {
			// milterd spares this host's own addresses.
			if slices.Contains([]string{"127.0.0.1", "::1", "203.0.113.25"}, s.conn.Addr.String()) {
				s.conn.Resolve = policy.ResolveOK
			}
			return s
		},
		"drac: {listen",
	},
	{
		"SMTP AUTH, and goaway",
		false,
		func(g generator) setUp {
			u := standard(access.Features{BlocklistRecipients: true, DelayChecks: true}, g.table())
			u.classes += authWithGoaway
			return u
		},
		func(g generator, s session) session {
			if g.chance(50) {
				s.auth = policy.Auth{Type: pick(g, "LOGIN", "PLAIN", "DIGEST-MD5", "CRAM-MD5", "GSSAPI"), Authen: "shin"}
			}
			s.conn.DaemonPort = pick(g, uint16(25), 587)
			return s
		},
		"587: {auth: allow}",
	},
}

// TestTheImportsOfGuidesDecideAsTheirSendmails: what those sendmails do not deliver the
// imported configurations do not. How they do not can differ where a session has several
// faults: the sendmail of the first guide looks at reverse DNS first, that of the second
// before the recipient, milterd last, so one of the table's entries may refuse, discard or
// hold what a 450 would have put off.
// Whether they do differs for one client only, the one that has read mail: milterd alone
// refuses what that sendmail did not look at once it had found the client in the map, and
// the import says so. testdata/import.differences lists all of these.
func TestTheImportsOfGuidesDecideAsTheirSendmails(t *testing.T) {
	requireSendmail(t)
	seed, generators := newGenerators(t)
	found := &differences{kinds: make(map[string]bool)}
	for _, guide := range guides {
		t.Run(guide.name, func(t *testing.T) {
			for i, g := range generators {
				t.Run(fmt.Sprintf("table-%d", i), func(t *testing.T) {
					t.Parallel()
					u := guide.setUp(g)
					s := newSendmail(t, u)
					if _, err := runCommand(exec.Command("makemap", "hash", s.path("popip")), readMail+"\tyes\n"); err != nil {
						t.Fatal(err)
					}
					text, p := s.imported(t)
					if !strings.Contains(text, guide.imports) {
						t.Errorf("no %q in\n%s", guide.imports, text)
					}
					var sessions []session
					var queries []query
					for len(sessions) < sessionsPerTable {
						// This host's own programs have no address.
						if s := guide.session(g, g.session()); s.conn.Addr.IsValid() {
							sessions = append(sessions, s)
							queries = append(queries, s.queries(u.features)...)
						}
					}
					answers := s.ask(t, queries)
					stricter, laxer := 0, 0
					for _, s := range sessions {
						want := s.wanted(u.features, &answers)
						hasRead := guide.reads && s.conn.ClientAddr() == readMail
						got, trace := s.decided(p, hasRead)
						found.add(guide.name, hasRead, want, got)
						refuses := func(d decision) bool { return d.Action != policy.ActionAccept }
						switch {
						case refusedAddress(want), refuses(want) == refuses(got), refuses(got) && hasRead:
						case refuses(got):
							if stricter++; stricter <= 3 {
								t.Errorf("stricter, seed %d: %+v\nsendmail: %+v\nmilterd: %+v %v", seed, s, want, got, trace)
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
		})
	}
	found.compare(t, "testdata/import.differences")
}

// differences are the kinds of sessions in which an import decides otherwise than its
// sendmail.
type differences struct {
	mu    sync.Mutex
	kinds map[string]bool
}

// lessStrict is what no import may be.
const lessStrict = "less strict"

// add takes a session. What sendmail refuses as no address at all is not compared.
func (d *differences) add(guide string, hasRead bool, sendmail, milterd decision) {
	if refusedAddress(sendmail) || sendmail.does() == milterd.does() {
		return
	}
	how := "another way"
	switch policy.ActionAccept {
	case sendmail.Action:
		how = "stricter"
	case milterd.Action:
		how = lessStrict
	}
	kind := fmt.Sprintf("any client, %s: sendmail %s, milterd %s", how, sendmail.does(), milterd.does())
	if hasRead {
		kind = "the client that has read mail, " + how
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kinds[guide+": "+kind+"\n"] = true
}

// compare fails if there is a kind that a file does not list, or one that is less strict.
func (d *differences) compare(t *testing.T, file string) {
	t.Helper()
	kinds := slices.Sorted(maps.Keys(d.kinds))
	for _, kind := range kinds {
		if strings.Contains(kind, lessStrict) {
			t.Error(kind)
		}
	}
	if *testkit.Update {
		testkit.Golden(t, file, strings.Join(kinds, ""))
		return
	}
	listed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		if !strings.Contains("\n"+string(listed), "\n"+kind) {
			t.Errorf("%s does not list %s", file, kind)
		}
	}
}

// does says what becomes of the mail.
func (d decision) does() string {
	switch {
	case d.Action == policy.ActionAccept:
		return "takes it"
	case d.Action == policy.ActionDiscard:
		return "discards it"
	case d.Action == policy.ActionQuarantine:
		return "holds it"
	case d.Code/100 == 4:
		return "puts it off"
	}
	return "refuses it"
}

// imported is the configuration that -import makes of a sendmail.cf, and its policy.
func (s *sendmail) imported(t *testing.T) (text string, p *policy.Policy) {
	t.Helper()
	cf, err := configs.ReadSendmailCF(s.path("sendmail.cf"))
	if err != nil {
		t.Fatal(err)
	}
	text = advice.Import(cf, s.path("sendmail.cf"))
	c, err := configs.Parse(s.path("milterd.yaml"), []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p, _, err = c.Policy()
	if err != nil {
		t.Fatal(err)
	}
	return text, p
}

// decided puts a session to milterd, as that of a client that has read mail or has not.
func (s session) decided(p *policy.Policy, hasRead bool) (decision, []policy.Verdict) {
	r := reader{state: policy.GrantNone}
	if hasRead {
		r.state = policy.GrantHeld
	}
	session := p.NewSession(s.conn, r)
	session.Helo("client.example", s.tls)
	mail := session.Mail(s.auth, policy.Mail{From: s.from})
	if mail.Action != policy.ActionAccept {
		return decisionOf(mail), []policy.Verdict{mail}
	}
	rcpt := session.Rcpt(policy.Recipient{To: s.to})
	return decisionOf(rcpt), []policy.Verdict{mail, rcpt}
}
