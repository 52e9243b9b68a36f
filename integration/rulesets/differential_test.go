package rulesets

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
	"milterd/policy/access"
)

const sessionsPerTable = 150

func setting(t *testing.T, name string, fallback int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%q, expected a number", name, text)
	}
	return n
}

// newGenerators gives each table a generator of its own, so that one table of a
// run can be asked again with MILTERD_TEST_SEED.
func newGenerators(t *testing.T) (seed int, generators []generator) {
	t.Helper()
	seed = setting(t, "MILTERD_TEST_SEED", int(rand.Uint32()))
	n := setting(t, "MILTERD_TEST_TABLES", 40)
	t.Logf("MILTERD_TEST_SEED=%d MILTERD_TEST_TABLES=%d", seed, n)
	for i := range n {
		generators = append(generators, generator{rand.New(rand.NewPCG(uint64(seed), uint64(i)))})
	}
	return seed, generators
}

func mustParse(t testing.TB, f access.Features, table string) *access.Table {
	t.Helper()
	parsed, problems, err := access.Parse("access", strings.NewReader(table), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !p.Warning {
			t.Fatalf("%s\n%s", p, table)
		}
	}
	return parsed
}

func mustReply(t testing.TB, s string) policy.Reply {
	t.Helper()
	r, err := policy.ParseReply(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newPolicy is milterd set up as newSendmail sets sendmail up.
func newPolicy(t testing.TB, f access.Features, table string) *policy.Policy {
	t.Helper()
	deny := mustReply(t, "550 5.7.1 Relaying denied. Proper authentication required.")
	reject := policy.TableCheck{Reject: mustReply(t, "550 5.7.1 Access denied")}
	return &policy.Policy{
		Access: mustParse(t, f, table), Features: f, Hostname: hostname,
		Domain: "example.test", OwnDomains: policy.NewClass("example.test"),
		Local: policy.NewClass(append([]string{hostname, "localhost", "mx", "[127.0.0.1]"}, localDomains...)...),
		Relay: policy.NewClass(relayDomains...),
		Checks: policy.Checks{
			Recipient: policy.TableCheck{Reject: mustReply(t, "550 5.2.1 Mailbox disabled for this recipient")},
			Sender:    reject, Client: reject,
			Relay: policy.RelayCheck{
				Deny: deny, DenyAuth: deny,
				Temp:   mustReply(t, "450 4.4.0 Relaying temporarily denied. Cannot resolve PTR record for {addr}"),
				Fail:   mustReply(t, "550 5.7.1 Relaying denied. IP name lookup failed {name}"),
				Forged: mustReply(t, "550 5.7.1 Relaying denied. IP name possibly forged {name}"),

				TrustAuthMech: trustedMechs,
			},
			RDNS: policy.RDNSCheck{Mode: policy.ModeOff}, SenderDomain: policy.SenderDomainCheck{Mode: policy.ModeOff},
		},
	}
}

// macros are the facts of a session as sendmail's rulesets see them.
func (s session) macros() [][2]string {
	tlsVersion := ""
	if s.tls.Verify != "" {
		tlsVersion = "TLSv1.3"
	}
	return [][2]string{
		{"{client_addr}", s.conn.ClientAddr()}, {"{client_name}", s.conn.Name}, {"{client_ptr}", s.conn.PTR},
		{"{client_resolve}", string(s.conn.Resolve)}, {"{auth_type}", s.auth.Type}, {"{auth_authen}", s.auth.Authen},
		{"{verify}", s.tls.Verify}, {"{cert_issuer}", s.tls.CertIssuer}, {"{cert_subject}", s.tls.CertSubject},
		{"f", s.from}, {"{mail_from}", "<" + s.from + ">"}, {"s", "client.example"}, {"{tls_version}", tlsVersion},
	}
}

// decision is a verdict in a form both sides can be put into.
type decision struct {
	Action   policy.Action
	Code     int
	Enhanced string
	// Text has no spaces and quotes: sendmail's tokens lose them.
	Text string
}

var squeeze = strings.NewReplacer(" ", "", `"`, "")

// decide reads what a ruleset returned as sendmail's rscheck and error mailer do.
func (a answer) decide() decision {
	rest, ok := strings.CutPrefix(a.result, "$# error")
	if !ok {
		if strings.HasPrefix(a.result, "$# discard") {
			return decision{Action: policy.ActionDiscard}
		}
		return decision{Action: policy.ActionAccept}
	}
	status, text, _ := strings.Cut(rest, "$:")
	status = squeeze.Replace(strings.TrimPrefix(strings.TrimSpace(status), "$@"))
	if status == "quarantine" {
		return decision{Action: policy.ActionQuarantine, Text: squeeze.Replace(text)}
	}
	text = strings.TrimSpace(strings.ReplaceAll(text, `"`, ""))
	d := decision{Action: policy.ActionReject, Code: 553, Enhanced: "5.3.0"}
	if code, rest, ok := strings.Cut(text, " "); ok && len(code) == 3 && strings.Trim(code, "0123456789") == "" {
		d.Code, _ = strconv.Atoi(code)
		text, d.Enhanced = rest, status
		if status == "" {
			d.Enhanced = code[:1] + ".0.0"
		}
		// An enhanced code at the beginning of the text wins: "5 . 7 . 9 Not here".
		for i, word := 0, ""; i < len(text) && i < 20; i++ {
			if text[i] == ' ' {
				continue
			}
			if word += text[i : i+1]; enhanced(word) && (i+1 == len(text) || text[i+1] == ' ') && !strings.HasPrefix(strings.TrimSpace(text[i+1:]), ".") {
				d.Enhanced, text = word, text[i+1:]
				break
			}
		}
	}
	if d.Code < 500 {
		d.Action = policy.ActionTempfail
	}
	d.Text = squeeze.Replace(text)
	return d
}

func enhanced(s string) bool {
	parts := strings.Split(s, ".")
	return len(parts) == 3 && strings.Trim(parts[0]+parts[1]+parts[2], "0123456789") == "" && parts[1] != "" && parts[2] != "" && len(parts[0]) == 1
}

func decisionOf(v policy.Verdict) decision {
	return decision{Action: v.Action, Code: v.Reply.Code, Enhanced: v.Reply.Enhanced, Text: squeeze.Replace(v.Reply.Text)}
}

// refusedAddress reports whether sendmail refused the address itself, before it
// looked at any rule: ruleset 0's 5.1.x errors.
func refusedAddress(d decision) bool {
	return d.Code == 553 && (strings.HasPrefix(d.Enhanced, "5.1.2") || strings.HasPrefix(d.Enhanced, "5.1.3") || d.Enhanced == "nouser")
}

// same reports whether two decisions agree. What sendmail refuses as an address
// milterd must not take either, unless it trusts the client; it may give its own
// reason. To: QUARANTINE ends sendmail's check_rcpt before it asks whether the
// recipient may be relayed to; milterd asks that all the same.
func same(want, got decision, last policy.Verdict, s session) bool {
	if refusedAddress(want) {
		return got.Action != policy.ActionAccept || s.auth.Type != "" || s.tls.Verify != ""
	}
	if want.Action == policy.ActionQuarantine && last.Check == "relay" {
		return last.Trace[0].Check == "recipient" && last.Trace[0].Result == "quarantine"
	}
	return want == got
}

func TestSessionsAreDecidedAsBySendmail(t *testing.T) {
	requireSendmail(t)
	seed, generators := newGenerators(t)
	for i, g := range generators {
		t.Run(fmt.Sprintf("table-%d", i), func(t *testing.T) {
			t.Parallel()
			u := standard(g.features(), g.table())
			compare(t, seed, g, u, newSendmail(t, u), newPolicy(t, u.features, u.table))
		})
	}
}

// compare puts the same sessions to both sides.
func compare(t *testing.T, seed int, g generator, u setUp, s *sendmail, p *policy.Policy) {
	t.Helper()
	sessions := make([]session, sessionsPerTable)
	var queries []query
	for i := range sessions {
		sessions[i] = g.session()
		queries = append(queries, sessions[i].queries(u.features)...)
	}
	answers := s.ask(t, queries)
	different := 0
	for _, s := range sessions {
		want := s.wanted(u.features, &answers)
		got, verdicts := s.asked(p)
		if !same(want, got, verdicts[len(verdicts)-1], s) {
			different++
			if different <= 3 {
				t.Errorf("seed %d, features %+v\nsession %+v\nsendmail: %+v\nmilterd:  %+v\nverdicts: %+v",
					seed, u.features, s, want, got, verdicts)
			}
		}
	}
	if different > 0 {
		t.Errorf("%d of %d sessions differ; the table:\n%s\nthe classes:\n%s%s%q", different, len(sessions), u.table, u.classes, u.config, u.files)
	}
}

// queries are the rulesets sendmail calls for a session: without delay_checks
// check_relay and check_mail come first.
func (s session) queries(f access.Features) []query {
	rcpt := query{macros: s.macros(), ruleset: "check_rcpt", input: "<" + s.to + ">"}
	if f.DelayChecks {
		return []query{rcpt}
	}
	return []query{
		{macros: s.macros(), ruleset: "ask_relay", input: "now"},
		{ruleset: "check_mail", input: "<" + s.from + ">"},
		rcpt,
	}
}

// wanted is what the client of a session is told in the end by sendmail.
func (s session) wanted(f access.Features, answers *[]answer) decision {
	n := len(s.queries(f))
	mine := (*answers)[:n]
	*answers = (*answers)[n:]
	var d decision
	for _, a := range mine {
		if d = a.decide(); d.Action != policy.ActionAccept {
			return d
		}
	}
	return d
}

// asked puts a session to milterd.
func (s session) asked(p *policy.Policy) (decision, []policy.Verdict) {
	session := p.NewSession(s.conn, nil)
	session.Helo("client.example", s.tls)
	mail := session.Mail(s.auth, policy.Mail{From: s.from})
	if mail.Action != policy.ActionAccept {
		return decisionOf(mail), []policy.Verdict{mail}
	}
	rcpt := session.Rcpt(policy.Recipient{To: s.to})
	return decisionOf(rcpt), []policy.Verdict{mail, rcpt}
}

// TestLookupsAskTheSameKeys compares the look-up rulesets themselves: the value
// they return and every key they ask for, in order.
func TestLookupsAskTheSameKeys(t *testing.T) {
	requireSendmail(t)
	seed, generators := newGenerators(t)
	for i, g := range generators {
		if i%2 == 1 {
			continue
		}
		t.Run(fmt.Sprintf("table-%d", i), func(t *testing.T) {
			t.Parallel()
			features, table := g.features(), g.table()
			var queries []query
			var wants []lookup
			for range 2 * sessionsPerTable {
				l := g.lookup()
				wants = append(wants, l)
				queries = append(queries, l.query())
			}
			answers := newSendmail(t, standard(features, table)).ask(t, queries)
			parsed := mustParse(t, features, table)
			for i, l := range wants {
				search := access.Search{Table: parsed, Features: &features}
				match := l.run(&search)
				want := lookupAnswer{Value: strings.Join(strings.Fields(answerValue(answers[i].result)), ""), Keys: answers[i].keys}
				got := lookupAnswer{Value: "?"}
				if match.Found() {
					got.Value = squeeze.Replace(match.Probe.Value)
				}
				for _, p := range search.Probes {
					got.Keys = append(got.Keys, p.Name())
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("seed %d: %s %s, features %+v (-sendmail +milterd):\n%s\nsendmail returned %s", seed, queries[i].ruleset, queries[i].input, features, diff, answers[i].result)
				}
			}
		})
	}
}

type lookupAnswer struct {
	Value string
	Keys  []string
}

// answerValue is the first <…> of a look-up's result.
func answerValue(result string) string {
	value, _, _ := strings.Cut(strings.TrimPrefix(result, "<"), " >")
	return strings.ReplaceAll(value, `"`, "")
}

// lookup is one call of a look-up ruleset.
type lookup struct {
	kind byte
	tag  access.Tag
	key  string
}

func (g generator) lookup() lookup {
	l := lookup{tag: access.Tag{Name: pick(g, "connect", "from", "to", "spam"), Only: g.chance(30)}}
	switch l.kind = pick(g, byte('D'), byte('A'), byte('F'), byte('E'), byte('U')); l.kind {
	case 'D':
		l.key = pick(g, pick(g, domains...), g.domain(), "["+access.FormatAddr(g.session().conn.Addr)+"]", "."+pick(g, domains...))
	case 'A':
		l.key = access.FormatAddr(g.session().conn.Addr)
	case 'F', 'E':
		l.key = pick(g, users...) + "@" + pick(g, domains...)
	case 'U':
		l.key = pick(g, users...) + "@"
	}
	if l.key == "" || l.key == "[]" {
		l.key = "203.0.113.8"
	}
	return l
}

func (l lookup) query() query {
	mark := "+"
	if l.tag.Only {
		mark = "!"
	}
	return query{ruleset: string(l.kind), input: fmt.Sprintf("<%s> <?> <%s %s> <rest>", l.key, mark, l.tag.Name)}
}

func (l lookup) run(s *access.Search) access.Match {
	switch l.kind {
	case 'D':
		return s.Domain(l.tag, l.key)
	case 'A':
		return s.Address(l.tag, l.key)
	}
	return s.List(l.tag, access.Item{Kind: l.kind, Key: l.key})
}
