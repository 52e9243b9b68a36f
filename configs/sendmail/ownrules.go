package sendmail

import (
	"regexp"
	"slices"
	"strings"
)

// hooks are the rulesets that sendmail keeps free for rules of one's own, and that
// may end the checks: a result of $# and anything but error or discard is final.
var hooks = []string{"Local_check_relay", "Local_check_mail", "Local_check_rcpt", "Local_Relay_Auth"}

// notFollowed is what every warning about such a rule has to say.
const notFollowed = "; milterd does not follow it, and refuses what nothing else lets relay: use relay grants, Connect: entries with RELAY in the access table, or domains.relay"

// findOwnRules points out rules by which sendmail accepts what milterd does not.
func (p *parser) findOwnRules() {
	for _, hook := range hooks {
		accepting := p.accepting(hook, nil)
		if len(accepting) == 0 {
			continue
		}
		first := accepting[0]
		more := ""
		if len(accepting) > 1 {
			more = " (and more such rules)"
		}
		p.problem(first.line, "%s accepts by a rule of your own, %s%s%s", hook, first, more, notFollowed)
	}
	for _, name := range []string{"Rcpt_ok", "Relay_ok", "Basic_check_rcpt", "check_rcpt"} {
		told := make(map[string]bool)
		for _, rule := range p.rules[name] {
			if own := rule.own(); own != "" && !told[own] {
				told[own] = true
				p.problem(rule.line, "%s relays by %s%s", name, own, notFollowed)
			}
		}
	}
}

// findOwnRefusals looks for the first refusal of each hook.
func (p *parser) findOwnRefusals() {
	rdns := &p.config.RDNS
	for _, hook := range hooks {
		list := false // these rules look at what a DNS list has answered
		for _, r := range p.rules[hook] {
			list = list && r.lhs != "$*" || listAsked.MatchString(r.rhs)
			rhs := strings.ToLower(r.rhs)
			refuses := strings.HasPrefix(rhs, "$#error") || strings.HasPrefix(rhs, "$#discard")
			if refuses && !list && !slices.Contains([]int{rdns.Temp.Line, rdns.Fail.Line, rdns.Forged.Line}, r.line) {
				p.config.OwnRefusals = append(p.config.OwnRefusals, Fact{hook + " refuses by a rule of your own, for " + r.lhs, r.line})
				break
			}
		}
	}
}

// accepting lists the rules of a ruleset, and of those of one's own that it calls,
// which end the checks without an error. milterd's own rulesets, see milterd.m4, ask
// milterd itself.
func (p *parser) accepting(ruleset string, visited []string) []rule {
	if slices.Contains(visited, ruleset) || strings.HasPrefix(ruleset, "milterd") || stockRuleset(ruleset) {
		return nil
	}
	visited = append(visited, ruleset)
	var found []rule
	for _, r := range p.rules[ruleset] {
		if r.accepts() {
			found = append(found, r)
		}
		for _, name := range r.calls() {
			found = append(found, p.accepting(name, visited)...)
		}
	}
	return found
}

// accepts reports whether a rule returns $# and neither error nor discard. One that
// hands on the $# of a ruleset it has called accepts nothing itself.
func (r rule) accepts() bool {
	_, mailer, ok := strings.Cut(strings.ToLower(r.rhs), "$#")
	if !ok || strings.HasPrefix(mailer, "error") || strings.HasPrefix(mailer, "discard") {
		return false
	}
	return !strings.HasPrefix(mailer, "$") || !strings.Contains(r.lhs, "$#")
}

var called = regexp.MustCompile(`\$>"?([\w.-]+)`)

// calls are the names of the rulesets that a rule calls.
func (r rule) calls() []string {
	var names []string
	for _, m := range called.FindAllStringSubmatch(r.rhs, -1) {
		names = append(names, m[1])
	}
	return names
}

var calledByName = regexp.MustCompile(`\$>\s*"?([A-Za-z][\w-]*)`)

// findUndefined looks for calls of rulesets that there are not, the first of each. Such a
// one is left behind if a FEATURE that brings the ruleset is taken out.
func (p *parser) findUndefined() {
	defined := make(map[string]bool)
	for name := range p.rules {
		defined[name] = true
	}
	for _, name := range p.rules.names() {
		for _, r := range p.rules[name] {
			for _, m := range calledByName.FindAllStringSubmatch(r.text, -1) {
				if !defined[m[1]] {
					defined[m[1]] = true
					p.config.Undefined = append(p.config.Undefined, Fact{m[1], r.line})
				}
			}
		}
	}
}

// stockRuleset reports whether a ruleset is one of proto.m4 that rules of one's own
// call for what it makes of an address or finds in the access table. Their $# are
// no results of a check.
func stockRuleset(name string) bool {
	switch name {
	case "canonify", "parse", "Parse0", "Parse1", "CanonAddr", "ParseRecipient", "FullAddr", "SearchList", "D", "A", "F", "E", "U",
		"0", "1", "2", "3", "4", "5", "90", "93", "94", "95", "96", "97", "98",
		"Basic_check_relay", "Basic_check_mail", "Basic_check_rcpt", "Rcpt_ok", "Relay_ok", "RelayTLS", "tls_client":
		return true
	}
	return false
}

var (
	asked     = regexp.MustCompile(`\$\(\s*(\w+)`)
	classUsed = regexp.MustCompile(`\$=(?:\{(\w+)\}|(\w))`)
)

// own names what a rule of the checks on recipients relays by that proto.m4 does not
// have there: a map, a class, or an address.
func (r rule) own() string {
	for _, m := range asked.FindAllStringSubmatch(r.text, -1) {
		switch name := m[1]; name {
		case "access", "dequote", "mxserved", "bestmx", "arith", "macro":
		case "drac":
			return "the map of FEATURE(drac)"
		default:
			if !strings.HasPrefix(name, "milterd") {
				return "the map " + name
			}
		}
	}
	if r.rhs != "$@RELAY" && r.rhs != "$#RELAY" && r.rhs != "$@OK" && r.rhs != "$#OK" {
		return ""
	}
	for _, m := range classUsed.FindAllStringSubmatch(r.lhs, -1) {
		switch name := m[1] + m[2]; name {
		case "w", "R", "m", "O", "P", "TrustAuthMech", "Accept":
		default:
			return "the class " + name
		}
	}
	if r.lhs != "0" && r.lhs != "127.0.0.1" && r.lhs != "" && isDigit(r.lhs[0]) {
		return "the address " + r.lhs
	}
	return ""
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
