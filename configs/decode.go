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
	name    string
	section []field       // the keys below this one
	value   func(v value) // takes the key's value, also if it is a section
	// each makes the field of an entry, for a section whose keys the administrator
	// chooses; example shows one in messages, and may be empty.
	each    func(key string) (field, error)
	example string
}

// decoder reads one configuration.
type decoder struct {
	report
	name string  // the file, or the variable, that is read
	top  []field // the whole schema, which shows the right place of a misplaced key
}

// value is a key's value on its way into the configuration.
type value struct {
	*decoder
	path string
	node *yaml.Node
}

func (v value) fail(format string, args ...any) {
	v.add(v.name, v.node.Line, "%s: %s", cmp.Or(v.path, "the configuration"), fmt.Sprintf(format, args...))
}

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
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		switch {
		case i >= 0:
			below.take(fields[i])
		case below.path == "grants.redis":
			movedRedis(below)
		default:
			v.add(v.name, v.config.lines[below.path], "unknown key %s, %s", below.path, v.hint(key, fields))
		}
	})
}

// take reads the value of one key.
func (v value) take(f field) {
	switch {
	case f.value != nil:
		if v.plain() {
			f.value(v)
		}
	case f.each == nil:
		v.fields(f.section)
	case f.example != "" && v.node.Kind == yaml.SequenceNode:
		v.fail("%s, expected keys and values, such as %s", kind(v.node), f.example)
	default:
		v.keys(func(key string, below value) {
			entry, err := f.each(key)
			if err != nil {
				v.add(v.name, v.config.lines[below.path], "%s: %v", v.path, err)
				return
			}
			below.take(entry)
		})
	}
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
		line, twice := v.config.lines[below.path]
		switch {
		case key.Tag == "!!merge":
			name.fail("a merge key (<<), expected the keys themselves")
		case !name.plain():
		case key.Kind != yaml.ScalarNode || key.Tag == "!!null" || !isKey(key.Value):
			name.fail("%s as a key, expected a name", kind(key))
		case twice:
			v.add(v.name, key.Line, "%s: given twice, first on line %d", below.path, line)
		default:
			v.config.lines[below.path] = key.Line
			// A value that is missing has the place of what follows it.
			if node.Tag == "!!null" && node.Value == "" {
				node.Line = key.Line
			}
			visit(key.Value, below)
		}
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

func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

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
	names := namesOf(fields)
	key := v.path[strings.LastIndexByte(v.path, '.')+1:]
	meant := map[string]string{
		"enforce": "enforce", "yes": "enforce", "true": "enforce", "on": "enforce",
		"off": "off", "no": "off", "false": "off", "shadow": "shadow",
	}[strings.ToLower(v.node.Value)]
	if !slices.Contains(names, "mode") || meant == "" {
		return " (" + strings.Join(names, ", ") + ")"
	}
	return fmt.Sprintf("; write %s: {mode: %s}", key, meant)
}

// hint says what an unknown key was probably meant to be.
func (d *decoder) hint(key string, fields []field) string {
	names := namesOf(fields)
	elsewhere := placesOf(key, "", d.top)
	if len(elsewhere) > 0 && nearest(key, names) == "" {
		return "did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	return meant(key, names, "one of "+strings.Join(names, ", "))
}

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

func namesOf(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// meant says which word was probably meant in place of s, or else what was expected.
func meant(s string, words []string, expected string) string {
	if near := nearest(s, words); near != "" {
		return "did you mean " + near + "?"
	}
	return "expected " + expected
}

// nearest is the word that s was probably meant to be, empty if none is near.
func nearest(s string, words []string) string {
	s = strings.ToLower(s)
	best, bestDistance := "", 3
	for _, w := range words {
		limit := min(bestDistance, 1+len(w)/4)
		if d := distance(s, strings.ToLower(w), limit); d < bestDistance && d <= limit {
			best, bestDistance = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that make b of a. It is exact up to limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
