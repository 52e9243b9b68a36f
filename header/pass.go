package header

import (
	"slices"
	"strings"
)

// pass is one walk over the clauses of a Received field.
type pass struct {
	*scrubber
	traces *traces
	last   [clauses]int
	// id is the field's id, in lower case.
	id string
	// own: the field holds the comment that stands in place of software.
	own bool
	// named: that comment has been written.
	named bool
	// replaced: what stands in place of the client has been written.
	replaced bool
	out      []token
}

// holdsOwn reports whether the comment that stands in place of software is there
// and stays.
func (p *pass) holdsOwn(head []segment) bool {
	for i, seg := range head {
		if p.dropped(i, seg) || p.client && seg.clause == clauseFrom {
			continue
		}
		for _, t := range seg.tokens {
			if t.kind == kindComment && t.text == p.by {
				return true
			}
		}
	}
	return false
}

// dropped reports whether a clause goes because one of its kind follows: what a
// client can make a field say comes before what the MTA adds.
func (p *pass) dropped(i int, seg segment) bool {
	switch seg.clause {
	case clauseNone, clauseFrom:
		return false
	}
	return p.client && p.last[seg.clause] != i
}

// segment writes what stays of a clause.
func (p *pass) segment(i int, seg segment) {
	if p.dropped(i, seg) {
		return
	}
	if seg.clause == clauseFrom {
		p.from(seg)
		return
	}
	keep := p.words(seg)
	words := 0
	keptAny := len(keep) == 0 && !(p.with && (seg.clause == clauseWith || seg.clause == clauseTLS)) || slices.Contains(keep, true)
	for j, t := range seg.tokens {
		switch {
		case t.kind == kindComment:
			p.comment(seg, j, t)
		case j == 0 && seg.clause != clauseNone:
			if keptAny {
				p.out = append(p.out, t)
			}
		case t.kind == kindSemicolon:
			if !p.client {
				p.out = append(p.out, t)
			}
		default:
			if keep[words] {
				p.out = append(p.out, t)
			}
			words++
		}
	}
}

// from writes what stays of a from clause, or stands in its place.
func (p *pass) from(seg segment) {
	if !p.client {
		for _, t := range seg.tokens {
			if !p.with || t.kind != kindComment || t.about != aboutTLS {
				p.out = append(p.out, t)
			}
		}
		return
	}
	if !p.replaced {
		p.out = append(p.out, p.scrubber.from...)
		p.replaced = true
	}
	if p.with {
		return
	}
	for _, t := range p.foreign(seg) {
		if t.kind == kindComment && t.about == aboutTLS && !p.traces.leak(lower(t.text)) {
			p.out = append(p.out, t)
		}
	}
}

// words says which words of a clause stay, its keyword not among them.
func (p *pass) words(seg segment) []bool {
	words := seg.words()
	keep := make([]bool, len(words))
	for i, word := range words {
		keep[i] = p.word(seg.clause, i, lower(word))
	}
	if p.version {
		p.stripVersion(seg.clause, words, keep)
	}
	return keep
}

// word says whether a word stays, the i-th of its clause, given in lower case.
func (p *pass) word(c clause, i int, word string) bool {
	switch c {
	case clauseWith:
		return !p.with && !(p.client && p.traces.leak(word))
	case clauseTLS:
		return !p.with && !(p.client && (i > 0 || p.traces.leak(word)))
	case clauseVia:
		return !(p.client && p.traces.leak(word))
	case clauseEnvelope:
		return !(p.client && (i > 0 || p.traces.named(word)))
	case clauseFor:
		return i == 0 || !p.client || strings.HasPrefix(word, "<") || strings.Contains(word, "@") && !p.traces.named(word)
	case clauseBy:
		return i == 0 || !p.client && !p.version
	case clauseID:
		return i == 0 || !p.client
	}
	return !p.client
}

// stripVersion drops the words that name software from with, via and id clauses.
func (p *pass) stripVersion(c clause, words []string, keep []bool) {
	switch c {
	case clauseWith:
		protocol := slices.IndexFunc(words, isProtocol)
		for i, word := range words {
			keep[i] = keep[i] && (i == protocol || isTLS(lower(word)))
		}
	case clauseVia:
		for i, word := range words {
			keep[i] = keep[i] && i == 0 && isLink(word)
		}
	case clauseID:
		if len(words) > 0 && isVersionNumber(words[0]) {
			clear(keep)
		}
	}
}

// isProtocol reports whether a word is the name of a transmission type (RFC 3848
// and the IANA registry), or one that mail software is known to write instead.
func isProtocol(word string) bool {
	switch lower(word) {
	case "smtp", "esmtp", "esmtpa", "esmtps", "esmtpsa", "lmtp", "lmtpa", "lmtps", "lmtpsa",
		"utf8smtp", "utf8smtpa", "utf8smtps", "utf8smtpsa", "utf8lmtp", "utf8lmtpa", "utf8lmtps", "utf8lmtpsa",
		"mms", "asmtp", "smtps", "http", "https", "local", "bsmtp", "local-bsmtp", "uucp", "uucp-dom", "qmqp", "qmtp", "mapi", "imap", "pop3", "jmap":
		return true
	}
	return false
}

// isLink reports whether a word is the name of a link that via may name.
func isLink(word string) bool {
	switch lower(word) {
	case "tcp", "uucp", "http", "https", "smtp", "local", "socket", "x.400":
		return true
	}
	return false
}

// isVersionNumber reports whether a word is four numbers, as Exchange's ids are.
func isVersionNumber(word string) bool {
	parts := 0
	for part := range strings.SplitSeq(word, ".") {
		if !isNumber(part, 6) {
			return false
		}
		parts++
	}
	return parts == 4
}

// comment writes what stays of a comment that is not in a from clause, the i-th
// token of its clause, or stands in its place.
func (p *pass) comment(seg segment, i int, t token) {
	if p.version && t.text == p.by {
		if !p.named {
			p.out = append(p.out, t)
			p.named = true
		}
		return
	}
	text := lower(inside(t.text))
	about := t.about
	switch {
	case p.version && (about == aboutSoftware || about == aboutBoth || about == aboutAddress && isVersionNumber(text) && text == p.id):
		p.software(seg)
	case p.client && about == aboutBoth:
		own := commentOf("(" + inside(t.text)[:ownName(text)] + ")")
		if !p.traces.leak(lower(own.text)) {
			p.out = append(p.out, own)
		}
	case about == aboutAddress && p.client:
		// An address behind the host in by is that host's.
		if seg.clause == clauseBy && i == 2 && seg.tokens[1].kind == kindWord && !p.traces.named(text) {
			p.out = append(p.out, t)
		}
	case p.keeps(about, text):
		p.out = append(p.out, t)
	}
}

// software writes what stands in place of mail software, once. A for clause does
// not name the host's software; what stands there just goes.
func (p *pass) software(seg segment) {
	if p.by == "" || p.named || p.own || seg.clause == clauseFor {
		return
	}
	p.out = append(p.out, commentOf(p.by))
	p.named = true
}

// keeps says whether a comment stays that does not name software, or may.
func (p *pass) keeps(about topic, text string) bool {
	switch about {
	case aboutTLS:
		return !p.with && !(p.client && p.traces.leak(text))
	case aboutEnvelope:
		return !(p.client && p.traces.named(text))
	case aboutClient, aboutHost, aboutAddress:
		return !p.client
	}
	return !(p.with && mentionsTLS(text)) && !(p.client && p.traces.leak(text))
}

// date returns what stays of a date and its comments.
func (p *pass) date(date []token) []token {
	var keep []bool
	if p.client {
		keep = dateWords(date, p.traces)
	}
	var stays []token
	for i, t := range date {
		if t.kind == kindComment && p.keepsDateComment(t) || t.kind == kindWord && (!p.client || keep[i]) {
			stays = append(stays, t)
		}
	}
	return stays
}

// keepsDateComment says whether a comment behind the date stays: the name of a
// time zone, the envelope's sender.
func (p *pass) keepsDateComment(t token) bool {
	text := lower(inside(t.text))
	if isZoneName(text) {
		return !(p.client && p.traces.named(text))
	}
	if t.about == aboutSoftware || t.about == aboutBoth {
		return !p.version && !p.client && !(p.with && mentionsTLS(text))
	}
	return p.keeps(t.about, text)
}

// isZoneName reports whether text, in lower case, is the name of a time zone:
// "cest", "gmt+01:00", "pacific standard time".
func isZoneName(text string) bool {
	name, long := strings.CutSuffix(text, " time")
	for i := 0; i < len(name); i++ {
		if c := name[i]; (c < 'a' || c > 'z') && (c != ' ' || !long) {
			return isZone(strings.ToUpper(text))
		}
	}
	return name != "" && (long && len(name) <= 40 || len(name) <= 5)
}
