package sendmail

import (
	"regexp"
	"slices"
	"strings"
)

// DNSList is a DNS list that rules ask.
type DNSList struct {
	Zone string
	// Names: it is asked about the domain of the sender (FEATURE(rhsbl)), not about
	// the client's address.
	Names bool
	// Answers are those that count, such as 127.0.0.2, or 127.0.0.$- for any in place of an
	// octet; any does if there is none.
	Answers []string
	// Reply is what a client reads that is listed, with {addr} and {name} in place of
	// macros; empty if it is not refused but discarded or quarantined.
	Reply string
	// Temporary is the reply if the list does not answer, empty if it is passed over.
	Temporary string
	// Line is where the sendmail.cf asks it.
	Line int
}

// RDNS is what clients read whose reverse DNS is wrong, by FEATURE(require_rdns) or
// rules of one's own; a Fact without a line: such clients are taken.
type RDNS struct {
	Temp, Fail, Forged Fact
	// Early: rules of one's own refuse before the access table is looked into.
	Early bool
}

var (
	listAnswer = regexp.MustCompile(`^\d+(?:\.(?:\d+|\$-)){3}$`)
	listAsked  = regexp.MustCompile(`\$\(\w+(\$4\.\$3\.\$2\.\$1|\$2)\.([^$\s]+?)\.?\$:OK\$\)`)
	resolves   = regexp.MustCompile(`^(?:<?\$[*+-]>?)?(?:\$\|)?<?(TEMP|FAIL|FORGED)>?(?:\$[*+-])?$`)
)

// findRejections reads the rules that refuse, and that FEATUREs or the administrator
// bring.
func (p *parser) findRejections() {
	for _, name := range p.rules.names() {
		rules := p.rules[name]
		for i, r := range rules {
			if m := listAsked.FindStringSubmatch(r.rhs); m != nil {
				l := DNSList{Zone: m[2], Names: m[1] == "$2", Line: r.line}
				l.read(rules[i+1:])
				p.config.DNSLists = append(p.config.DNSLists, l)
			}
		}
		if name != "Relay_ok" && name != "Basic_check_rcpt" {
			p.config.RDNS.read(rules, name != "Basic_check_relay")
		}
	}
	c := p.config
	for _, r := range p.rules["greet_pause"] {
		if pause, ok := strings.CutPrefix(r.rhs, "$#"); ok && pause != "" && isDigit(pause[0]) && r.lhs != "$*" {
			c.GreetPause = Fact{pause, r.line}
		}
	}
	c.RateControl = p.rules.having("$&{client_rate}")
	c.ConnControl = p.rules.having("$&{client_connections}")
	c.BlockBadHELO = p.rules.having("bogusHELOname")
	p.findRelayMaps()
}

// having is where a rule holds a text first.
func (r rulesets) having(text string) Fact {
	for _, name := range r.names() {
		for _, rule := range r[name] {
			if strings.Contains(rule.rhs, text) {
				return Fact{Line: rule.line}
			}
		}
	}
	return Fact{}
}

// names are the names of the rulesets in the order of their first rules.
func (r rulesets) names() []string {
	var names []string
	for name, rules := range r {
		if len(rules) > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return r[a][0].line - r[b][0].line })
	return names
}

// read reads what rules make of the answer of a list. They end with the first that
// looks for something else.
func (l *DNSList) read(rules []rule) {
	anyCounts := false
	for _, r := range rules {
		answer, ok := strings.CutPrefix(r.lhs, "<?>")
		if !ok && r.lhs != "<@>$*" { // that is for senders without a domain
			break
		}
		switch {
		case !ok:
		case answer == "$+<TMP>":
			if strings.Contains(r.rhs, "$#error") {
				l.Temporary = replyText(r.text)
			}
		case answer == "OK":
		default:
			if answer = strings.TrimSuffix(answer, "."); listAnswer.MatchString(answer) {
				l.Answers = append(l.Answers, answer)
			} else if strings.Contains(answer, "$") {
				anyCounts = true
			}
			if strings.Contains(r.rhs, "$#error") && !strings.Contains(r.rhs, "$@quarantine") {
				l.Reply = replyText(r.text)
			}
		}
	}
	if anyCounts {
		l.Answers = nil
	}
}

// read reads the rules of one ruleset, if it looks at ${client_resolve}. The first
// that finds a state counts.
func (d *RDNS) read(rules []rule, early bool) {
	looks := false
	for _, r := range rules {
		looks = looks || strings.Contains(r.rhs, "$&{client_resolve}")
		m := resolves.FindStringSubmatch(r.lhs)
		if m == nil || !looks || !strings.Contains(r.rhs, "$#error") {
			continue
		}
		to := map[string]*Fact{"TEMP": &d.Temp, "FAIL": &d.Fail, "FORGED": &d.Forged}[m[1]]
		if to.Line == 0 {
			*to = Fact{replyText(r.text), r.line}
			d.Early = d.Early || early
		}
	}
}

var (
	statusText = regexp.MustCompile(`^\s*(\d\.\d+\.\d+)\s*$`)
	codeText   = regexp.MustCompile(`^([45])\d\d(?:\s+|$)`)
	macroText  = regexp.MustCompile(`\$&\{(\w+)\}|\$&?[\w*+-]`)
	blanks     = regexp.MustCompile(`\s+`)
)

// replyText is the reply of a rule $#error $@ 5.7.1 $: "550 text", as the
// configuration of milterd writes it: CODE ENHANCED-CODE text.
func replyText(rhs string) string {
	_, rest, _ := strings.Cut(rhs, "$@")
	status, text, ok := strings.Cut(rest, "$:")
	if !ok {
		_, text, _ = strings.Cut(rhs, "$:")
		status = ""
	}
	text = strings.NewReplacer(`"`, "", "{", "(", "}", ")").Replace(macroText.ReplaceAllStringFunc(text, placeholder))
	text = strings.NewReplacer("\x00", "{", "\x01", "}").Replace(text)
	text = strings.TrimSpace(blanks.ReplaceAllString(text, " "))
	code := "550"
	if m := codeText.FindString(text); m != "" {
		code, text = strings.TrimSpace(m), text[len(m):]
	}
	enhanced := code[:1] + ".7.1"
	if m := statusText.FindStringSubmatch(status); m != nil && m[1][0] == code[0] {
		enhanced = m[1]
	}
	return strings.TrimSpace(code + " " + enhanced + " " + text)
}

// placeholder is what stands in a reply of milterd for a macro, with octets in place
// of braces that no text has.
func placeholder(macro string) string {
	switch {
	case strings.Contains(macro, "client_addr"), macro == "$1":
		return "\x00addr\x01"
	case strings.Contains(macro, "client_name"):
		return "\x00name\x01"
	case strings.Contains(macro, "client_ptr"):
		return "\x00ptr\x01"
	case strings.Contains(macro, "RHS"):
		return "\x00listed\x01"
	}
	return ""
}

// findRelayMaps notes the maps that clients relay by their addresses in, such as those
// of poprelayd and DRAC.
func (p *parser) findRelayMaps() {
	for _, m := range p.config.Maps {
		if _, isFile := fileMapEnding(m.Type); !isFile || strings.EqualFold(m.Name, "access") {
			continue
		}
		for _, name := range p.rules.names() {
			at := slices.IndexFunc(p.rules[name], func(r rule) bool { return strings.Contains(r.rhs, "$("+m.Name) })
			reads := p.rules.has(name, "$&{client_addr}")
			lets := slices.ContainsFunc(p.rules[name], func(r rule) bool {
				return r.accepts() || r.rhs == "$@RELAY" || r.rhs == "$@OK"
			})
			if at >= 0 && reads && lets {
				p.config.RelayMaps = append(p.config.RelayMaps, Fact{m.Name + " " + m.Text, m.Line})
				break
			}
		}
	}
}
