package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
)

// startOnly are the parts of a configuration that a reload does not change: the sockets
// and files that milterd opens at its start.
var startOnly = []struct {
	what  string
	value func(*Config) any
}{
	{"under listen:", func(c *Config) any { return c.Listen }},
	{"of grants.file, control, dovecot, logs, drac or max", func(c *Config) any {
		g := c.Grants
		g.TTL, g.MaxPerUser, g.RelayOnly, g.Exclude, g.ExcludeOwn, g.Require = 0, 0, false, nil, false, nil
		return g
	}},
	{"under redis: (but timeout)", func(c *Config) any {
		r := c.Redis
		r.Timeout = 0
		return r
	}},
	{"of limits.file or limits.max", func(c *Config) any { return [2]any{c.Limits.File, c.Limits.Max} }},
	{"under record:", func(c *Config) any { return c.Record }},
	{"of log.to", func(c *Config) any { return c.Log.To }},
	{"of log.format", func(c *Config) any { return c.Log.Format }},
}

// StartOnly says which changes take effect at the next start only.
func StartOnly() string {
	var all []string
	for _, part := range startOnly {
		all = append(all, part.what)
	}
	return "a change " + strings.Join(all, ", ")
}

// NeedRestart says which parts differ from the configuration that milterd started with,
// and so are not in force.
func (c *Config) NeedRestart(start *Config) []string {
	var all []string
	for _, part := range startOnly {
		if !reflect.DeepEqual(part.value(start), part.value(c)) {
			all = append(all, "a change "+part.what+" takes effect at the next start only")
		}
	}
	return all
}

// Emptied tells of files that had entries in the configuration before, nil for none, and have none now,
// and whether one of them is gone. That can be meant; more often a program that writes the file is not
// done, or has failed.
func (c *Config) Emptied(before *Config) (lost []string, gone bool) {
	if before == nil {
		return nil, false
	}
	for _, file := range slices.Sorted(maps.Keys(c.entries)) {
		had := before.entries[file]
		if had == 0 || c.entries[file] > 0 {
			continue
		}
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			gone = true
			lost = append(lost, fmt.Sprintf("%s: no such file any more, %d entries before; expected it there again, though it may be empty", file, had))
			continue
		}
		lost = append(lost, fmt.Sprintf("%s: no entries any more, %d before", file, had))
	}
	return lost, gone
}
