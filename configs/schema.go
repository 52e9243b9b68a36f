package configs

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/access"
)

// schema lists every key there is, in the order of the reference, and where its
// value goes.
func (c *Config) schema() []field {
	return []field{
		{name: "sendmail", section: []field{
			{name: "cf", value: checked(&c.Sendmail.CF, optional(checkFile))},
		}},
		{name: "listen", section: []field{
			{name: "milter", value: oneOrMore(&c.Listen.Milter, word(checkAddress))},
			{name: "map", value: noneOrMore(&c.Listen.Map, word(checkAddress))},
			{name: "http", value: checked(&c.Listen.HTTP, optional(checkAddress))},
			{name: "socket_mode", value: fileMode(&c.Listen.SocketMode)},
			{name: "socket_group", value: group(&c.Listen.SocketGroup)},
			{name: "max_connections", value: integer(&c.Listen.MaxConnections, 1, 1_000_000)},
			{name: "shutdown", value: duration(&c.Listen.Shutdown, 0, 10*time.Minute)},
		}},
		{name: "access", section: []field{
			{name: "file", value: checked(&c.Access.File, checkFile)},
			{name: "features", value: features(&c.Access.Features)},
			{name: "max_size", value: size(&c.Access.MaxSize, 64*kib, 2*gib)},
		}},
		{name: "domains", section: []field{
			{name: "hostname", value: checked(&c.Domains.Hostname, optional(checkHostname))},
			{name: "local", value: list(&c.Domains.Local, checkClassEntry)},
			{name: "relay", value: list(&c.Domains.Relay, checkClassEntry)},
			{name: "realms", value: list(&c.Domains.Realms, checkHostname)},
		}},
		{name: "dns", section: c.dnsSchema()},
		{name: "mode", value: oneOf(&c.Mode, policy.ModeEnforce, policy.ModeShadow)},
		{name: "nat_guard", value: oneOf(&c.NATGuard, NATGuardAuto, NATGuardOff)},
		{name: "checks", section: c.checksSchema()},
		{name: "ports", each: c.portSchema},
		{name: "received", section: c.receivedSchema()},
		{name: "grants", section: c.grantsSchema()},
		{name: "redis", section: c.redisSchema()},
		{name: "limits", section: c.limitsSchema()},
		{name: "record", section: c.recordSchema()},
		{name: "status", section: []field{
			{name: "hosts", value: list(&c.Status.Hosts, checkHostname)},
			{name: "token", value: secret(&c.Status.Token, "a token")},
			{name: "token_file", value: c.ownPath(&c.Status.TokenFile, true)},
			{name: "private", value: boolean(&c.Status.Private)},
		}},
		{name: "log", section: []field{
			{name: "to", value: oneOf(&c.Log.To, LogStderr, LogSyslog)},
			{name: "level", value: oneOf(&c.Log.Level, "debug", "info", "warn", "error")},
			{name: "format", value: oneOf(&c.Log.Format, "text", "json")},
		}},
	}
}

// checksSchema lists the keys of the checks, in the order they run.
func (c *Config) checksSchema() []field {
	k := &c.Checks
	return []field{
		{name: "port", section: []field{
			{name: "mode", value: mode(&k.Port.Mode)},
			{name: "auth_required", value: reply(&k.Port.AuthRequired)},
			{name: "auth_refused", value: reply(&k.Port.AuthRefused)},
			{name: "tls_required", value: reply(&k.Port.TLSRequired)},
		}},
		{name: "recipient", section: tableSchema(&k.Recipient)},
		{name: "relay", section: []field{
			{name: "mode", value: mode(&k.Relay.Mode)},
			{name: "deny", value: reply(&k.Relay.Deny)},
			{name: "deny_auth", value: reply(&k.Relay.DenyAuth)},
			{name: "temp", value: reply(&k.Relay.Temp)},
			{name: "fail", value: reply(&k.Relay.Fail)},
			{name: "forged", value: reply(&k.Relay.Forged)},
			{name: "grant_temp", value: reply(&k.Relay.GrantTemp)},
			{name: "trust_auth_mech", value: list(&k.Relay.TrustAuthMech, matching(`(?i)[a-z0-9_-]{1,20}`, "a SASL mechanism such as PLAIN"))},
			{name: "local_mailers", value: list(&k.Relay.LocalMailers, matching(`[^ \t\r\n,]+`, "the name of a delivery agent such as local"))},
		}},
		{name: "sender_login", section: c.senderLoginSchema()},
		{name: "own_sender", section: ownSenderSchema(&k.OwnSender)},
		{name: "sender", section: tableSchema(&k.Sender)},
		{name: "sender_domain", section: c.senderDomainSchema()},
		{name: "client", section: tableSchema(&k.Client)},
		{name: "rdns", section: []field{
			{name: "mode", value: mode(&k.RDNS.Mode)},
			{name: "source", value: oneOf(&k.RDNS.Source, policy.RDNSSourceSendmail, policy.RDNSSourceOwn)},
			{name: "temp", section: reactionSchema(&k.RDNS.Temp)},
			{name: "fail", section: reactionSchema(&k.RDNS.Fail)},
			{name: "forged", section: reactionSchema(&k.RDNS.Forged)},
			{name: "generic", section: append(reactionSchema(&k.RDNS.Generic),
				field{name: "builtin", value: boolean(&c.DNS.Generic)},
				field{name: "patterns", value: list(&c.DNS.Patterns, checkPattern)})},
			{name: "exempt", section: exemptSchema(&k.RDNS.Exempt)},
		}},
		{name: "dnsbl", section: c.dnsblSchema()},
	}
}

func tableSchema(t *policy.TableCheck) []field {
	return []field{
		{name: "mode", value: mode(&t.Mode)},
		{name: "reject", value: reply(&t.Reject)},
	}
}

func reactionSchema(r *policy.Reaction) []field {
	return []field{
		{name: "action", value: oneOf(&r.Action,
			policy.ActionReject, policy.ActionAccept, policy.ActionDiscard, policy.ActionQuarantine)},
		{name: "reply", value: reply(&r.Reply)},
	}
}

// portSchema reads one listener. What it does not say stays empty: a daemon name
// takes it from its port's number, and a number from the defaults.
func (c *Config) portSchema(key string) (field, error) {
	if err := checkPortKey(key); err != nil {
		return field{}, err
	}
	p := c.Ports[key]
	fields := []field{
		{name: "auth", value: oneOf(&p.Auth, policy.AuthRequire, policy.AuthAllow, policy.AuthRefuse)},
		{name: "tls", value: oneOf(&p.TLS, policy.TLSAllow, policy.TLSRequire)},
		{name: "relay", value: oneOf(&p.Relay, policy.RelayEntitled, policy.RelayAuthenticated, policy.RelayNone)},
		{name: "checks", value: portChecks(&p)},
		{name: "received", value: portReceived(&p)},
	}
	return field{name: key, section: fields, value: func(v value) {
		v.fields(fields)
		if c.Ports == nil {
			c.Ports = make(map[string]policy.Port)
		}
		c.Ports[key] = p
	}}, nil
}

// portChecks takes the modes of single checks on a port.
func portChecks(p *policy.Port) func(value) {
	return func(v value) {
		p.Checks = make(map[string]policy.Mode)
		var fields []field
		for _, name := range []string{"port", "recipient", "relay", "sender_login", "own_sender", "sender", "sender_domain", "client", "rdns", "dnsbl", "limits", "received"} {
			fields = append(fields, field{name: name, value: func(v value) {
				var m policy.Mode
				mode(&m)(v)
				p.Checks[name] = m
			}})
		}
		v.fields(fields)
	}
}

func checkPortKey(key string) error {
	// Other ways to write a number would make a daemon name that no one meant.
	_, err := strconv.ParseInt(key, 0, 64)
	switch {
	case (err == nil || strings.Trim(key, "0123456789") == "") && !isPort(key):
		return fmt.Errorf("port %s, expected a number from 1 to 65535 without leading zeros", quote(key))
	case !door.IsHostName(key):
		return fmt.Errorf("%s, expected a port number or a daemon name (Name= in DAEMON_OPTIONS)", quote(key))
	}
	return nil
}

// feature is a FEATURE, named as in sendmail.mc, and its switch.
type feature struct {
	name string
	on   *bool
}

func featureList(f *access.Features) []feature {
	return []feature{
		{"skip", &f.Skip},
		{"blocklist_recipients", &f.BlocklistRecipients},
		{"delay_checks", &f.DelayChecks},
		{"friend", &f.Friend},
		{"hater", &f.Hater},
		{"lookupdotdomain", &f.LookupDotDomain},
		{"relay_hosts_only", &f.RelayHostsOnly},
		{"relay_entire_domain", &f.RelayEntireDomain},
		{"relay_mail_from", &f.RelayMailFrom},
		{"relay_mail_from_domain", &f.RelayMailFromDomain},
		{"relay_local_from", &f.RelayLocalFrom},
		{"relaytofulladdress", &f.RelayToFullAddress},
		{"use_client_ptr", &f.UseClientPTR},
	}
}

// FeatureNames lists the FEATUREs that are on, named as in a configuration.
func FeatureNames(f access.Features) []string {
	var names []string
	for _, known := range featureList(&f) {
		if *known.on {
			names = append(names, known.name)
		}
	}
	return names
}

func features(to *access.Features) func(value) {
	return func(v value) {
		if !v.isList("[skip, delay_checks]") {
			return
		}
		var on access.Features
		entries(v, v.node.Content, word(func(name string) error { return switchOn(&on, name) }))
		// The argument of relay_mail_from brings the FEATURE with it.
		on.RelayMailFrom = on.RelayMailFrom || on.RelayMailFromDomain
		*to = on
	}
}

func switchOn(f *access.Features, name string) error {
	var names []string
	for _, known := range featureList(f) {
		if known.name == name {
			*known.on = true
			return nil
		}
		names = append(names, known.name)
	}
	return fmt.Errorf("unknown feature %s, %s", quote(name), meant(name, names, alternatives(names)))
}
