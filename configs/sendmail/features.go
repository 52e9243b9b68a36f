package sendmail

import (
	"strings"

	"milterd/policy/access"
)

// rulesets holds the rules of a sendmail.cf by the name of their ruleset.
type rulesets map[string][]rule

// rule is one rule: what it looks for and what it makes of that, without white space.
type rule struct {
	lhs, rhs string
	// text is the right side with its white space, which texts need.
	text string
	line int
}

func (r rule) String() string { return r.lhs + " -> " + r.rhs }

// rulesetName reads the name of an S command, which may go on with a number:
// Scheck_rcpt, S D, S3, Sname=3.
func rulesetName(s string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(s), "=")
	return strings.TrimSpace(name)
}

// squeeze removes all white space: what is written with a blank or without is
// the same rule.
func squeeze(s string) string {
	return strings.Join(strings.Fields(s), "")
}

// has reports whether a ruleset has a rule that holds all parts.
func (r rulesets) has(name string, parts ...string) bool {
	for _, rule := range r[name] {
		found := true
		for _, part := range parts {
			found = found && strings.Contains(rule.String(), part)
		}
		if found {
			return true
		}
	}
	return false
}

// features tells the FEATUREs by the rules that only they bring.
func (r rulesets) features() access.Features {
	fromLookup := "$>SearchList<!From>"
	toFullAddress := r.has("Rcpt_ok", "$>SearchList<+To>$|<F:$1@$2><D:$2><F:$1@>") ||
		r.has("Rcpt_ok", "$(accessTo:$1@$2")
	return access.Features{
		Skip:                r.has("D", "<SKIP>") || r.has("A", "<SKIP>"),
		BlocklistRecipients: r.has("Rcpt_ok", "$>SearchList<+To>$|<$2><>"),
		DelayChecks:         r.has("check_rcpt", "$>checkrcpt"),
		Friend:              r.has("check_rcpt", "<FRIEND>"),
		Hater:               r.has("check_rcpt", "<HATER>"),
		LookupDotDomain:     r.has("D", "$(access$5:.$2") || r.has("D", "$(access$5$|", "$|.$2$:"),
		RelayHostsOnly:      r.has("Rcpt_ok", "$+<@$=R> -> $@RELAY"),
		RelayEntireDomain:   r.has("Rcpt_ok", "$+<@$*$=m> -> $@RELAY"),
		RelayMailFrom:       r.has("Relay_ok", fromLookup),
		RelayMailFromDomain: r.has("Relay_ok", fromLookup, "<D:$2>") || r.has("Relay_ok", fromLookup, "<E:$2>"),
		RelayLocalFrom:      r.has("Relay_ok", "<?>$+<@$=w> -> $@RELAY"),
		RelayToFullAddress:  toFullAddress,
		UseClientPTR:        r.has("checkrelay", "$&{client_ptr}$|") || r.has("check_relay", "$&{client_ptr}$|"),
	}
}

func (p *parser) openRelay(line int, cure, text string) {
	p.config.Problems = append(p.config.Problems, Problem{Line: line, Text: text, OpenRelay: true, Cure: cure})
}

// cured is a problem that a line of sendmail.mc does away with.
func (p *parser) cured(cure string, line int, format string, args ...any) {
	p.problem(line, format, args...)
	p.config.Problems[len(p.config.Problems)-1].Cure = cure
}

// findRelayOptions notes what makes sendmail relay more than milterd will.
func (p *parser) findRelayOptions() {
	if _, ok := p.rules["Basic_check_rcpt"]; ok && !p.rules.has("Basic_check_rcpt", "$>\"Relay_ok\"") {
		p.openRelay(0, "dnl FEATURE(`promiscuous_relay')", "FEATURE(promiscuous_relay) is in force: sendmail relays for everybody, milterd does not")
	}
	// The FEATURE looks into a table that is there when m4 comes to it.
	if pause := p.rules["greet_pause"]; len(pause) > 0 && p.config.Access.Type != "" && !p.rules.has("greet_pause", "<!GreetPause>") {
		p.problem(pause[0].line, "FEATURE(`greet_pause') stands before the access table in sendmail.mc, so entries GreetPause: have no effect; put FEATURE(`access_db'), or the include of milterd.m4, before it")
	}
	if p.rules.has("Rcpt_ok", "$(mxserved") {
		p.settled("domains.relay", 0, "FEATURE(relay_based_on_MX) is in force: milterd does not follow it; list the domains in domains.relay")
		p.config.Problems[len(p.config.Problems)-1].Cure = "RELAY_DOMAIN(`DOMAIN')dnl   for each of them, in place of FEATURE(`relay_based_on_MX')"
	}
	if p.rules.has("Rcpt_ok", "$:$>CanonAddr$1") {
		p.cured("dnl FEATURE(`loose_relay_check')", 0, "FEATURE(loose_relay_check) is in force: strangers may send to user%%anywhere@ a domain of class R, whose server may send it on; milterd refuses it")
	}
	deferred := func(mode string, line int, cure string) {
		if mode != "" && (mode[0] == 'd' || mode[0] == 'D') {
			p.openRelay(line, cure, "DeliveryMode is deferred, with which sendmail leaves its checks out: it relays for everybody, and milterd does not")
		}
	}
	deferred(p.options.value("DeliveryMode"), p.options.Get("DeliveryMode").Line, "define(`confDELIVERY_MODE', `background')dnl")
	for _, d := range p.config.Daemons {
		deferred(d.DeliveryMode, d.Line, "DAEMON_OPTIONS(`"+strings.Join(d.Without("d"), ", ")+"')dnl")
	}
}
