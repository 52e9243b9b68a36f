package configs

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"milterd/milter/door"
	"milterd/policy/grant"
)

// Grants says which clients may relay for a while because a user has just read mail from
// the same address, how milterd learns of that, and where it keeps it. Changes of the
// last two take effect at the start only.
type Grants struct {
	TTL             time.Duration
	MaxPerUser, Max int
	RelayOnly       bool
	// Exclude is never nil; ExcludeOwn is the word own.
	Exclude    []netip.Prefix
	ExcludeOwn bool
	Require    []netip.Prefix
	// File is a complete path; empty for memory only.
	File string
	// Control is local:/path, empty for none, and ControlGroup a name or a number.
	Control      string
	ControlGroup string
	Dovecot      Dovecot
	Logs         []MailLog
	DRAC         DRAC
}

// Dovecot is the auth policy server that Dovecot reports logins to.
type Dovecot struct {
	Listen string // in sendmail's notation; empty for none
	// Secret is that of SecretFile once Policy has read it.
	Secret     Secret
	SecretFile string
}

// MailLog is a log that is followed for logins.
type MailLog struct {
	File   string // a complete path
	Format string // one of logFormats
	// Regexp is that of the format regexp for a whole line, valid, with a group addr.
	Regexp string
}

// DRAC is the server of the Dynamic Relay Authorization Control protocol.
type DRAC struct {
	// Listen is a UDP address in sendmail's notation, port 0 for any port; empty
	// for none.
	Listen                string
	Allow                 []netip.Prefix
	ReservedPort, RPCBind bool
}

// GrantsConfigured reports whether there can be any grant: a source, a store or a
// control socket is configured.
func (c *Config) GrantsConfigured() bool { return c.Grants.Control != "" || c.grantsExpected() }

// grantsExpected is GrantsConfigured without a control socket, which may be there for -block
// alone.
func (c *Config) grantsExpected() bool {
	g := &c.Grants
	return g.File != "" || len(c.Redis.Addresses) > 0 || g.Dovecot.Listen != "" || len(g.Logs) > 0 || g.DRAC.Listen != ""
}

func (c *Config) grantsSchema() []field {
	g := &c.Grants
	return []field{
		{name: "ttl", value: duration(&g.TTL, time.Second, 24*time.Hour)},
		{name: "max_per_user", value: integer(&g.MaxPerUser, 1, 10_000)},
		{name: "max", value: integer(&g.Max, 1, 10_000_000)},
		{name: "relay_only", value: boolean(&g.RelayOnly)},
		{name: "exclude", value: networksOr(func(words []string, networks []netip.Prefix) {
			g.ExcludeOwn, g.Exclude = slices.Contains(words, "own"), append([]netip.Prefix{}, networks...)
			for _, word := range words {
				// own is known where milterd runs.
				named, _ := grant.Networks(word)
				g.Exclude = append(g.Exclude, named...)
			}
		}, append(grant.NetworkNames(), "own")...)},
		{name: "require", value: networks(&g.Require)},
		{name: "file", value: c.ownPath(&g.File, true)},
		{name: "control", value: checked(&g.Control, optional(checkLocal))},
		{name: "control_group", value: optionalText(&g.ControlGroup)},
		{name: "dovecot", section: []field{
			{name: "listen", value: checked(&g.Dovecot.Listen, optional(checkLoopback))},
			{name: "secret", value: secret(&g.Dovecot.Secret, "a secret")},
			{name: "secret_file", value: c.ownPath(&g.Dovecot.SecretFile, true)},
		}},
		{name: "logs", value: c.mailLogs(&g.Logs)},
		{name: "drac", section: []field{
			{name: "listen", value: checked(&g.DRAC.Listen, optional(valid(door.ParsePacketAddress)))},
			{name: "allow", value: networks(&g.DRAC.Allow)},
			{name: "reserved_port", value: boolean(&g.DRAC.ReservedPort)},
			{name: "rpcbind", value: boolean(&g.DRAC.RPCBind)},
		}},
	}
}

// logFormats are the formats of logs that are known.
var logFormats = []string{"dovecot", "qpopper", "uw", "courier", "cyrus", "regexp"}

// maxLogs bounds the logs that are followed.
const maxLogs = 16

func (c *Config) mailLogs(to *[]MailLog) func(value) {
	return func(v value) {
		if !v.isList("[{file: /var/log/mail.log, format: dovecot}]") {
			return
		}
		if n := len(v.node.Content); n > maxLogs {
			v.fail("%d logs, expected %d at most", n, maxLogs)
			return
		}
		logs := make([]MailLog, 0, len(v.node.Content))
		for i, n := range v.node.Content {
			entry := value{decoder: v.decoder, path: fmt.Sprintf("%s[%d]", v.path, i+1), node: n}
			before := len(v.problems)
			log := c.mailLog(entry)
			if len(v.problems) == before && slices.Contains(logs, log) {
				entry.fail("the same log and format are listed before")
			}
			logs = append(logs, log)
		}
		*to = logs
	}
}

func (c *Config) mailLog(v value) MailLog {
	var l MailLog
	if !v.plain() {
		return l
	}
	v.fields([]field{
		{name: "file", value: c.ownPath(&l.File, false)},
		{name: "format", value: oneOf(&l.Format, logFormats...)},
		{name: "regexp", value: checked(&l.Regexp, optional(checkLoginRegexp))},
	})
	if v.node.Kind != yaml.MappingNode {
		return l
	}
	switch {
	case !v.given("file"):
		v.fail("no file, expected the log to follow")
	case !v.given("format"):
		v.fail("no format, expected %s", alternatives(logFormats))
	case l.Format == "regexp" && !v.given("regexp"):
		v.fail(`format: regexp needs a regexp, such as '\S+ pop3d: login ok ip=(?P<addr>\S+)'`)
	case l.Format != "regexp" && l.Format != "" && l.Regexp != "":
		v.fail("a regexp is for format: regexp, this one is %s", l.Format)
	}
	return l
}

// maxRegexp bounds an expression that is tried on every line of a log.
const maxRegexp = 1000

// checkLoginRegexp says what is wrong with an expression for the whole lines that
// announce a login.
func checkLoginRegexp(s string) error {
	if len(s) > maxRegexp {
		return fmt.Errorf("%s: %d octets, expected %d at most", quote(s), len(s), maxRegexp)
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(s), err)
	}
	groups := map[string]int{"addr": 0, "user": 0}
	for _, name := range re.SubexpNames() {
		if n, known := groups[name]; known {
			groups[name] = n + 1
		} else if name != "" {
			return fmt.Errorf("%s: a group %s, expected addr and user only", quote(s), name)
		}
	}
	if groups["addr"] != 1 || groups["user"] > 1 {
		return fmt.Errorf("%s, expected one group (?P<addr>...) around the address, and at most one (?P<user>...)", quote(s))
	}
	return nil
}

func (c *Config) checkGrants(d *decoder) {
	g := &c.Grants
	if g.File != "" && len(c.Redis.Addresses) > 0 {
		d.wrong(d.said("grants.file", "redis.address"), "a file and Redis cannot both keep the grants, expected one of grants.file and redis.address")
	}
	if g.Dovecot.Listen != "" && g.Dovecot.Secret == "" && g.Dovecot.SecretFile == "" {
		// A socket as well: its mode and group are those of the doors for sendmail.
		d.wrong("grants.dovecot.listen", "whoever can connect to %s could grant, so a secret or a secret_file is needed", g.Dovecot.Listen)
	}
	if g.DRAC.Listen != "" && everybody(g.DRAC.Allow) {
		d.wrong(d.said("grants.drac.listen", "grants.drac.allow"), "these networks are everybody, who could then relay; expected those of the POP and IMAP servers")
	}
	if g.DRAC.Listen != "" && len(g.DRAC.Allow) == 0 {
		d.wrong(d.said("grants.drac.listen", "grants.drac.allow"), "nobody may grant, expected at least one network in grants.drac.allow")
	}
	if address, err := door.ParsePacketAddress(g.DRAC.Listen); err == nil && address.Port() == 0 && !g.DRAC.RPCBind {
		d.wrong(d.said("grants.drac.listen", "grants.drac.rpcbind"), "without rpcbind nobody learns which port it is, expected a port")
	}
}
