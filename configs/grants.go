package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"milterd/milter/door"
	"milterd/policy/grant"
)

// Grants says which clients may relay for a while because a user has just read mail from
// the same address, how milterd learns of that, and where it keeps it. Changes of the
// last two take effect at the start only.
type Grants struct {
	// TTL is how long a login counts.
	TTL time.Duration
	// MaxPerUser bounds the addresses that one user can open, Max all of them.
	MaxPerUser, Max int
	// Exclude are networks whose addresses get no grant, never nil; ExcludeOwn adds
	// the addresses of this machine.
	Exclude    []netip.Prefix
	ExcludeOwn bool
	// Require are the only networks whose addresses get one; empty for all.
	Require []netip.Prefix
	// File keeps grants over a restart; empty for memory only. Its path is complete.
	File  string
	Redis Redis
	// Control is the address of the socket for administrators, local:/path; empty
	// for none. ControlGroup is the group that may use it beside its owner, a name or
	// a number; empty for none.
	Control      string
	ControlGroup string
	Dovecot      Dovecot
	Logs         []MailLog
	DRAC         DRAC
}

// Redis is a Redis or Valkey server that keeps the grants of many hosts.
type Redis struct {
	// Address is host:port, redis://host:port, rediss://host:port (with TLS) or
	// the path of a unix socket; empty for none.
	Address  string
	Username string
	// Password is that of PasswordFile once Policy has read it.
	Password     Secret
	PasswordFile string
	DB           int
	// Prefix begins every key.
	Prefix string
	// Timeout bounds one operation.
	Timeout time.Duration
}

// Dovecot is the auth policy server that Dovecot reports logins to.
type Dovecot struct {
	// Listen is its address in sendmail's notation; empty for none.
	Listen string
	// Secret is that of SecretFile once Policy has read it.
	Secret     Secret
	SecretFile string
}

// MailLog is a log that is followed for logins.
type MailLog struct {
	// File has a complete path.
	File string
	// Format is dovecot, qpopper, uw, courier, cyrus or regexp.
	Format string
	// Regexp is the expression of the format regexp for a whole line, valid, with a
	// group addr.
	Regexp string
}

// DRAC is the server of the Dynamic Relay Authorization Control protocol.
type DRAC struct {
	// Listen is a UDP address in sendmail's notation, port 0 for any port; empty
	// for none.
	Listen string
	// Allow are the networks whose hosts may grant.
	Allow []netip.Prefix
	// ReservedPort wants a source port below 1024 from them, which root alone can
	// use.
	ReservedPort bool
	// RPCBind registers the port with rpcbind, which is where clients ask for it.
	RPCBind bool
}

// GrantsConfigured reports whether there can be any grant: a source, a store or a
// control socket is configured.
func (c *Config) GrantsConfigured() bool {
	g := &c.Grants
	return g.File != "" || g.Redis.Address != "" || g.Control != "" ||
		g.Dovecot.Listen != "" || len(g.Logs) > 0 || g.DRAC.Listen != ""
}

func (c *Config) grantsSchema() []field {
	g := &c.Grants
	return []field{
		{name: "ttl", value: duration(&g.TTL, time.Second, 24*time.Hour)},
		{name: "max_per_user", value: integer(&g.MaxPerUser, 1, 10_000)},
		{name: "max", value: integer(&g.Max, 1, 10_000_000)},
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
		{name: "redis", section: []field{
			{name: "address", value: redisAddress(&g.Redis.Address)},
			{name: "username", value: optionalText(&g.Redis.Username)},
			{name: "password", value: secret(&g.Redis.Password, "a password")},
			{name: "password_file", value: c.ownPath(&g.Redis.PasswordFile, true)},
			{name: "db", value: integer(&g.Redis.DB, 0, 65535)},
			{name: "prefix", value: checked(&g.Redis.Prefix, checkPrefix)},
			{name: "timeout", value: duration(&g.Redis.Timeout, 10*time.Millisecond, 5*time.Second)},
		}},
		{name: "control", value: checked(&g.Control, optional(checkLocal))},
		{name: "control_group", value: optionalText(&g.ControlGroup)},
		{name: "dovecot", section: []field{
			{name: "listen", value: checked(&g.Dovecot.Listen, optional(checkLoopback))},
			{name: "secret", value: secret(&g.Dovecot.Secret, "a secret")},
			{name: "secret_file", value: c.ownPath(&g.Dovecot.SecretFile, true)},
		}},
		{name: "logs", value: c.mailLogs(&g.Logs)},
		{name: "drac", section: []field{
			{name: "listen", value: checked(&g.DRAC.Listen, optional(checkDatagram))},
			{name: "allow", value: networks(&g.DRAC.Allow)},
			{name: "reserved_port", value: boolean(&g.DRAC.ReservedPort)},
			{name: "rpcbind", value: boolean(&g.DRAC.RPCBind)},
		}},
	}
}

// redisAddress takes the address of a Redis server. A password in it would be
// shown wherever the address is.
func redisAddress(to *string) func(value) {
	return parsed(to, func(s string) (string, error) {
		host := strings.TrimPrefix(strings.TrimPrefix(s, "redis://"), "rediss://")
		switch {
		case strings.Contains(s, "@"):
			return "", errors.New("a name or a password in the address; username, password and password_file are for them")
		case strings.HasPrefix(s, "/"):
			return s, checkLocal("local:" + s)
		case strings.HasPrefix(s, "local:"), strings.HasPrefix(s, "unix:"):
			_, path, _ := strings.Cut(s, ":")
			return path, checkLocal("local:" + path)
		case s != "" && !isHostPort(host):
			return "", fmt.Errorf("%s, expected host:port, redis://host:port, rediss://host:port (with TLS) or local:/path", quote(s))
		}
		return s, nil
	})
}

func isHostPort(s string) bool {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return at.Port() != 0
	}
	host, port, _ := strings.Cut(s, ":")
	return door.IsHostName(host) && isPort(port)
}

// checkPrefix says what is wrong with the prefix of the keys in Redis, which are
// listed by a pattern made of it.
func checkPrefix(s string) error {
	if s == "" || len(s) > 100 || strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 || strings.ContainsAny(s, `*?[]^\`) {
		return fmt.Errorf(`%s, expected printable ASCII without blanks and none of *?[]^\, such as "milterd:grant:"`, quote(s))
	}
	return nil
}

// maxLogs bounds the logs that are followed.
const maxLogs = 16

// mailLogs takes the list of logs.
func (c *Config) mailLogs(to *[]MailLog) func(value) {
	return func(v value) {
		if v.node.Kind != yaml.SequenceNode {
			v.fail("%s, expected a list, such as [{file: /var/log/mail.log, format: dovecot}]", kind(v.node))
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

// mailLog takes one log.
func (c *Config) mailLog(v value) MailLog {
	var l MailLog
	if !v.plain() {
		return l
	}
	v.fields([]field{
		{name: "file", value: c.ownPath(&l.File, false)},
		{name: "format", value: oneOf(&l.Format, "dovecot", "qpopper", "uw", "courier", "cyrus", "regexp")},
		{name: "regexp", value: checked(&l.Regexp, optional(checkLoginRegexp))},
	})
	if v.node.Kind != yaml.MappingNode {
		return l
	}
	switch {
	case !v.given("file"):
		v.fail("no file, expected the log to follow")
	case !v.given("format"):
		v.fail("no format, expected dovecot, qpopper, uw, courier, cyrus or regexp")
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

// checkGrants reports values that are right one by one, but not together.
func (c *Config) checkGrants(d *decoder) {
	g := &c.Grants
	if g.File != "" && g.Redis.Address != "" {
		d.wrong(d.said("grants.file", "grants.redis.address"), "a file and Redis cannot both keep the grants, expected one of grants.file and grants.redis.address")
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
	if address, err := door.ParsePacketAddress(g.DRAC.Listen); err == nil && address.Port() == 0 {
		if !g.DRAC.RPCBind {
			d.wrong(d.said("grants.drac.listen", "grants.drac.rpcbind"), "without rpcbind nobody learns which port it is, expected a port")
		}
	}
}
