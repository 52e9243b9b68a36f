package advice

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"milterd/configs"
	"milterd/configs/sendmail"
	"milterd/dnscheck"
	"milterd/policy"
)

// importer writes a configuration.
type importer struct {
	strings.Builder
	cf *sendmail.Config
	// name is what the origin of a line is given as.
	name string
	// gone are the lines of the sendmail.mc that are no longer needed, stays what goes
	// on in sendmail.
	gone, stays []string
	// otherwise, laxer and stricter are how it decides otherwise than the sendmail.cf.
	otherwise, laxer, stricter []string
}

// Import writes the configuration that does what a sendmail.cf does, with the origin of
// each line. At its end stand the lines of the sendmail.mc that can go when it is in
// force, and what stays with sendmail.
func Import(cf *sendmail.Config, path string) string {
	m := &importer{cf: cf, name: filepath.Base(path)}
	m.line("# What %s does, for milterd. Names, relaying and the access table are", path)
	m.line("# read from there; a key that is written here wins.")
	m.line("sendmail:")
	m.line("  cf: %s", quoted(path))
	m.features()
	m.checks()
	m.ports()
	m.received()
	m.grants()
	m.rest()
	m.differences()
	return m.String()
}

func (m *importer) line(format string, args ...any) { fmt.Fprintf(m, format+"\n", args...) }

// from writes a line with its origin.
func (m *importer) from(line int, format string, args ...any) {
	m.line("%s  # %s:%d", fmt.Sprintf(format, args...), m.name, line)
}

// quoted is a text as YAML reads it back.
func quoted(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" && strings.ContainsAny(s, "/.") {
		return s
	}
	return strconv.QuoteToASCII(s)
}

func (m *importer) features() {
	names := configs.FeatureNames(m.cf.Features)
	if m.cf.Access.Type == "" || len(names) == 0 {
		return
	}
	m.line("\naccess:")
	m.from(m.cf.Access.Line, "  features: [%s]", strings.Join(names, ", "))
}

func (m *importer) checks() {
	m.line("\nchecks:")
	m.line("  rdns:")
	if m.cf.RDNS == (sendmail.RDNS{}) {
		m.line("    mode: \"off\"  # clients without reverse DNS are taken")
	} else {
		m.gone = append(m.gone, "FEATURE(`require_rdns'), or your own rules with ${client_resolve}")
		for _, state := range []struct {
			key  string
			fact sendmail.Fact
		}{{"temp", m.cf.RDNS.Temp}, {"fail", m.cf.RDNS.Fail}, {"forged", m.cf.RDNS.Forged}} {
			if state.fact.Line == 0 {
				m.line("    %s: {action: accept}", state.key)
			} else {
				m.from(state.fact.Line, "    %s: {action: reject, reply: %s}", state.key, strconv.QuoteToASCII(state.fact.Value))
			}
		}
		if m.cf.RDNS.Early {
			m.exempt(false, false)
		} else {
			m.line("    # relay: the networks of class R, as before, and this host's own addresses")
			m.exempt(true, true)
		}
	}
	lists := m.lists()
	if len(lists) == 0 {
		return
	}
	m.line("  dnsbl:")
	m.exempt(false, true)
	m.line("    lists:")
	for _, l := range lists {
		m.list(l)
	}
	m.laxer = append(m.laxer, "what a DNS list answers to report an error (127.0.0.1, 127.255.255.254), or outside of 127.0.0.0/8, refuses nobody",
		"a DNS list without the entries for tests of RFC 5782 is left out, with a warning in the log; with probe: false it is asked all the same",
		"DNS lists of addresses are not asked about private ones")
	if slices.ContainsFunc(lists, func(l sendmail.DNSList) bool { return l.Names }) {
		m.stricter = append(m.stricter, "DNS lists of names were asked about the sender's alone; now they are asked about those of HELO and PTR, too")
	}
	m.gone = append(m.gone, "FEATURE(`dnsbl', …), FEATURE(`enhdnsbl', …), FEATURE(`rhsbl', …)")
}

// exempt writes which clients a check spares, as sendmail would: those that may relay,
// those that the access table accepts, and with FEATURE(delay_checks) those that have
// logged in and the recipients that are marked.
func (m *importer) exempt(relay, connectOK bool) {
	f := m.cf.Features
	m.line("    exempt: {authenticated: %v, relay: %v, connect_ok: %v, friend: %v, postmaster: false}",
		f.DelayChecks, relay, connectOK, f.Friend || f.Hater)
}

// lists are those that milterd can ask, each zone once: a sendmail.cf can ask one several
// times, about answers of its own each time, and with other texts. Their Answers are as
// milterd writes them.
func (m *importer) lists() []sendmail.DNSList {
	var lists []sendmail.DNSList
	for _, l := range m.cf.DNSLists {
		stays := func(why string) {
			m.stays = append(m.stays, fmt.Sprintf("the list %s (%s:%d), %s", l.Zone, m.name, l.Line, why))
		}
		var never []string
		if l.Answers, never = answers(l); len(never) > 0 {
			stays("where it answers " + strings.Join(never, ", ") + ", which milterd never takes for a listing")
		}
		at := slices.IndexFunc(lists, func(other sendmail.DNSList) bool { return other.Zone == l.Zone })
		switch {
		case l.Reply == "":
			stays("which discards or quarantines")
		case len(l.Answers) == 0:
		case at < 0:
			lists = append(lists, l)
		case l.Names != lists[at].Names:
			stays("which is asked about addresses and about names")
		default:
			first := &lists[at]
			first.Answers = slices.Compact(slices.Sorted(slices.Values(slices.Concat(first.Answers, l.Answers))))
			first.Temporary = cmp.Or(first.Temporary, l.Temporary)
			if l.Reply != first.Reply {
				m.otherwise = append(m.otherwise, fmt.Sprintf("who is listed at %s reads the text of line %d, and not that of line %d", l.Zone, first.Line, l.Line))
			}
		}
	}
	return lists
}

// answers are those of a list that count, as milterd writes them, and those that it takes for
// no listing.
func answers(l sendmail.DNSList) (count, never []string) {
	if len(l.Answers) == 0 {
		return []string{"127.0.0.0/8"}, nil
	}
	for _, answer := range l.Answers {
		code := strings.ReplaceAll(answer, "$-", "[0-255]")
		if _, err := dnscheck.ParseCode(code); err != nil {
			never = append(never, answer)
		} else {
			count = append(count, code)
		}
	}
	return count, never
}

func (m *importer) list(l sendmail.DNSList) {
	keys := []string{"reply: " + strconv.QuoteToASCII(l.Reply), "families: [ipv4]", "codes: ['" + strings.Join(l.Answers, "', '") + "']"}
	if l.Names {
		keys[1] = "kind: domain"
	}
	if l.Temporary != "" {
		keys = append(keys, "on_temporary: tempfail")
	}
	m.from(l.Line, "      %s: {%s}", quoted(l.Zone), strings.Join(keys, ", "))
}

// ports writes the rules for AUTH of each port that sendmail listens on. Where two
// listeners have one port, the rules go by their names.
func (m *importer) ports() {
	if len(m.cf.Daemons) == 0 {
		return
	}
	m.line("\nports:")
	rules := make(map[string]policy.AuthRule)
	for _, d := range m.cf.Daemons {
		rule := authRule(d)
		before, again := rules[d.Port]
		switch {
		case again && before == rule:
			continue
		case again && d.Name != "":
			m.from(d.Line, "  %s: {auth: %s}", quoted(d.Name), rule)
		case !again && strings.Trim(d.Port, "0123456789") == "":
			rules[d.Port] = rule
			m.from(d.Line, "  %s: {auth: %s}", d.Port, rule)
		default:
			m.from(d.Line, "  # port %s cannot be imported: it has no number", strconv.QuoteToASCII(d.Port))
		}
	}
}

func authRule(d sendmail.Daemon) policy.AuthRule {
	switch {
	case d.Demands():
		return policy.AuthRequire
	case !d.Offers():
		return policy.AuthRefuse
	}
	return policy.AuthAllow
}

// received takes over a Received field that hides the client.
func (m *importer) received() {
	r := m.cf.Received
	if r.Line == 0 || r.ShowsClient || r.Hides {
		return
	}
	m.line("\nreceived:  # the map door hides the client in the field that this host adds, the filter in those below")
	m.from(r.Line, "  whose: [authenticated, relayed]")
	m.line("  version: %v", !r.ShowsVersion)
	m.gone = append(m.gone, "confRECEIVED_HEADER, with the lines of milterd -mc -both")
}

// grants takes over maps of clients that have just read mail.
func (m *importer) grants() {
	if len(m.cf.RelayMaps) == 0 {
		return
	}
	m.line("\nlimits:")
	m.line("  file: /var/lib/milterd/limits  # keeps what milterd -block stops stopped over a restart")
	m.line("\ngrants:")
	m.line("  control: local:/run/milterd/control.sock  # for milterd -grants")
	if !m.cf.Features.DelayChecks || slices.ContainsFunc(m.cf.RelayMaps, isDRAC) {
		m.line("  relay_only: true  # sendmail has refused a client's network before it looks for the client in the map")
	}
	drac, logs := false, false
	for _, f := range m.cf.RelayMaps {
		name, file, _ := strings.Cut(f.Value, " ")
		switch isDRAC := isDRAC(f); {
		case isDRAC && !drac:
			drac = true
			m.from(f.Line, "  drac: {listen: \"inet:0@127.0.0.1\"}  # in place of rpc.dracd and %s", cmp.Or(file, name))
			m.gone = append(m.gone, "FEATURE(`drac')")
		case !isDRAC && !logs:
			logs = true
			m.from(f.Line, "  logs: [{file: /var/log/mail.log, format: dovecot}]  # in place of the daemon that fills %s; or qpopper, uw, courier, cyrus", cmp.Or(file, name))
			m.gone = append(m.gone, "the map "+name+" and the rules that ask it")
		}
	}
	m.stays = append(m.stays, "the map door: the lines of milterd -mc -both in place of FEATURE(`access_db'), by which grants reach sendmail's own rules")
}

// isDRAC reports whether a relay map is one that DRAC fills.
func isDRAC(relayMap sendmail.Fact) bool {
	return strings.Contains(strings.ToLower(relayMap.Value), "drac")
}

// rest lists what changes hands and what does not.
func (m *importer) rest() {
	c := m.cf
	for _, f := range []struct {
		fact sendmail.Fact
		name string
	}{{c.GreetPause, "FEATURE(greet_pause)"}, {c.RateControl, "FEATURE(ratecontrol)"}, {c.ConnControl, "FEATURE(conncontrol)"}, {c.BlockBadHELO, "FEATURE(block_bad_helo)"}} {
		if f.fact.Line > 0 {
			m.stays = append(m.stays, fmt.Sprintf("%s (%s:%d)", f.name, m.name, f.fact.Line))
		}
	}
	for _, problem := range c.Problems {
		p := configs.Problem{File: m.name, Line: problem.Line, Text: problem.Text}
		if len(c.RelayMaps) == 0 || !strings.Contains(problem.Text, "grants") {
			m.stays = append(m.stays, p.String())
			continue
		}
		if rule, _, _ := strings.Cut(p.Text, "; milterd "); strings.Contains(rule, " accepts ") {
			p.Text = rule + ", if it asks that map: grants take its place"
			m.gone = append(m.gone, p.String())
		}
	}
	for _, refusal := range c.OwnRefusals {
		m.stays = append(m.stays, configs.Problem{File: m.name, Line: refusal.Line, Text: refusal.Value}.String())
	}
	m.section("When this is in force, these can go from sendmail.mc:", m.gone)
	m.section("These stay with sendmail, or are not followed:", m.stays)
}

func (m *importer) section(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	m.line("\n# %s", title)
	for _, l := range slices.Compact(lines) {
		m.line("#   %s", strings.ReplaceAll(l, "\n", " "))
	}
}

// differences tells how the configuration decides otherwise than the sendmail.cf: less
// strictly only by a DNS list. A map that rules of one's own ask in Local_check_rcpt ends
// check_rcpt, and with FEATURE(delay_checks) all that is looked at there; a grant in its place
// does not.
func (m *importer) differences() {
	if m.cf.RDNS.Early {
		m.otherwise = append(m.otherwise, "a client whose reverse DNS is wrong, and that the access table refuses, discards or holds as well, is treated as the table says: milterd looks at reverse DNS last")
	}
	if m.cf.Features.BlocklistRecipients {
		m.otherwise = append(m.otherwise, "mail that may not be relayed is refused, also to a recipient with QUARANTINE in the access table, for whom it was held")
	}
	passed := "the access table's entries for recipients"
	if m.cf.Features.DelayChecks {
		passed = "the access table and reverse DNS"
	}
	if slices.ContainsFunc(m.cf.RelayMaps, func(f sendmail.Fact) bool { return !isDRAC(f) }) {
		m.stricter = append(m.stricter, "a client of the map passed "+passed+"; one with a grant does not")
	}
	if len(m.cf.RelayMaps) > 0 {
		m.stricter = append(m.stricter, "a grant does not count for a client whose very address the access table refuses")
	}
	m.section("Not delivered, as before, but in another way:", m.otherwise)
	m.section("Less strict than before:", m.laxer)
	m.section("Stricter than before:", m.stricter)
}
