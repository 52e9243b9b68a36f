package configs

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"milterd/policy"
	"milterd/policy/printable"
)

// quote shows a value in a message.
func quote(s string) string { return printable.Quote(s) }

// quoteHint tells how to write a scalar that YAML does not take for text.
func quoteHint(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return fmt.Sprintf(" (quote it: %s)", quote(n.Value))
}

// parsed takes what parse makes of text.
func parsed[T any](to *T, parse func(s string) (T, error)) func(value) {
	return func(v value) {
		if v.node.Kind != yaml.ScalarNode || v.node.Tag != "!!str" {
			v.fail("%s, expected text%s", kind(v.node), quoteHint(v.node))
			return
		}
		got, err := parse(v.node.Value)
		if err != nil {
			v.fail("%v", err)
			return
		}
		*to = got
	}
}

// ownPath takes the path of a file or directory that milterd itself keeps, which
// may be empty if optional, and makes it complete: a relative path begins in
// the directory of the configuration.
func (c *Config) ownPath(to *string, optional bool) func(value) {
	return parsed(to, func(s string) (string, error) {
		switch {
		case s == "" && optional:
			return "", nil
		case s == "":
			return "", errors.New("no file name")
		case strings.ContainsFunc(s, unicode.IsControl), strings.TrimSpace(s) != s:
			return "", fmt.Errorf("%s, expected a file name", quote(s))
		}
		return filepath.Abs(c.path(s))
	})
}

// oneOf takes one of some words.
func oneOf[T ~string](to *T, words ...T) func(value) {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	return choice(to, names, words...)
}

// choice takes one of some names, each of which stands for a value.
func choice[T any](to *T, names []string, values ...T) func(value) {
	return func(v value) {
		i := slices.Index(names, v.node.Value)
		switch {
		case v.node.Kind != yaml.ScalarNode || v.node.Tag == "!!null":
			v.fail("%s, expected %s", kind(v.node), alternatives(names))
		case i < 0:
			v.fail("%s, %s", quote(v.node.Value), meant(v.node.Value, names, alternatives(names)))
		default:
			*to = values[i]
		}
	}
}

func alternatives(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// mode takes enforce, shadow or off.
func mode(to *policy.Mode) func(value) {
	return oneOf(to, policy.ModeEnforce, policy.ModeShadow, policy.ModeOff)
}

// maxReply is the longest reply line, without its CR LF.
const maxReply = 510

// reply takes an SMTP reply.
func reply(to *policy.Reply) func(value) {
	return parsed(to, func(s string) (policy.Reply, error) {
		if !printable.IsASCII(s) {
			return policy.Reply{}, fmt.Errorf("reply %s, expected printable ASCII on one line", quote(s))
		}
		if len(s) > maxReply {
			return policy.Reply{}, fmt.Errorf("reply %s: %d octets, expected %d at most", quote(s), len(s), maxReply)
		}
		r, err := policy.ParseReply(s)
		if err == nil {
			err = r.CheckPlaceholders()
		}
		return r, err
	})
}

// checked takes text that check finds nothing wrong with.
func checked(to *string, check func(string) error) func(value) {
	return parsed(to, word(check))
}

// word is a text that check finds nothing wrong with.
func word(check func(string) error) func(string) (string, error) {
	return func(s string) (string, error) { return s, check(s) }
}

// optional makes a check pass an empty text.
func optional(check func(string) error) func(string) error {
	return func(s string) error {
		if s == "" {
			return nil
		}
		return check(s)
	}
}

// matching checks text against an expression; expected says what it stands for.
func matching(expression, expected string) func(string) error {
	whole := regexp.MustCompile(`^(?:` + expression + `)$`)
	return func(s string) error {
		if !whole.MatchString(s) {
			return fmt.Errorf("%s, expected %s", quote(s), expected)
		}
		return nil
	}
}

// optionalText takes text on one line, which may be empty.
func optionalText(to *string) func(value) {
	return checked(to, matching(`[^\r\n\t]*`, "one line"))
}

// group takes the name or the number of a group; empty for none.
func group(to *string) func(value) {
	named := optionalText(to)
	return func(v value) {
		if v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!int" {
			if _, err := strconv.ParseUint(v.node.Value, 10, 31); err != nil || v.node.Value[0] == '0' && v.node.Value != "0" {
				v.fail("%s, expected the name or the number of a group", kind(v.node))
				return
			}
			*to = v.node.Value
			return
		}
		named(v)
	}
}

// checkFile checks the name of a file.
func checkFile(s string) error {
	switch {
	case s == "":
		return errors.New("no file name")
	case strings.ContainsAny(s, "\r\n\t"), strings.TrimSpace(s) != s:
		return fmt.Errorf("%s, expected a file name", quote(s))
	case strings.HasSuffix(s, ".db"):
		return fmt.Errorf("%s is a compiled map, expected the text file it was made from", quote(s))
	}
	return nil
}

// list takes a list of words; check sees each of them.
func list(to *[]string, check func(string) error) func(value) { return listOf(to, word(check)) }

// listOf takes a list of what parse makes of words.
func listOf[T any](to *[]T, parse func(string) (T, error)) func(value) {
	return func(v value) {
		if v.isList("[a, b]") {
			*to = entries(v, v.node.Content, parse)
		}
	}
}

// isList reports whether the value is a list, or the problem that it is none.
func (v value) isList(example string) bool {
	if v.node.Kind != yaml.SequenceNode {
		v.fail("%s, expected a list, such as %s", kind(v.node), example)
	}
	return v.node.Kind == yaml.SequenceNode
}

// isWord reports whether an entry of a list is a word, or the problem that it is another
// value, or one of these YAML tags.
func (v value) isWord(others ...string) bool {
	plain := v.plain()
	word := v.node.Kind == yaml.ScalarNode && !slices.Contains(others, v.node.Tag)
	if plain && !word {
		v.fail("%s in the list, expected a word%s", kind(v.node), quoteHint(v.node))
	}
	return plain && word
}

// oneOrMore takes one word or a list that is not empty.
func oneOrMore[T any](to *[]T, parse func(string) (T, error)) func(value) {
	return func(v value) {
		switch {
		case v.node.Kind == yaml.ScalarNode && v.node.Tag != "!!null":
			*to = entries(v, []*yaml.Node{v.node}, parse)
		case v.node.Kind == yaml.SequenceNode && len(v.node.Content) > 0:
			*to = entries(v, v.node.Content, parse)
		case v.node.Kind == yaml.SequenceNode:
			v.fail("an empty list, expected at least one entry")
		default:
			v.fail("%s, expected one entry or a list of them", kind(v.node))
		}
	}
}

// noneOrMore takes one word, which may be empty for none, or a list.
func noneOrMore[T any](to *[]T, parse func(string) (T, error)) func(value) {
	some := oneOrMore(to, parse)
	return func(v value) {
		if v.node.Tag == "!!str" && v.node.Value == "" || v.node.Kind == yaml.SequenceNode && len(v.node.Content) == 0 {
			*to = nil
			return
		}
		some(v)
	}
}

// entries reads the entries of a list, each of them once.
func entries[T any](v value, nodes []*yaml.Node, parse func(string) (T, error)) []T {
	all := make([]T, 0, len(nodes))
	seen := make(map[string]int, len(nodes))
	for _, n := range nodes {
		entry := value{decoder: v.decoder, path: v.path, node: n}
		// Numbers are taken as they are written: 10 and 192.168 are networks.
		if !entry.isWord("!!null", "!!bool") {
			continue
		}
		got, err := parse(n.Value)
		if err != nil {
			entry.fail("%v", err)
			continue
		}
		if line, twice := seen[n.Value]; twice {
			entry.fail("%s is listed twice, first on line %d", quote(n.Value), line)
			continue
		}
		seen[n.Value] = n.Line
		all = append(all, got)
	}
	return all
}
