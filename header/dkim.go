package header

import "strings"

// isSignature reports whether a field of that name signs others (RFC 6376 section
// 3.5, RFC 8617 section 4.1.2).
func isSignature(name string) bool {
	return sameName(name, "DKIM-Signature") || sameName(name, "ARC-Message-Signature")
}

// cover notes for each target how many of its fields a signature covers. A name
// that stands n times in h= covers the last n fields; more than there are makes
// sure that none is added.
func cover(targets []target, signature Field) {
	counts := make([]int, len(targets))
	for name := range strings.SplitSeq(tag(signature, "h"), ":") {
		if i := find(targets, trim(name, blank)); i >= 0 {
			counts[i]++
		}
	}
	for i, n := range counts {
		if t := &targets[i]; n > t.signed {
			t.signed, t.signer = n, signature
		}
	}
}

// tag is the value of a tag of a signature, a list with colons if there are several.
func tag(signature Field, name string) string {
	var values []string
	for tag := range strings.SplitSeq(signature.Value, ";") {
		if key, value, _ := strings.Cut(tag, "="); trim(key, blank) == name {
			values = append(values, value)
		}
	}
	return strings.Join(values, ":")
}

// reason says why a field that a signature covers is left alone.
func reason(signature Field) string {
	return "covered by " + signature.Name + " d=" + tagText(tag(signature, "d")) + " s=" + tagText(tag(signature, "s"))
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
