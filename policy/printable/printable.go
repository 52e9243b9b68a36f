// Package printable makes text that came from a peer or a file fit for a terminal,
// a log, a message or an SMTP reply.
package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text puts a question mark in place of every character that is not printable. A
// hostile peer may send control characters in any address or name.
func Text(s string) string { return Replace(s, '?') }

// Replace puts a character of the caller's choice there.
func Replace(s string, by rune) string {
	if IsASCII(s) {
		return s
	}
	// A lone octet such as 0x9b is a control character to some terminals.
	s = strings.ToValidUTF8(s, "?")
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if hidden(r) {
			return by
		}
		return r
	}, s)
}

// Lines is Text, but that line ends and tabs stay.
func Lines(s string) string {
	if IsASCII(s) {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexAny(s, "\t\n")
		if i < 0 {
			return b.String() + Text(s)
		}
		b.WriteString(Text(s[:i]) + s[i:i+1])
		s = s[i+1:]
	}
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }

// Short is Text of the first most octets, with end behind them if there are more.
func Short(s string, most int, end string) string {
	if len(s) <= most {
		return Text(s)
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return Text(s[:most]) + end
}

// IsASCII reports whether a text is one line of printable ASCII; blanks are.
func IsASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// ASCII puts a question mark in place of every character that IsASCII does not
// allow. SMTP allows no others in a reply (RFC 5321 section 4.2), and a line break
// would end it early.
func ASCII(s string) string {
	if IsASCII(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// Quote quotes a value for a message, shortened if it is very long.
func Quote(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.Quote(s)
}
