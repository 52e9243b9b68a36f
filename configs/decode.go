package configs

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
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
	// value takes the key's value, also if it is a section.
	value func(v value)
}

// decoder reads one configuration.
type decoder struct {
	name string
	problems
	// lines has the line of every key that the file holds, by path.
	lines map[string]int
	// top is the whole schema, to tell where a misplaced key belongs.
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
	v.add(v.name, v.node.Line, "%s: %s", v.path, fmt.Sprintf(format, args...))
}

// wrong reports a problem of a key.
func (d *decoder) wrong(key, format string, args ...any) {
	d.add(d.name, d.lines[key], "%s: %s", key, fmt.Sprintf(format, args...))
}

// given reports whether the value's section holds a key.
func (v value) given(key string) bool {
	_, ok := v.lines[join(v.path, key)]
	return ok
}

// plain reports anchors, aliases and tags, which would make a value come from
// somewhere else or be something else than what is written.
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
		v.add(v.name, v.node.Line, "%s: %s, expected keys and values%s", v.path, kind(v.node), v.sectionHint(fields))
		return
	}
	v.keys(func(key string, below value) {
		for _, f := range fields {
			if f.name == key {
				below.take(f)
				return
			}
		}
		v.add(v.name, v.lines[below.path], "unknown key %s%s", below.path, v.hint(key, fields))
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
	v.keys(func(key string, below value) {
		entry, err := f.each(key)
		if err != nil {
			v.add(v.name, v.lines[below.path], "%s: %v", v.path, err)
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
		v.add(v.name, v.node.Line, "%s: %s, expected keys and values", v.title(), kind(v.node))
		return
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key := v.node.Content[i]
		below := value{decoder: v.decoder, path: join(v.path, key.Value), node: v.node.Content[i+1]}
		name := value{decoder: v.decoder, path: v.title(), node: key}
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
		if line, twice := v.lines[below.path]; twice {
			v.add(v.name, key.Line, "%s: given twice, first on line %d", below.path, line)
			continue
		}
		v.lines[below.path] = key.Line
		// A value that is missing has the place of what follows it.
		if below.node.Tag == "!!null" && below.node.Value == "" {
			below.node.Line = key.Line
		}
		visit(key.Value, below)
	}
}

// isKey reports whether s could be a key, so that it can be shown as it is.
func isKey(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// said is the last of some keys that the file itself holds, or the last one.
func (d *decoder) said(keys ...string) string {
	for _, key := range slices.Backward(keys) {
		if _, ok := d.lines[key]; ok {
			return key
		}
	}
	return keys[len(keys)-1]
}

// title names the section in messages.
func (v value) title() string {
	if v.path == "" {
		return "the configuration"
	}
	return v.path
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

// sectionHint says how to write a section that was given a plain value.
func (v value) sectionHint(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if !slices.Contains(names, "mode") {
		return " (" + strings.Join(names, ", ") + ")"
	}
	key := v.path[strings.LastIndexByte(v.path, '.')+1:]
	mode := strings.ToLower(v.node.Value)
	switch mode {
	case "enforce", "shadow", "off":
	case "no", "false":
		mode = "off"
	case "yes", "true", "on":
		mode = "enforce"
	default:
		return " (" + strings.Join(names, ", ") + ")"
	}
	return fmt.Sprintf("; write %s: {mode: %s}", key, mode)
}

// hint says what an unknown key was probably meant to be.
func (d *decoder) hint(key string, fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if near := nearest(key, names); near != "" {
		return fmt.Sprintf(", did you mean %s?", near)
	}
	if elsewhere := placesOf(key, "", d.top); len(elsewhere) > 0 {
		return fmt.Sprintf(", did you mean %s?", strings.Join(elsewhere, " or "))
	}
	return ", expected one of " + strings.Join(names, ", ")
}

// placesOf lists the paths that end in a key.
func placesOf(key, path string, fields []field) []string {
	var places []string
	for _, f := range fields {
		if f.name == key {
			places = append(places, join(path, f.name))
		}
		places = append(places, placesOf(key, join(path, f.name), f.section)...)
	}
	return places
}
