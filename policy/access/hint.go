package access

import (
	"cmp"
	"fmt"
	"slices"
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
	// hint tells of a value that says something else than it seems to.
	hint hint
}

// hint points at an entry that is valid but hardly what was meant. The zero value is none.
type hint struct {
	kind hintKind
	text string
}

var none hint

// hintKind says what the hints of a kind are about.
type hintKind string

const (
	hintTag      hintKind = "unknown tag"
	hintBlank    hintKind = "nothing after the tag"
	hintCode     hintKind = "enhanced code of another class"
	hintKeyword  hintKind = "text behind a keyword"
	hintText     hintKind = "value that is no keyword"
	hintToOnly   hintKind = "To: without blocklist_recipients"
	hintAngles   hintKind = "angle brackets"
	hintAt       hintKind = "@ at the beginning"
	hintStar     hintKind = "asterisk"
	hintDot      hintKind = "dot at the beginning or end"
	hintRange    hintKind = "range of addresses"
	hintZeros    hintKind = "leading zeros"
	hintIPv6Form hintKind = "form of an IPv6 address"
	hintIPv6Tag  hintKind = "IPv6 address without IPv6:"
	hintPassword hintKind = "value that looks like a password"
	hintUseless  hintKind = "value without effect there"
	hintNever    hintKind = "key that never matches"
	hintQuotes   hintKind = "quotes"
	hintNumber   hintKind = "number"
	hintNetwork  hintKind = "network that is not looked up"
	hintLatin    hintKind = "letters beyond ASCII"
	hintOpen     hintKind = "RELAY for nearly everybody"
)

// maxHints bounds the hints of one kind: a mistake made once for a whole list
// must not hide the others.
const maxHints = 10

// repeated counts the hints of one kind; line is the last one's.
type repeated struct {
	kind        hintKind
	count, line int
}

// hint warns of an entry, unless it has done so often.
func (p *parser) hint(line int, key string, h hint) {
	at := slices.IndexFunc(p.hints, func(r repeated) bool { return r.kind == h.kind })
	if at < 0 {
		at = len(p.hints)
		p.hints = append(p.hints, repeated{kind: h.kind})
	}
	r := &p.hints[at]
	r.count, r.line = r.count+1, line
	switch {
	case r.count > maxHints:
	case h.kind == hintOpen:
		p.urgent = append(p.urgent, Problem{File: p.table.name, Line: line, Text: fmt.Sprintf("key %q: %s", shownKey(key), h.text), Warning: true, OpenRelay: true})
	default:
		p.warn(line, "key %q: %s", shownKey(key), h.text)
	}
}

// sumUpHints counts those that were not given.
func (p *parser) sumUpHints() {
	for _, r := range p.hints {
		if r.count > maxHints {
			p.warn(r.line, "the last of %d more entries with the same flaw: %s", r.count-maxHints, r.kind)
		}
	}
}

// look finds what an administrator should know about an entry, the most likely
// mistake first.
func (p *parser) look(e entry) hint {
	plain := usesValues(e.tag) && e.text[0] != ':' && isPlain(e.rest)
	if !plain {
		if h := lookAtKey(e); h != none {
			return h
		}
	}
	switch {
	case e.tag != "" && !isKnown(e.tag) && looksLikeIPv6(e.key):
		return missingIPv6(e.key)
	case e.tag != "" && !isKnown(e.tag):
		return hint{hintTag, fmt.Sprintf("the tag %s: is not one sendmail knows, so this entry never matches", e.tag)}
	case !usesValues(e.tag) && e.secret:
		return none
	case !usesValues(e.tag):
		return lookAtNumber(e)
	case e.secret:
		return hint{hintPassword, "the value is written like that of an AuthInfo: entry; without this tag clients can come to read it, as the text of a reply"}
	case e.rest == "":
		return hint{hintBlank, fmt.Sprintf("nothing stands after the colon, so this entry never matches; leave out the blank before %q", e.text)}
	case e.hint != none:
		return e.hint
	}
	if h := cmp.Or(p.lookAtFeature(e), lookAtRelay(e)); h != none {
		return h
	}
	forClients := e.tag == "connect" || e.tag == ""
	switch {
	case e.network && forClients:
		return none
	case e.network:
		return hint{hintNetwork, fmt.Sprintf("a network is looked up for clients only, so this entry never matches; write Connect:%s", e.rest)}
	case !plain:
		if h := p.lookAtName(e); h != none {
			return h
		}
	}
	if forClients {
		return p.lookAtAddress(e)
	}
	return none
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
func lookAtKey(e entry) hint {
	switch {
	case e.text[0] == ':':
		return hint{hintBlank, "a blank stands before the colon, which ends the key there, so this entry never matches; leave it out"}
	case strings.HasSuffix(e.rest, ",") || strings.HasSuffix(e.rest, ";"):
		return hint{hintNever, fmt.Sprintf("%q at the end is a part of the key, so this entry never matches; leave it out", e.rest[len(e.rest)-1:])}
	case e.key[0] == '"' || strings.HasPrefix(e.rest, `"`):
		return hint{hintQuotes, "the quotes are a part of the key, so this entry never matches; leave them out"}
	case e.key[0] == '/' && (!strings.Contains(e.key, "@") || strings.HasSuffix(e.key, "/")):
		return hint{hintNever, "regular expressions are not known here, so this entry never matches; write a domain, an address or USER@"}
	case usesValues(e.tag) && strings.IndexFunc(e.rest, func(r rune) bool { return r >= 0x80 }) >= 0:
		return hint{hintLatin, "sendmail sees domains in their ASCII form, so this entry never matches; write xn--..."}
	}
	return none
}
