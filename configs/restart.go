package configs

import (
	"reflect"
	"strings"
)

// startOnly are the parts of a configuration that a reload does not change: the sockets
// and files that milterd opens at its start.
func startOnly() []startPart {
	return []startPart{
		{"under listen:", func(c *Config) any { return c.Listen }},
		{"of grants.file, redis, control, dovecot, logs, drac or max", func(c *Config) any {
			g := c.Grants
			g.TTL, g.MaxPerUser, g.Exclude, g.ExcludeOwn, g.Require, g.Redis.Timeout = 0, 0, nil, false, nil, 0
			return g
		}},
		{"of limits.file or limits.max", func(c *Config) any { return [2]any{c.Limits.File, c.Limits.Max} }},
		{"under record:", func(c *Config) any { return c.Record }},
		{"of log.to", func(c *Config) any { return c.Log.To }},
		{"of log.format", func(c *Config) any { return c.Log.Format }},
	}
}

// startPart is one of them, in words and as a value.
type startPart struct {
	what  string
	value func(*Config) any
}

// StartOnly says which changes take effect at the next start only.
func StartOnly() string {
	var all []string
	for _, part := range startOnly() {
		all = append(all, part.what)
	}
	return "a change " + strings.Join(all, ", ")
}

// NeedRestart says which parts differ from the configuration that milterd started with,
// and so are not in force.
func (c *Config) NeedRestart(start *Config) []string {
	var all []string
	for _, part := range startOnly() {
		if !reflect.DeepEqual(part.value(start), part.value(c)) {
			all = append(all, "a change "+part.what+" takes effect at the next start only")
		}
	}
	return all
}
