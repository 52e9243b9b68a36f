package configs

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"milterd/policy"
	"milterd/policy/printable"
)

// quote shows a value in a message.
func quote(s string) string { return printable.Quote(s) }

// text takes a string.
func text(set func(v value, s string)) func(value) {
	return func(v value) {
		if v.node.Kind != yaml.ScalarNode || v.node.Tag != "!!str" {
			v.fail("%s, expected text%s", kind(v.node), quoteHint(v.node))
			return
		}
		set(v, v.node.Value)
	}
}

// quoteHint tells how to write a scalar that YAML does not take for text.
func quoteHint(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return fmt.Sprintf(" (quote it: %s)", quote(n.Value))
}

// parsed takes what parse makes of text.
func parsed[T any](to *T, parse func(s string) (T, error)) func(value) {
	return text(func(v value, s string) {
		got, err := parse(s)
		if err != nil {
			v.fail("%v", err)
			return
		}
		*to = got
	})
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
	return func(v value) {
		if v.node.Kind != yaml.ScalarNode || v.node.Tag == "!!null" {
			v.fail("%s, expected %s", kind(v.node), alternatives(names))
			return
		}
		for _, w := range words {
			if v.node.Value == string(w) {
				*to = w
				return
			}
		}
		if near := nearest(v.node.Value, names); near != "" {
			v.fail("%s, did you mean %s?", quote(v.node.Value), near)
			return
		}
		v.fail("%s, expected %s", quote(v.node.Value), alternatives(names))
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
	return parsed(to, func(s string) (string, error) { return s, check(s) })
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
func list(to *[]string, check func(string) error) func(value) {
	return func(v value) {
		if v.node.Kind != yaml.SequenceNode {
			v.fail("%s, expected a list, such as [a, b]", kind(v.node))
			return
		}
		*to = v.words(v.node.Content, check)
	}
}

// oneOrMore takes one word or a list that is not empty.
func oneOrMore(to *[]string, check func(string) error) func(value) {
	return func(v value) {
		switch {
		case v.node.Kind == yaml.ScalarNode && v.node.Tag != "!!null":
			*to = v.words([]*yaml.Node{v.node}, check)
		case v.node.Kind == yaml.SequenceNode && len(v.node.Content) > 0:
			*to = v.words(v.node.Content, check)
		case v.node.Kind == yaml.SequenceNode:
			v.fail("an empty list, expected at least one entry")
		default:
			v.fail("%s, expected one entry or a list of them", kind(v.node))
		}
	}
}

// noneOrMore takes one word, which may be empty for none, or a list.
func noneOrMore(to *[]string, check func(string) error) func(value) {
	some := oneOrMore(to, check)
	return func(v value) {
		if v.node.Tag == "!!str" && v.node.Value == "" || v.node.Kind == yaml.SequenceNode && len(v.node.Content) == 0 {
			*to = nil
			return
		}
		some(v)
	}
}

// words reads the entries of a list, each of them once.
func (v value) words(nodes []*yaml.Node, check func(string) error) []string {
	words := make([]string, 0, len(nodes))
	seen := make(map[string]int, len(nodes))
	for _, n := range nodes {
		entry := value{decoder: v.decoder, path: v.path, node: n}
		if !entry.plain() {
			continue
		}
		// Numbers are taken as they are written: 10 and 192.168 are networks.
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!bool" {
			entry.fail("%s in the list, expected a word%s", kind(n), quoteHint(n))
			continue
		}
		if err := check(n.Value); err != nil {
			entry.fail("%v", err)
			continue
		}
		if line, twice := seen[n.Value]; twice {
			entry.fail("%s is listed twice, first on line %d", quote(n.Value), line)
			continue
		}
		seen[n.Value] = n.Line
		words = append(words, n.Value)
	}
	return words
}
