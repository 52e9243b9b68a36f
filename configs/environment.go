package configs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// variable is a key that the environment can set. They are the few that differ between
// containers of one image; all else belongs into the file.
type variable struct{ name, key string }

var variables = []variable{
	{"MILTERD_MODE", "mode"},
	{"MILTERD_LOG_LEVEL", "log.level"},
	{"MILTERD_LOG_FORMAT", "log.format"},
	{"MILTERD_LISTEN_MILTER", "listen.milter"},
	{"MILTERD_LISTEN_MAP", "listen.map"},
	{"MILTERD_LISTEN_HTTP", "listen.http"},
	{"MILTERD_ACCESS_FILE", "access.file"},
	{"MILTERD_HOSTNAME", "domains.hostname"},
}

// setting is a key that a variable has set.
type setting struct{ variable, value string }

// origin is how messages name a variable.
func origin(variable string) string { return "environment " + variable }

// foreign matches variables that begin like ours and are not: those that Kubernetes and
// Docker make for each service whose name begins with milterd, and those of the tests.
var foreign = regexp.MustCompile(`^MILTERD_(TEST_.*|(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.*)?)?))$`)

// environment reads the variables of environ (NAME=VALUE) over what is there. A variable
// that begins with MILTERD_ and is not known is a problem, as an unknown key is.
func (c *Config) environment(d *decoder, environ []string) {
	var names []string
	for _, v := range variables {
		names = append(names, v.name)
	}
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "MILTERD_") || foreign.MatchString(name) {
			continue
		}
		i := slices.Index(names, name)
		if i < 0 {
			meant := "expected one of " + strings.Join(names, ", ")
			if near := nearest(name, names); near != "" {
				meant = "did you mean " + near + "? Known are " + strings.Join(names, ", ")
			}
			if !isKey(name) {
				name = quote(name)
			}
			d.add(origin(name), 0, "unknown variable, %s", meant)
			continue
		}
		key := variables[i].key
		c.settings[key] = setting{name, text}
		// It has the problems of its value to itself: they are not on a line of the file.
		own := &decoder{report: report{config: c}, name: origin(name), top: d.top}
		c.lines[key] = 0
		valueOf(d.top, key)(value{decoder: own, path: key, node: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}})
		d.problems = append(d.problems, own.problems...)
	}
}

// valueOf is what takes the value of a key that there is.
func valueOf(fields []field, key string) func(value) {
	name, below, _ := strings.Cut(key, ".")
	f := fields[slices.IndexFunc(fields, func(f field) bool { return f.name == name })]
	if below == "" {
		return f.value
	}
	return valueOf(f.section, below)
}

// Environment lists the keys that the environment has set, each with its value and its
// origin, in the order of the reference.
func (c *Config) Environment() []string {
	var list []string
	for _, known := range variables {
		if s, ok := c.settings[known.key]; ok {
			list = append(list, fmt.Sprintf("%s: %s (%s)", known.key, quote(s.value), origin(s.variable)))
		}
	}
	return list
}

// place is the file and line that an explicit key stands at, or the variable that set it.
func (c *Config) place(key string) (file string, line int) {
	if s, ok := c.settings[key]; ok {
		return origin(s.variable), 0
	}
	return c.name, c.lines[key]
}
