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
	names := make([]int, len(targets))
	for tag := range strings.SplitSeq(f.Value, ";") {
		name, value, _ := strings.Cut(tag, "=")
		switch strings.TrimFunc(name, isBlank) {
		case "d":
			sig.domain = value
		case "s":
			sig.selector = value
		case "h":
			countNames(targets, names, value)
		}
	}
	for i := range targets {
		if t := &targets[i]; names[i] > t.signed {
			t.signed, t.signer = names[i], sig
		}
	}
}

// countNames adds up how often each target stands in a list with colons.
func countNames(targets []target, counts []int, list string) {
	for name := range strings.SplitSeq(list, ":") {
		name = strings.TrimFunc(name, isBlank)
		for i := range targets {
			if sameName(targets[i].Name, name) {
				counts[i]++
			}
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
		case isBlank(r):
			return -1
		case r < 0x80 && is(byte(r), inHost):
			return r
		}
		return '?'
	}, value)
	return text[:min(len(text), most)]
}
