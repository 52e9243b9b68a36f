package configs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
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

func mode(to *policy.Mode) func(value) {
	return oneOf(to, policy.ModeEnforce, policy.ModeShadow, policy.ModeOff)
}

func reply(to *policy.Reply) func(value) { return parsed(to, policy.ParseReply) }

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

// scalar takes what parse makes of a plain value; expected says what that is.
func scalar[T any](to *T, expected string, parse func(n *yaml.Node) (T, bool)) func(value) {
	return func(v value) {
		if v.node.Kind == yaml.ScalarNode {
			if got, ok := parse(v.node); ok {
				*to = got
				return
			}
		}
		v.fail("%s, expected %s", kind(v.node), expected)
	}
}

func boolean(to *bool) func(value) {
	return scalar(to, "true or false", func(n *yaml.Node) (bool, bool) {
		word := strings.ToLower(n.Value)
		return word == "true", n.Tag == "!!bool" && (word == "true" || word == "false")
	})
}

var decimal = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})$`)

func integer(to *int, least, most int) func(value) {
	inBounds := scalar(to, fmt.Sprintf("a number from %d to %d", least, most), func(n *yaml.Node) (int, bool) {
		i, err := strconv.Atoi(n.Value)
		return i, n.Tag == "!!int" && err == nil && i >= least && i <= most
	})
	return func(v value) {
		digits := v.node.Value
		if least < 0 {
			digits = strings.TrimPrefix(digits, "-")
		}
		if v.node.Tag == "!!int" && !decimal.MatchString(digits) {
			v.fail("%s, expected a decimal number without leading zeros", quote(v.node.Value))
			return
		}
		inBounds(v)
	}
}

var octalMode = regexp.MustCompile(`^0?[0-7]{3}$`)

// fileMode takes permissions in octal, as chmod does. They must be quoted:
// YAML's versions do not agree whether 0660 is octal.
func fileMode(to *os.FileMode) func(value) {
	return scalar(to, `permissions in octal and quotes, such as "0660"`, func(n *yaml.Node) (os.FileMode, bool) {
		mode, err := strconv.ParseUint(n.Value, 8, 32)
		return os.FileMode(mode), err == nil && n.Tag == "!!str" && octalMode.MatchString(n.Value)
	})
}

// duration takes a time such as 1.5s or 1h.
func duration(to *time.Duration, least, most time.Duration) func(value) {
	return scalar(to, fmt.Sprintf("a time from %v to %v, such as 1.5s or 10m", least, most), func(n *yaml.Node) (time.Duration, bool) {
		d, err := time.ParseDuration(n.Value)
		return d, err == nil && d >= least && d <= most
	})
}

// Units of sizes, in octets.
const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

var sizeText = regexp.MustCompile(`^([1-9][0-9]{0,8})(KiB|MiB|GiB)$`)

// size takes a number of octets, with its unit.
func size(to *int64, least, most int64) func(value) {
	expected := fmt.Sprintf("a size from %s to %s, with its unit (KiB, MiB or GiB)", formatSize(least), formatSize(most))
	return scalar(to, expected, func(n *yaml.Node) (int64, bool) {
		m := sizeText.FindStringSubmatch(n.Value)
		if m == nil {
			return 0, false
		}
		// Nine digits and a unit stay far below the end of an int64.
		octets, err := strconv.ParseInt(m[1], 10, 64)
		octets *= map[string]int64{"KiB": kib, "MiB": mib, "GiB": gib}[m[2]]
		return octets, err == nil && octets >= least && octets <= most
	})
}

func formatSize(n int64) string {
	switch {
	case n%gib == 0:
		return fmt.Sprintf("%dGiB", n/gib)
	case n%mib == 0:
		return fmt.Sprintf("%dMiB", n/mib)
	}
	return fmt.Sprintf("%dKiB", n/kib)
}

var decimalFraction = regexp.MustCompile(`^[01](\.[0-9]{1,9})?$`)

// share takes a part of a whole: more than 0, 1 at most.
func share(to *float64) func(value) {
	return scalar(to, "a number above 0 and 1 at most, such as 0.1", func(n *yaml.Node) (float64, bool) {
		f, err := strconv.ParseFloat(n.Value, 64)
		return f, err == nil && n.Style == 0 && decimalFraction.MatchString(n.Value) && f > 0 && f <= 1
	})
}
