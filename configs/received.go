package configs

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"milterd/configs/sendmail"
	"milterd/header"
	"milterd/policy"
)

// receivedSchema lists the keys of the rules that take traces of the client out of
// a message's header.
func (c *Config) receivedSchema() []field {
	r := &c.Received
	return []field{
		{name: "mode", value: mode(&r.Mode)},
		{name: "whose", value: networksOr(func(words []string, networks []netip.Prefix) {
			r.Authenticated = slices.Contains(words, "authenticated")
			r.Relayed = slices.Contains(words, "relayed")
			r.Granted = slices.Contains(words, "granted")
			r.Networks = networks
		}, "authenticated", "relayed", "granted")},
		{name: "client", value: boolean(&r.Rules.Client)},
		{name: "version", value: boolean(&r.Rules.Version)},
		{name: "with", value: boolean(&r.Rules.With)},
		{name: "from", value: checked(&r.Rules.From, header.CheckFrom)},
		{name: "by", value: checked(&r.Rules.By, header.CheckBy)},
		{name: "fields", each: c.headerFieldSchema},
	}
}

func portReceived(p *policy.Port) func(value) {
	rule := oneOf(&p.Received, policy.ReceivedScrub, policy.ReceivedKeep)
	return func(v value) {
		if v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!str" && v.node.Value == "" {
			p.Received = ""
			return
		}
		rule(v)
	}
}

func (c *Config) headerFieldSchema(name string) (field, error) {
	if err := checkRuleName(name); err != nil {
		return field{}, err
	}
	rules := &c.Received.Rules.Fields
	for _, r := range *rules {
		if strings.EqualFold(r.Name, name) {
			return field{}, fmt.Errorf("%s has a rule already, as %s", name, r.Name)
		}
	}
	rule := header.FieldRule{Name: name}
	return field{name: name, value: func(v value) {
		action := header.FieldAction(v.node.Value)
		switch {
		case v.node.Kind == yaml.MappingNode:
			action = header.Replace
			v.fields([]field{{name: "replace", value: checked(&rule.Text, header.CheckValue)}})
			if !v.given("replace") {
				v.fail("no replace, expected {replace: TEXT}")
			}
		case v.node.Kind != yaml.ScalarNode || action != header.Remove && action != header.Version:
			v.fail("%s, expected remove, version or {replace: TEXT}", kind(v.node))
		}
		rule.Action = action
		*rules = append(*rules, rule)
	}}, nil
}

// checkRuleName refuses rules for fields that mail cannot do without.
func checkRuleName(s string) error {
	if err := header.CheckName(s); err != nil {
		return err
	}
	for _, n := range needed {
		if regexp.MustCompile(`^(?i:` + n.names + `)$`).MatchString(s) {
			return fmt.Errorf("no rule for %s: %s", s, n.why)
		}
	}
	return nil
}

// needed are the fields, by what their names match, that must stay as they are, and why.
var needed = []struct{ names, why string }{
	{`received`, "the keys client, version and with say what becomes of it"},
	{`from|sender|reply-to|to|cc|bcc|date|subject`, "it is what the sender wrote"},
	{`message-id|in-reply-to|references`, "it ties messages together"},
	{`return-path|delivered-to|received-spf|authentication-results`, "it says which way the message came, and loops are told by it"},
	{`dkim-signature|domainkey-signature|arc-.*`, "it is a signature"},
	{`mime-version|content-.*`, "the body cannot be read without it"},
	{`auto-submitted`, "automatic replies would answer each other without it"},
	{`resent-.*`, "it says who sent the message on"},
}

// checkReceivedField compares the Received field that sendmail adds, which no filter
// gets to see, with what becomes of those that a message comes with.
func (c *Config) checkReceivedField(s *sources, cf *sendmail.Config) {
	r := cf.Received
	rules := &c.Received.Rules
	if p := (policy.Policy{Received: c.Received, Ports: c.Ports}); !p.Scrubs() {
		return
	}
	switch {
	case !rules.Client:
	case !r.Hides:
		s.find(Warning, bothDoors, s.cf, r.Line, "the Received field that sendmail itself adds shows the client of all mail, also of the mail that received is about; milterd.m4 gives it a form without the client")
	case !r.Asked:
		s.find(Warning, "R$*\t$: $>milterd_rcpt $1   as the first rule of SLocal_check_rcpt", s.cf, r.Line, "the Received field that sendmail itself adds shows the client of all mail: no ruleset calls milterd_rcpt (MILTERD_NO_RULESETS)")
	case r.From != rules.From:
		s.find(Warning, "define(`MILTERD_FROM', `"+rules.From+"')dnl", s.cf, r.Line, "the Received field that sendmail itself adds says %s in place of the client (MILTERD_FROM), and received.from is %s", quote(r.From), quote(rules.From))
	}
	if r.Hides && r.Asked && rules.Version && r.By != rules.By {
		s.find(Warning, "define(`MILTERD_BY', `"+rules.By+"')dnl", s.cf, r.Line, "the Received field that sendmail itself adds says %s in place of its version (MILTERD_BY), and received.by is %s", quote(r.By), quote(rules.By))
	}
}
