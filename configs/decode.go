package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"milterd/policy/printable"
)

// The decoder walks the YAML nodes itself: the strictness of yaml.v3 stops at
// the first error, and is lost in values that decode themselves.

// field is one key of a section.
type field struct {
	name string
	// section holds the keys below this one.
	section []field
	// each makes the field of an entry, for a section whose keys the
	// administrator chooses.
	each func(key string) (field, error)
	// example shows such an entry in messages; it may be empty.
	example string
	// value takes the key's value, also if it is a section.
	value func(v value)
}

// decoder reads one configuration.
type decoder struct {
	report
	// name is the file, or the variable, that is read.
	name string
	// top is the whole schema. It shows the right place of a misplaced key.
	top []field
}

// value is a key's value on its way into the configuration.
type value struct {
	*decoder
	path string
	node *yaml.Node
}

// fail reports a problem of the value.
func (v value) fail(format string, args ...any) {
	v.add(v.name, v.node.Line, "%s: %s", cmp.Or(v.path, "the configuration"), fmt.Sprintf(format, args...))
}

// given reports whether the value's section holds a key.
func (v value) given(key string) bool { return v.config.explicit(join(v.path, key)) }

// plain reports anchors, aliases and tags, which would make a value come from
// somewhere else or mean something else than the text says.
func (v value) plain() bool {
	switch {
	case v.node.Kind == yaml.AliasNode:
		v.fail("an alias (*%s), expected the value itself; quote a value that begins with *", v.node.Value)
	case v.node.Anchor != "":
		v.fail("an anchor (&%s), expected the value without it", v.node.Anchor)
	case v.node.Style&yaml.TaggedStyle != 0:
		v.fail("a tag (%s), expected the value without it", v.node.Tag)
	default:
		return true
	}
	return false
}

// fields reads a section.
func (v value) fields(fields []field) {
	if v.node.Kind == yaml.ScalarNode && v.path != "" && v.plain() {
		v.fail("%s, expected keys and values%s", kind(v.node), v.sectionHint(fields))
		return
	}
	v.keys(func(key string, below value) {
		for _, f := range fields {
			if f.name == key {
				below.take(f)
				return
			}
		}
		if below.path == "grants.redis" {
			movedRedis(below)
			return
		}
		v.add(v.name, v.config.lines[below.path], "unknown key %s, %s", below.path, v.hint(key, fields))
	})
}

// take reads the value of one key.
func (v value) take(f field) {
	if f.value != nil {
		if v.plain() {
			f.value(v)
		}
		return
	}
	if f.each == nil {
		v.fields(f.section)
		return
	}
	if f.example != "" && v.node.Kind == yaml.SequenceNode {
		v.fail("%s, expected keys and values, such as %s", kind(v.node), f.example)
		return
	}
	v.keys(func(key string, below value) {
		entry, err := f.each(key)
		if err != nil {
			v.add(v.name, v.config.lines[below.path], "%s: %v", v.path, err)
			return
		}
		below.take(entry)
	})
}

// keys calls visit for each key of a mapping, with the value below it.
func (v value) keys(visit func(key string, below value)) {
	if !v.plain() {
		return
	}
	if v.node.Kind != yaml.MappingNode {
		v.fail("%s, expected keys and values", kind(v.node))
		return
	}
	for key, node := range pairs(v.node) {
		below := value{decoder: v.decoder, path: join(v.path, key.Value), node: node}
		name := value{decoder: v.decoder, path: v.path, node: key}
		if key.Tag == "!!merge" {
			name.fail("a merge key (<<), expected the keys themselves")
			continue
		}
		if !name.plain() {
			continue
		}
		if key.Kind != yaml.ScalarNode || key.Tag == "!!null" || !isKey(key.Value) {
			name.fail("%s as a key, expected a name", kind(key))
			continue
		}
		if line, twice := v.config.lines[below.path]; twice {
			v.add(v.name, key.Line, "%s: given twice, first on line %d", below.path, line)
			continue
		}
		v.config.lines[below.path] = key.Line
		// A value that is missing has the place of what follows it.
		if below.node.Tag == "!!null" && below.node.Value == "" {
			below.node.Line = key.Line
		}
		visit(key.Value, below)
	}
}

// isKey reports whether s could be a key, so that it can be shown as it is.
func isKey(s string) bool { return s != "" && len(s) <= 255 && printable.Text(s) == s }

// said is the last of some keys that the file itself holds, or the last one.
func (d *decoder) said(keys ...string) string {
	for _, key := range slices.Backward(keys) {
		if d.config.explicit(key) {
			return key
		}
	}
	return keys[len(keys)-1]
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// kind says what a node is, in an administrator's words.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.Tag {
	case "!!null":
		return "no value"
	case "!!bool", "!!int", "!!float", "!!timestamp":
		return strings.Trim(quote(n.Value), `"`)
	}
	return quote(n.Value)
}
