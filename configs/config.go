// Package configs reads milterd's configuration.
//
// The file milterd.yaml beside this source is built into the binary. It holds
// every key with its default and a comment, and is the reference: what a user's
// file does not say is taken from there, key by key.
//
// Reading is strict, because a mail server whose administrator believes that a
// misspelt rule is in force is worse than one that does not start. An unknown
// key, a duplicate key, a wrong type, a second document, an impossible value, an
// anchor or a tag is a [Problem] with file and line, and all problems of a file
// are reported at once.
//
// schema.go lists every key beside the function that takes its value. Those that many
// keys need are in values.go and addresses.go, those of one section in the file of its
// name; so are the checks of values that are right one by one, but not together.
//
// [Load] and [Parse] only read the configuration. [Config.Policy] goes on to
// read what it names, the access table, the domain files and sendmail.cf, and
// makes the policy; [Config.Files] lists those files, so that they can be watched. [Place] says
// where a configuration is, and reload.go what a reload loses or does not change.
package configs

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"milterd/policy"
	"milterd/policy/access"
)

// reference is the embedded configuration: every key, its default and its comment.
//
//go:embed milterd.yaml
var reference []byte

// Config is a configuration: the embedded defaults, and what a user's file
// says instead. Its fields, and theirs, are the keys of the reference, which says what
// each means; the comments here are about the values.
type Config struct {
	Sendmail struct{ CF string }
	Listen   Listen
	Access   Access
	Domains  Domains
	DNS      DNS
	Mode     policy.Mode
	// NATGuard is NATGuardAuto or NATGuardOff.
	NATGuard string
	Checks   policy.Checks
	// Ports holds the rules of single listeners, by port number or daemon name.
	Ports    map[string]policy.Port
	Received policy.Scrub
	Grants   Grants
	Redis    Redis
	Limits   Limits
	Record   Record
	Status   Status
	Log      Log

	// Draft is read in place of the access table, whatever the configuration and sendmail.cf
	// say of it, if it is not empty.
	Draft string
	// LeftOut is how many entries of the access table could not be used when Policy read it.
	// The daemon goes on without them; to -check they are errors.
	LeftOut int

	name string // the file, empty for the embedded one
	// lines has the line of each key that the file holds, by its path, and settings the keys
	// that the environment has set, which wins over the file. Such a key is the
	// administrator's word and wins over sendmail.cf.
	lines    map[string]int
	settings map[string]setting
	// entries is how many the access table and each class file had, by path, when Policy
	// read them.
	entries map[string]int
	machine machine
}

// The values of Config.NATGuard.
const (
	NATGuardAuto = "auto" // see door.NATGuard
	NATGuardOff  = "off"
)

// Listen says where milterd waits for sendmail. It takes effect at the start
// only.
type Listen struct {
	// The addresses of the doors are in sendmail's notation: local:/path,
	// inet:port@host, inet6:port@host. Map and HTTP may be empty.
	Milter, Map []string
	HTTP        string
	// SocketGroup is a name or a number, empty for the process's own group.
	SocketMode  os.FileMode
	SocketGroup string
	// MaxConnections is for each door.
	MaxConnections int
	Shutdown       time.Duration
}

// Access names the access table and the FEATUREs that change its use.
type Access struct {
	File     string
	Features access.Features
	MaxSize  int64 // octets
}

// Domains are the names that are ours, and those we relay for.
type Domains struct {
	// Hostname is sendmail's $j, empty to find it out.
	Hostname string
	// Local (class w) and Relay (class R) hold names, and files of names
	// (entries that begin with a slash).
	Local, Relay []string
	Realms       policy.Domains
}

// Status is about the page for people at Listen.HTTP.
type Status struct {
	Hosts []string
	// Token is that of TokenFile once Policy has read it.
	Token     Secret
	TokenFile string
	Private   bool
}

// Log says what is logged, where to (LogStderr or LogSyslog), and how.
type Log struct{ To, Level, Format string }

// Where the log can go.
const (
	LogStderr = "stderr"
	LogSyslog = "syslog"
)

// Default is the embedded configuration, with what the variables of environ
// (NAME=VALUE) set.
func Default(environ ...string) (*Config, error) {
	return Parse("", nil, environ...)
}

// Load reads the configuration in a file. What neither the file nor a variable of
// environ says is as in the embedded one. The error is an [*Error] that holds every
// problem, unless the file could not be read.
func Load(path string, environ ...string) (*Config, error) {
	data, err := readFile(path, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data, environ...)
}

// Parse reads a configuration from memory; name is used in messages, and its
// directory is where relative paths begin. Without a name the file is an empty one.
func Parse(name string, data []byte, environ ...string) (*Config, error) {
	top := &yaml.Node{Kind: yaml.MappingNode}
	if name != "" {
		var err error
		if top, err = document(name, data); err != nil {
			return nil, err
		}
	}
	return over(name, top, environ)
}

// LoadListen reads of a file only where the doors are: a daemon that runs by an older
// version of it can be asked whatever mistake the file has elsewhere. A file that is gone,
// or no YAML, counts as an empty one. The error tells of the section listen alone, and of
// the environment.
func LoadListen(path string, environ ...string) (*Config, error) {
	listen := &yaml.Node{Kind: yaml.MappingNode}
	data, _ := readFile(path, maxConfig) // without it: no YAML
	if top, err := document(path, data); err == nil {
		for key, value := range pairs(top) {
			if key.Value == "listen" {
				listen.Content = append(listen.Content, key, value)
			}
		}
	}
	return over(path, listen, environ)
}

// over is what a file's document and the environment say over the embedded configuration.
func over(name string, top *yaml.Node, environ []string) (*Config, error) {
	c := &Config{name: "milterd.yaml", settings: make(map[string]setting), machine: thisMachine()}
	base, err := document(c.name, reference)
	if err == nil {
		err = c.overlay(base, nil)
	}
	if err != nil {
		return nil, err
	}
	c.name = name
	return c, c.overlay(top, environ)
}

// Name is the file the configuration was read from, empty for the embedded one.
func (c *Config) Name() string { return c.name }

// Said calls each with every key that the environment sets or the file holds, in this order,
// and with its place: the variable, or FILE:LINE. Sections are left out, as their keys are
// there.
func (c *Config) Said(each func(key, place string)) {
	keys := slices.SortedFunc(maps.Keys(c.lines), func(a, b string) int { return cmp.Or(c.lines[a]-c.lines[b], cmp.Compare(a, b)) })
	for i, key := range keys {
		if i+1 == len(keys) || !strings.HasPrefix(keys[i+1], key+".") {
			file, line := c.place(key)
			if line > 0 {
				file = fmt.Sprintf("%s:%d", file, line)
			}
			each(key, file)
		}
	}
}

// overlay reads a configuration, and the environment over it; its keys replace the values
// from before.
func (c *Config) overlay(node *yaml.Node, environ []string) error {
	c.lines = make(map[string]int)
	d := &decoder{report: report{config: c}, name: c.name, top: c.schema()}
	value{decoder: d, node: node}.fields(d.top)
	c.environment(d, environ)
	// Values that are right one by one, but not together:
	c.checkFeatures(d)
	c.checkListeners(d)
	c.checkSenders(d)
	c.checkLists(d)
	c.checkGrants(d)
	c.checkRedis(d)
	c.checkLimits(d)
	c.checkRecord(d)
	c.checkSecrets(d)
	d.problems.redact(node)
	return d.err()
}

func (c *Config) checkFeatures(d *decoder) {
	f := c.Access.Features
	if f.Friend && f.Hater {
		d.wrong("access.features", "friend and hater exclude each other")
	}
	if (f.Friend || f.Hater) && !f.DelayChecks {
		d.wrong("access.features", "friend and hater are parts of delay_checks, expected it in the list as well")
	}
}

// MapWanted reports whether the configuration itself says where the map door is. A
// default that cannot be had need not stop those who do not use that door.
func (c *Config) MapWanted() bool { return c.explicit("listen.map") }

// explicit reports whether the file itself, or the environment, holds a key.
func (c *Config) explicit(path string) bool {
	_, ok := c.lines[path]
	return ok
}

// Place is where the configuration is: the -config flag, empty without one, or the file that
// is read then, if there is such a file.
type Place struct{ Flag, Fallback string }

// File is the file that is, or would be, read.
func (p Place) File() string { return cmp.Or(p.Flag, p.Fallback) }

// Load reads the configuration. Without a flag, the embedded one counts, with a warning,
// only if there is no directory for one either: a service whose file is gone must not
// begin to refuse mail.
func (p Place) Load() (config *Config, warning string, err error) {
	config, err = Load(p.File(), os.Environ()...)
	if p.Flag != "" || !errors.Is(err, fs.ErrNotExist) {
		return config, "", err
	}
	if _, statErr := os.Stat(filepath.Dir(p.Fallback)); !errors.Is(statErr, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%w; expected that file, as its directory is there (with the line `mode: shadow` it refuses nothing, with `mode: enforce` it is the built-in configuration)%s",
			err, p.misnamed())
	}
	config, err = Default(os.Environ()...)
	return config, "no configuration file " + p.Fallback + ", the built-in one is in force", err
}

// misnamed tells of a file that may be meant.
func (p Place) misnamed() string {
	// A pattern without special characters but the last cannot be malformed.
	others, _ := filepath.Glob(strings.TrimSuffix(p.Fallback, filepath.Ext(p.Fallback)) + ".*")
	if len(others) == 0 {
		return ""
	}
	return "; " + others[0] + " is there, but not read: rename it, or use -config"
}
