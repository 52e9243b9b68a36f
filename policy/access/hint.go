package access

import (
	"fmt"
	"strings"
)

// entry is one entry on its way into the table.
type entry struct {
	tag, rest string
	// key is tag and rest as they stand in the table.
	key string
	// text is the right-hand side.
	text string
	meaning
	// network: rest is an address with a prefix length.
	network bool
}

// meaning is what a right-hand side means, whatever its key.
type meaning struct {
	value Value
	// secret: it is written like a password.
	secret bool
	// flaw and hint tell of a value that says something else than it seems to.
	flaw hintKind
	hint string
}

// A hint points at an entry that is valid but hardly what was meant.
type hintKind int

const (
	hintNone hintKind = iota
	hintTag
	hintBlank
	hintCode
	hintKeyword
	hintText
	hintToOnly
	hintAngles
	hintAt
	hintStar
	hintDot
	hintRange
	hintZeros
	hintIPv6Form
	hintIPv6Tag
	hintCR
	hintPassword
	hintUseless
	hintNever
	hintQuotes
	hintNumber
	hintNetwork
	hintLatin
	hintOpen
	lastHint = hintOpen
)

// maxHints bounds the hints of one kind: a mistake made once for a whole list
// must not hide the others.
const maxHints = 10

// repeated counts the hints of one kind.
type repeated struct {
	count, line int
}

// hint warns of an entry, unless it has done so often.
func (p *parser) hint(line int, kind hintKind, key, text string) {
	r := &p.hints[kind]
	r.count++
	switch {
	case r.count > maxHints:
		r.line = line
	case kind == hintOpen:
		p.urgent = append(p.urgent, Problem{File: p.table.name, Line: line, Text: fmt.Sprintf("key %q: %s", shownKey(key), text), Warning: true, OpenRelay: true})
	case kind == hintCR:
		p.warn(line, "%s", text)
	default:
		p.warn(line, "key %q: %s", shownKey(key), text)
	}
}

// sumUpHints counts those that were not given.
func (p *parser) sumUpHints() {
	for kind, r := range p.hints {
		if r.count > maxHints {
			p.warn(r.line, "the last of %d more entries with the same flaw: %s", r.count-maxHints, hintKind(kind))
		}
	}
}

// String says what the hints of this kind are about.
func (k hintKind) String() string {
	return [...]string{
		hintNone: "nothing", hintTag: "unknown tag", hintBlank: "nothing after the tag", hintCode: "enhanced code of another class",
		hintKeyword: "text behind a keyword", hintText: "value that is no keyword", hintToOnly: "To: without blocklist_recipients",
		hintAngles: "angle brackets", hintAt: "@ at the beginning", hintStar: "asterisk", hintDot: "dot at the beginning or end",
		hintRange: "range of addresses", hintZeros: "leading zeros", hintIPv6Form: "form of an IPv6 address",
		hintIPv6Tag: "IPv6 address without IPv6:", hintCR: "CR at the end of the line", hintPassword: "value that looks like a password",
		hintUseless: "value without effect there", hintNever: "key that never matches", hintQuotes: "quotes", hintNumber: "number", hintNetwork: "network that is not looked up",
		hintLatin: "letters beyond ASCII", hintOpen: "RELAY for nearly everybody",
	}[k]
}

// look finds what an administrator should know about an entry, the most likely
// mistake first.
func (p *parser) look(e entry) (hintKind, string) {
	plain := usesValues(e.tag) && e.text[0] != ':' && isPlain(e.rest)
	if !plain {
		if kind, hint := lookAtKey(e); kind != hintNone {
			return kind, hint
		}
	}
	switch {
	case e.tag != "" && !isKnown(e.tag) && looksLikeIPv6(e.key):
		return hintIPv6Tag, missingIPv6(e.key)
	case e.tag != "" && !isKnown(e.tag):
		return hintTag, fmt.Sprintf("the tag %s: is not one sendmail knows, so this entry never matches", e.tag)
	case !usesValues(e.tag) && e.secret:
		return hintNone, ""
	case !usesValues(e.tag):
		return lookAtNumber(e)
	case e.secret:
		return hintPassword, "the value is written like that of an AuthInfo: entry; without this tag clients can come to read it, as the text of a reply"
	case e.rest == "":
		return hintBlank, fmt.Sprintf("nothing stands after the colon, so this entry never matches; leave out the blank before %q", e.text)
	case e.flaw != hintNone:
		return e.flaw, e.hint
	}
	if kind, hint := p.lookAtFeature(e); kind != hintNone {
		return kind, hint
	}
	if kind, hint := lookAtRelay(e); kind != hintNone {
		return kind, hint
	}
	if e.network {
		return lookAtNetwork(e)
	}
	if !plain {
		if kind, hint := p.lookAtName(e); kind != hintNone {
			return kind, hint
		}
	}
	if e.tag == "connect" || e.tag == "" {
		return p.lookAtAddress(e)
	}
	return hintNone, ""
}

// isPlain reports whether a key has nothing but what is in nearly all names and
// IPv4 addresses. Neither lookAtKey nor lookAtName finds anything in one that has a value.
func isPlain(rest string) bool {
	for i := range len(rest) {
		switch c := rest[i]; {
		case c >= 'a' && c <= 'z', isDigit(c):
		case (c == '.' || c == '@' || c == '-' || c == '_') && i > 0 && i < len(rest)-1:
		default:
			return false
		}
	}
	return rest != ""
}

// lookAtKey finds keys that no look-up has, whatever their tag.
func lookAtKey(e entry) (hintKind, string) {
	switch {
	case e.text[0] == ':':
		return hintBlank, "a blank stands before the colon, which ends the key there, so this entry never matches; leave it out"
	case strings.HasSuffix(e.rest, ",") || strings.HasSuffix(e.rest, ";"):
		return hintNever, fmt.Sprintf("%q at the end is a part of the key, so this entry never matches; leave it out", e.rest[len(e.rest)-1:])
	case e.key[0] == '"' || strings.HasPrefix(e.rest, `"`):
		return hintQuotes, "the quotes are a part of the key, so this entry never matches; leave them out"
	case e.key[0] == '/' && (!strings.Contains(e.key, "@") || strings.HasSuffix(e.key, "/")):
		return hintNever, "regular expressions are not known here, so this entry never matches; write a domain, an address or USER@"
	case usesValues(e.tag) && strings.IndexFunc(e.rest, func(r rune) bool { return r >= 0x80 }) >= 0:
		return hintLatin, "sendmail sees domains in their ASCII form, so this entry never matches; write xn--..."
	}
	return hintNone, ""
}
