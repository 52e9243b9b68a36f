package header

import (
	"slices"
	"strings"
)

// maxPasses bounds how often versions are taken out of a value until nothing changes
// any more.
const maxPasses = 4

// withoutVersion takes version numbers, and what stands in parentheses and
// brackets, out of what a program says of itself. Empty: nothing is left.
func withoutVersion(name, value string) (string, bool) {
	text := value
	for range maxPasses {
		names, same := productNames(text)
		if same {
			return text, text != value
		}
		text = textValue(name, slices.Values(names))
	}
	return "", true
}

// productNames are the words of a value that are no versions. A word such as
// Release goes with the number behind it, and so does punctuation that would be
// left at the end. same: that is all of them.
func productNames(value string) (names []string, same bool) {
	text := outside(value)
	stripped := false
	for word := range split(text, blank) {
		name := productName(word)
		if name == word {
			names = append(names, name)
			continue
		}
		stripped = true
		if name != "" {
			names = append(names, name)
			continue
		}
		if n := len(names); n > 0 && isA(strings.TrimRight(names[n-1], ".:"), versionWord) {
			names = names[:n-1]
		}
	}
	for stripped && len(names) > 0 {
		n := len(names) - 1
		names[n] = strings.TrimRight(names[n], ",;:-/")
		if names[n] != "" {
			break
		}
		names = names[:n]
	}
	return names, !stripped && text == value
}

// outside is a text without what stands in parentheses and brackets, nested or
// not closed.
func outside(text string) string {
	if !strings.ContainsAny(text, "()[]") {
		return text
	}
	var b strings.Builder
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '(' || c == '[':
			depth++
			b.WriteByte(' ')
		case c == ')' || c == ']':
			depth = max(depth-1, 0)
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// productName is a word without the version in it: Thunderbird of
// Thunderbird/115.3 and of Thunderbird-115.3, nothing of 115.3.
func productName(word string) string {
	if len(word) > maxToken {
		return ""
	}
	for i := 1; i < len(word)-1; i++ {
		if c := word[i]; c == '/' && startsVersion(word[i+1:]) || c == '-' && isVersion(word[i+1:]) && strings.Contains(word[i+1:], ".") {
			word = word[:i]
			break
		}
	}
	if isVersion(word) {
		return ""
	}
	return word
}

func startsVersion(s string) bool {
	s = strings.TrimLeft(s, "vV")
	return s != "" && s[0] >= '0' && s[0] <= '9'
}

// isVersion reports whether a word is a version: 115.3, v6, 3.36.5-0ubuntu1.
func isVersion(word string) bool {
	word = strings.TrimRight(word, ",;:")
	if !startsVersion(word) {
		return false
	}
	word = strings.TrimLeft(word, "vV")
	if allDigits(word) {
		return true
	}
	for i := 0; i < len(word); i++ {
		if c := word[i]; !is(c, inHost) || c >= 0x80 || c == '@' || c == ':' || c == '%' {
			return c == '~'
		}
	}
	return strings.Contains(word, ".")
}
