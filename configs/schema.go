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
			{name: "milter", value: oneOrMore(&c.Listen.Milter, word(valid(door.ParseAddress)))},
			{name: "map", value: noneOrMore(&c.Listen.Map, word(valid(door.ParseAddress)))},
			{name: "http", value: checked(&c.Listen.HTTP, optional(valid(door.ParseAddress)))},
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
			{name: "realms", value: domains(&c.Domains.Realms, checkHostname)},
		}},
		{name: "dns", section: []field{
			{name: "servers", value: list(&c.DNS.Client.Servers, checkServer)},
			{name: "try_timeout", value: duration(&c.DNS.Client.TryTimeout, 10*time.Millisecond, 10*time.Second)},
			{name: "attempts", value: integer(&c.DNS.Client.Attempts, 1, 10)},
			{name: "timeout", value: duration(&c.DNS.Client.Timeout, 10*time.Millisecond, 10*time.Second)},
			{name: "deadline", value: duration(&c.DNS.Deadline, 10*time.Millisecond, 9*time.Second)},
			{name: "cache_entries", value: integer(&c.DNS.Client.CacheEntries, 1, 10_000_000)},
			{name: "min_ttl", value: duration(&c.DNS.Client.MinTTL, time.Second, 24*time.Hour)},
			{name: "max_ttl", value: duration(&c.DNS.Client.MaxTTL, time.Second, 7*24*time.Hour)},
			{name: "stale", value: duration(&c.DNS.Client.StaleTTL, 0, 7*24*time.Hour)},
		}},
		{name: "mode", value: oneOf(&c.Mode, policy.ModeEnforce, policy.ModeShadow)},
		{name: "nat_guard", value: oneOf(&c.NATGuard, NATGuardAuto, NATGuardOff)},
		{name: "checks", section: c.checksSchema()},
		{name: "ports", each: c.portSchema},
		{name: "received", section: c.receivedSchema()},
		{name: "grants", section: c.grantsSchema()},
		{name: "redis", section: c.redisSchema()},
		{name: "limits", section: []field{
			{name: "file", value: c.ownPath(&c.Limits.File, true)},
			{name: "max", value: integer(&c.Limits.Max, 1000, 100_000_000)},
			{name: "reply", value: reply(&c.Limits.Reply)},
			{name: "blocked", value: reply(&c.Limits.Blocked)},
			{name: "notify", value: program(&c.Limits.Notify)},
			{name: "rules", each: c.limitSchema},
		}},
		{name: "record", section: []field{
			{name: "dir", value: c.ownPath(&c.Record.Dir, true)},
			{name: "max_size", value: size(&c.Record.MaxSize, 64*kib, 64*gib)},
			{name: "keep", value: integer(&c.Record.Keep, 0, 1_000_000)},
			{name: "compress", value: oneOf(&c.Record.Compress, "gzip", "zstd", "none")},
			{name: "sample", value: share(&c.Record.Sample)},
			{name: "redact", value: boolean(&c.Record.Redact)},
			{name: "redact_key", value: secret(&c.Record.RedactKey, "a key")},
			{name: "redact_key_file", value: c.ownPath(&c.Record.RedactKeyFile, true)},
			{name: "headers", value: c.Record.headers},
			{name: "buffer", value: integer(&c.Record.Buffer, 1, 1_000_000)},
		}},
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
		{name: "sender_login", section: []field{
			{name: "mode", value: mode(&k.SenderLogin.Mode)},
			{name: "allow", value: listOf(&k.SenderLogin.Allow, policy.ParseSenderRule)},
			{name: "file", value: checked(&k.SenderLogin.File, optional(checkFile))},
			{name: "null_sender", value: boolean(&k.SenderLogin.NullSender)},
			{name: "reply", value: reply(&k.SenderLogin.Reply)},
		}},
		{name: "own_sender", section: []field{
			{name: "mode", value: mode(&k.OwnSender.Mode)},
			{name: "domains", value: domains(&k.OwnSender.Domains, checkDomain)},
			{name: "hosts", value: hosts(&k.OwnSender.Networks, &k.OwnSender.Hosts)},
			{name: "reply", value: reply(&k.OwnSender.Reply)},
		}},
		{name: "sender", section: tableSchema(&k.Sender)},
		{name: "sender_domain", section: []field{
			{name: "mode", value: mode(&k.SenderDomain.Mode)},
			{name: "missing", section: reactionSchema(&k.SenderDomain.Missing)},
			{name: "null_mx", section: reactionSchema(&k.SenderDomain.NullMX)},
			{name: "temporary", section: reactionSchema(&k.SenderDomain.Temporary)},
			{name: "bad_mx", section: append(reactionSchema(&k.SenderDomain.BadMX),
				field{name: "networks", value: networks(&c.DNS.BadNetworks)})},
		}},
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
		{name: "dnsbl", section: []field{
			{name: "mode", value: mode(&k.DNSBL.Mode)},
			{name: "threshold", value: integer(&c.DNS.Threshold, 1, 1_000_000)},
			{name: "reply", value: reply(&k.DNSBL.Reply)},
			{name: "temporary", value: reply(&k.DNSBL.Temporary)},
			{name: "lists", each: c.listSchema, example: "zen.example: {}"},
			{name: "exempt", section: exemptSchema(&k.DNSBL.Exempt)},
		}},
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
