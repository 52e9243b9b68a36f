package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"milterd/milter/door"
)

// Redis is the Redis or Valkey that keeps the grants and the counts of the limits of many
// hosts. All but Timeout takes effect at the start only.
type Redis struct {
	// Addresses are host:port, redis://host:port, rediss://host:port (with TLS) or the path
	// of a unix socket; empty for none. Several are nodes of a cluster, or Sentinels.
	Addresses []string
	Master    string
	Cluster   bool
	// CA is what CAFile holds once Policy has read it, and Password is that of PasswordFile.
	CAFile       string
	CA           []byte
	Username     string
	Password     Secret
	PasswordFile string
	DB           int
	Prefix       string
	Timeout      time.Duration
}

func (c *Config) redisSchema() []field {
	r := &c.Redis
	return []field{
		{name: "address", value: noneOrMore(&r.Addresses, redisAddress)},
		{name: "master", value: checked(&r.Master, optional(matching(`[A-Za-z0-9._-]{1,100}`, "the name that Sentinels give the server")))},
		{name: "cluster", value: boolean(&r.Cluster)},
		{name: "ca_file", value: c.ownPath(&r.CAFile, true)},
		{name: "username", value: optionalText(&r.Username)},
		{name: "password", value: secret(&r.Password, "a password")},
		{name: "password_file", value: c.ownPath(&r.PasswordFile, true)},
		{name: "db", value: integer(&r.DB, 0, 65535)},
		{name: "prefix", value: checked(&r.Prefix, checkPrefix)},
		{name: "timeout", value: duration(&r.Timeout, 10*time.Millisecond, 5*time.Second)},
	}
}

// movedRedis says where keys of grants.redis are now.
func movedRedis(v value) {
	before := len(v.problems)
	v.keys(func(key string, below value) {
		v.add(v.name, v.config.lines[below.path], "%s: the section stands by itself now, as grants and limits share it; write redis: {%s: ...}, beside grants", below.path, key)
	})
	if len(v.problems) == before {
		v.fail("the section stands by itself now, as grants and limits share it; expected redis:, beside grants")
	}
}

// redisAddress reads the address of a Redis server. A password in it would be shown
// wherever the address is.
func redisAddress(s string) (string, error) {
	host := strings.TrimPrefix(strings.TrimPrefix(s, "redis://"), "rediss://")
	switch {
	case strings.Contains(s, "@"):
		return "", errors.New("a name or a password in the address; username, password and password_file are for them")
	case strings.HasPrefix(s, "/"):
		return s, checkLocal("local:" + s)
	case strings.HasPrefix(s, "local:"), strings.HasPrefix(s, "unix:"):
		_, path, _ := strings.Cut(s, ":")
		return path, checkLocal("local:" + path)
	case !isHostPort(host):
		return "", fmt.Errorf("%s, expected host:port, redis://host:port, rediss://host:port (with TLS) or local:/path", quote(s))
	}
	return s, nil
}

func isHostPort(s string) bool {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return at.Port() != 0
	}
	host, port, _ := strings.Cut(s, ":")
	return door.IsHostName(host) && isPort(port)
}

// checkPrefix takes the prefix of the keys in Redis, which are listed by a pattern made of it.
var checkPrefix = matching(`[!-)+->@-Z_-~]{1,100}`, `printable ASCII without blanks and none of *?[]^\, such as "{milterd}:"`)

// hashTag is a part in braces by which one node of a cluster has all keys.
var hashTag = regexp.MustCompile(`^[^{}]*\{[^}]+\}`)

func (c *Config) checkRedis(d *decoder) {
	r := &c.Redis
	withTLS := func(address string) bool { return strings.HasPrefix(address, "rediss://") }
	switch {
	case slices.ContainsFunc(r.Addresses, func(a string) bool { return withTLS(a) != withTLS(r.Addresses[0]) }):
		d.wrong("redis.address", "some with TLS (rediss://) and some without, expected the same for all")
	case r.Master != "" && r.Cluster:
		d.wrong(d.said("redis.master", "redis.cluster"), "a server that Sentinels know is no cluster, expected one of redis.master and redis.cluster")
	case r.Master == "" && (r.Cluster || len(r.Addresses) > 1) && !hashTag.MatchString(r.Prefix):
		d.wrong(d.said("redis.address", "redis.prefix"), "a cluster needs a prefix with a part in braces, such as \"{milterd}:\", so that one node has all keys")
	}
}

// readCA reads the certificates that sign those of the servers.
func (c *Config) readCA(s *sources) {
	if c.Redis.CAFile == "" {
		return
	}
	data, err := readFile(c.Redis.CAFile, maxClassFile)
	if err != nil {
		s.failed("redis.ca_file", c.source("redis.ca_file", c.Redis.CAFile, mustExist), err)
		return
	}
	c.Redis.CA = data
}
