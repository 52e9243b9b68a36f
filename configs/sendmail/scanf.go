package sendmail

import (
	"fmt"
	"regexp"
	"strings"
)

// knownFormat is a format of scanf(3) that milterd follows: what has to come first, and
// one conversion, %s or %[...], in which a ] that comes first is one of the set.
var knownFormat = regexp.MustCompile(`(?s)^([^%]*)%([0-9]{0,3})(?:s|\[(\^?)(\]?[^\]]*)(\]?))([^%]*)$`)

// parseFormat makes a regular expression of a format; its group is what sendmail takes
// from a line of a class file.
func parseFormat(format string) (*regexp.Regexp, error) {
	m := knownFormat.FindStringSubmatch(format)
	if m == nil {
		return nil, fmt.Errorf("the format %s is none that milterd knows, expected one with a single %%s or %%[...]", format)
	}
	before, most, not, set, closed := m[1], m[2], m[3], m[4], m[5]
	octets := `\S`
	switch {
	case strings.HasPrefix(format[len(before)+1+len(most):], "s"):
		before += " "
	case set == "" && not != "" && closed == "":
		// "%[^" takes everything. It is what a sendmail.cf has of "%[^#]", where the
		// # begins a comment unless it is written \#.
		octets = `(?s:.)`
	default:
		octets = "[" + not + setQuoter.Replace(set) + closed
	}
	// White space in a format stands for any, or none.
	pattern := white.ReplaceAllString(regexp.QuoteMeta(before), `\s*`)
	re, err := regexp.Compile("^" + pattern + "(" + octets + "{1," + most + "})")
	if err != nil {
		return nil, fmt.Errorf("the format %s has a set that milterd does not know", format)
	}
	return re, nil
}

var (
	setQuoter = strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `^`, `\^`)
	white     = regexp.MustCompile(`\s+`)
)
