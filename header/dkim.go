package header

import "strings"

// signature is a field that signs others.
type signature struct {
	field            string // its name
	domain, selector string // d= and s=
}

// isSignature reports whether a field of that name signs others (RFC 6376 section
// 3.5, RFC 8617 section 4.1.2).
func isSignature(name string) bool {
	return sameName(name, "DKIM-Signature") || sameName(name, "ARC-Message-Signature")
}

// cover notes for each target how many of its fields a signature covers. A name
// that stands n times in h= covers the last n fields; more than there are makes
// sure that none is added.
func cover(targets []target, f Field) {
	sig := signature{field: f.Name}
	counts := make([]int, len(targets))
	for tag := range strings.SplitSeq(f.Value, ";") {
		name, value, _ := strings.Cut(tag, "=")
		switch trim(name, blank) {
		case "d":
			sig.domain = value
		case "s":
			sig.selector = value
		case "h":
			for name := range strings.SplitSeq(value, ":") {
				if i := find(targets, trim(name, blank)); i >= 0 {
					counts[i]++
				}
			}
		}
	}
	for i, n := range counts {
		if t := &targets[i]; n > t.signed {
			t.signed, t.signer = n, sig
		}
	}
}

// reason says why a field that a signature covers is left alone.
func (s signature) reason() string {
	return "covered by " + s.field + " d=" + tagText(s.domain) + " s=" + tagText(s.selector)
}

// tagText is the value of a tag as far as it is fit to be shown: letters, digits
// and what else stands in domain names.
func tagText(value string) string {
	const most = 100
	text := strings.Map(func(r rune) rune {
		switch {
		case r >= 0x80 || !is(byte(r), inHost|blank):
			return '?'
		case is(byte(r), blank):
			return -1
		}
		return r
	}, value)
	return text[:min(len(text), most)]
}
