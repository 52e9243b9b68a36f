package record

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// text replaces the addresses of the message in a reply as replaying does, which
// makes the reply anew from the redacted ones.
func (v *veil) text(s string) string {
	if len(v.addresses) == 0 || !strings.Contains(s, "@") {
		return s
	}
	if v.known == nil {
		// One address may be the end of another.
		v.known = slices.SortedFunc(maps.Keys(v.addresses), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
		})
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		found := slices.IndexFunc(v.known, func(a string) bool { return strings.HasPrefix(s[i:], a) && alone(s, i, len(a)) })
		if found < 0 {
			b.WriteByte(s[i])
			i++
			continue
		}
		b.WriteString(v.addresses[v.known[found]])
		i += len(v.known[found])
	}
	return b.String()
}

// mentions reports whether a text has a hidden word in it, as a word of its own.
func (v *veil) mentions(s string) bool {
	folded := fold(s)
	for word := range v.words {
		for from := 0; ; {
			i := strings.Index(folded[from:], word)
			if i < 0 {
				break
			}
			if alone(folded, from+i, len(word)) {
				return true
			}
			from += i + 1
		}
	}
	return false
}

// alone reports whether the n octets at i are not a piece of a longer word.
func alone(s string, i, n int) bool {
	return (i == 0 || !wordByte(s[i-1]) || !wordByte(s[i])) &&
		(i+n == len(s) || !wordByte(s[i+n]) || !wordByte(s[i+n-1]))
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// fold writes ASCII letters small, and leaves every other octet alone.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
