package dryrun

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"milterd/configs"
	"milterd/policy"
)

func (r *run) describe() int {
	config, p, out := r.rules.config, r.rules.policy, r.out
	for _, f := range config.UnsafeSockets(true) {
		fmt.Fprintf(r.Stderr, "milterd: warning: %s\n", f)
	}
	if r.Places {
		if err := config.CheckPlaces(); err != nil {
			Complain(r.Stderr, err)
			return BadInput
		}
	}
	for _, line := range []struct{ what, text string }{
		{"configuration", cmp.Or(config.Name(), "built in") + ", valid"},
		{"listen", strings.Join(config.Listen.Milter, " ")},
		{"map door", orNone(strings.Join(config.Listen.Map, " "))},
		{"access table", describeTable(p)},
		{"features", orNone(strings.Join(configs.FeatureNames(p.Features), " "))},
		{"host name", orNone(p.Hostname)},
		{"local", sample(policy.ShownEntries(p.Local.Entries()))},
		{"relay", sample(policy.ShownEntries(p.Relay.Entries()))},
		{"mode", string(config.Mode)},
		{"scrubbing", describeScrub(config.Mode, p)},
		{"relay grants", describeGrants(config)},
		{"limits", describeLimits(config, p)},
		{"recording", describeRecord(&config.Record)},
		{"needs a restart", configs.StartOnly()},
	} {
		fmt.Fprintf(out, "%-14s %s\n", line.what, line.text)
	}
	for _, set := range config.Environment() {
		fmt.Fprintf(out, "%-14s %s\n", "environment", set)
	}
	c := p.Checks
	for _, check := range []struct {
		name string
		mode policy.Mode
	}{
		{"port", c.Port.Mode}, {"recipient", c.Recipient.Mode}, {"relay", c.Relay.Mode},
		{"sender_login", c.SenderLogin.Mode}, {"own_sender", c.OwnSender.Mode},
		{"sender", c.Sender.Mode}, {"sender_domain", c.SenderDomain.Mode}, {"client", c.Client.Mode}, {"rdns", c.RDNS.Mode}, {"dnsbl", c.DNSBL.Mode},
	} {
		note := ""
		if check.name == "recipient" && !p.Features.BlocklistRecipients {
			note = " (without the feature blocklist_recipients it looks nothing up)"
		}
		if n := len(c.SenderLogin.Logins); check.name == "sender_login" && n > 0 {
			note = fmt.Sprintf(" (%s: %d logins)", c.SenderLogin.File, n)
		}
		if check.name == "dnsbl" && len(config.DNS.Lists) == 0 {
			note = " (there are no lists)"
		}
		fmt.Fprintf(out, "  check %-13s %s%s\n", check.name, modeInForce(config.Mode, check.mode), note)
	}
	describePorts(out, p)
	if n := config.LeftOut; n > 0 {
		fmt.Fprintf(r.Stderr, "milterd: %s: entries that are left out (see above): %d\n", p.Access.Name(), n)
		return BadInput
	}
	return OK
}

func describeScrub(mode policy.Mode, p *policy.Policy) string {
	if !p.Scrubs() {
		return "none"
	}
	r := &p.Received
	var whose []string
	for _, w := range []struct {
		word string
		on   bool
	}{{"authenticated", r.Authenticated}, {"relayed", r.Relayed}, {"granted", r.Granted}} {
		if w.on {
			whose = append(whose, w.word)
		}
	}
	for _, network := range r.Networks {
		whose = append(whose, network.String())
	}
	if len(whose) == 0 {
		whose = []string{"as the ports say"}
	}
	return modeInForce(mode, r.Mode) + ", mail of: " + sample(whose)
}

func describeGrants(c *configs.Config) string {
	g := &c.Grants
	var sources []string
	for _, log := range g.Logs {
		sources = append(sources, log.File+" ("+log.Format+")")
	}
	for _, source := range []struct{ word, listen string }{{"dovecot", g.Dovecot.Listen}, {"drac", g.DRAC.Listen}, {"control", g.Control}} {
		if source.listen != "" {
			sources = append(sources, source.word+" at "+source.listen)
		}
	}
	if len(sources) == 0 {
		return "none"
	}
	keeper := "in memory"
	switch {
	case len(c.Redis.Addresses) > 0:
		keeper = "in Redis"
	case g.File != "":
		keeper = "in " + g.File
	}
	return fmt.Sprintf("for %v from %s, %s", g.TTL, sample(sources), keeper)
}

func describeLimits(c *configs.Config, p *policy.Policy) string {
	var all []string
	for rule, l := range c.Limits.Rules {
		text := l.Name + " "
		for i, r := range l.Rates {
			if i > 0 {
				text += "+"
			}
			text += r.String()
		}
		text += " " + string(l.Count) + " by " + string(l.By)
		if mode := modeInForce(c.Mode, l.Mode); mode != string(policy.ModeEnforce) {
			text += ", " + mode
		}
		if n := len(p.Limits.Rules[rule].Exceptions); n > 0 {
			text += fmt.Sprintf(" (%s: %d exceptions)", l.ExceptionsFile, n)
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "none"
	}
	return sample(all)
}

func describeRecord(r *configs.Record) string {
	if r.Dir == "" {
		return "none"
	}
	text := "in " + r.Dir
	if r.Sample < 1 {
		text += fmt.Sprintf(", %g %% of the connections", 100*r.Sample)
	}
	if r.Redact {
		return text + ", redacted"
	}
	return text
}

func modeInForce(all, check policy.Mode) string {
	if all == policy.ModeShadow && check == policy.ModeEnforce {
		return "shadow (mode: shadow)"
	}
	return string(check)
}

func describePorts(out io.Writer, p *policy.Policy) {
	for _, name := range slices.Sorted(maps.Keys(p.Ports)) {
		port := p.Ports[name]
		auth, tls, relay := "as its number says", "as its number says", "as its number says"
		if strings.Trim(name, "0123456789") == "" {
			auth, tls, relay = string(policy.AuthAllow), string(policy.TLSAllow), string(policy.RelayEntitled)
		}
		fmt.Fprintf(out, "  port %-14s auth: %s, tls: %s, relay: %s", name,
			cmp.Or(string(port.Auth), auth), cmp.Or(string(port.TLS), tls), cmp.Or(string(port.Relay), relay))
		if port.Received != "" {
			fmt.Fprintf(out, ", received: %s", port.Received)
		}
		for _, check := range slices.Sorted(maps.Keys(port.Checks)) {
			fmt.Fprintf(out, ", %s: %s", check, port.Checks[check])
		}
		fmt.Fprintln(out)
	}
}

func orNone(s string) string { return cmp.Or(s, "none") }

// describeTable says which access table there is. That one has become empty only the running
// milterd knows.
func describeTable(p *policy.Policy) string {
	text := fmt.Sprintf("%s, %d entries", orNone(p.Access.Name()), p.Access.Len())
	if p.Access.Len() == 0 && p.Access.Name() != "" {
		text += " (a milterd that runs with some keeps them until systemctl reload milterd)"
	}
	return text
}

// sample lists the first entries of a class and counts the rest.
func sample(entries []string) string {
	const most = 8
	if len(entries) <= most {
		return orNone(strings.Join(entries, " "))
	}
	return fmt.Sprintf("%s … and %d more", strings.Join(entries[:most], " "), len(entries)-most)
}
