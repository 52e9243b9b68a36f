package header

import (
	"slices"
	"strings"
)

// writer writes a Received field anew from the parts of one.
type writer struct {
	*scrubber
	*received
	// named: the comment that stands in place of software has been written, and
	// replaced: what stands in place of the client has.
	named, replaced bool
	// inFrom: the client's place is all that has been written, so that a comment would
	// seem to belong to it.
	inFrom bool
	out    []token
}

// part writes what stays of the i-th part. Its keyword stays if a word does, or if
// there is none to begin with and no client to be hidden.
func (w *writer) part(i int, p part) {
	if p.clause == clauseFrom {
		w.from(p)
		return
	}
	begin, words, stays := len(w.out), 0, false
	if p.clause != clauseNone {
		w.out = append(w.out, p.tokens[0])
	}
	counts := !w.client || p.clause == clauseNone || w.chosen[p.clause] == i
	for j, t := range p.values() {
		switch t.kind {
		case kindComment:
			w.comment(p, stays && j == w.hostAt+1, t)
		case kindSemicolon:
			if !w.client {
				w.out = append(w.out, t)
			}
		case kindWord:
			if t = w.word(p.clause, words, t); counts && t.text != "" {
				w.out = append(w.out, t)
				stays, w.inFrom = true, false
			}
			words++
		}
	}
	empty := words == 0 && !w.client && !(w.with && (p.clause == clauseWith || p.clause == clauseTLS))
	if p.clause != clauseNone && !stays && !empty {
		w.out = slices.Delete(w.out, begin, begin+1)
	}
}

// from writes what stays of a from clause, or stands in its place.
func (w *writer) from(p part) {
	tokens := p.tokens
	if w.client {
		tokens = w.foreign(p)
		if !w.replaced {
			w.out = append(w.out, w.scrubber.from...)
			w.replaced, w.inFrom = true, len(w.scrubber.from) > 0
		}
	}
	for _, t := range tokens {
		isTLS := t.kind == kindComment && t.about == aboutTLS && !w.isOwn(t)
		if isTLS && !w.with && w.sound(t) || !isTLS && !w.client {
			w.out = append(w.out, t)
		}
	}
}

// word returns what stays of a word with n others before it in a clause, empty if
// nothing does.
func (w *writer) word(c clause, n int, t token) token {
	stays := !w.client
	if w.client && !matches(t.text) {
		t = reworded(t, balanced(t.text))
		w.clean = false
	}
	switch c {
	case clauseBy:
		stays = n == w.hostAt || stays && (n == 0 || !w.version) || n == w.hostAt+1 && isAddress(t.lower) && !w.hides(t.lower)
	case clauseWith:
		stays = !w.with && (isProtocol(t.lower) || isTLS(t.lower) || w.mayStay(t))
	case clauseVia:
		stays = isLink(t.lower) || w.mayStay(t)
	case clauseTLS:
		stays = !w.with && (stays || isTLSText(t.lower))
	case clauseID:
		if w.client && n == 0 {
			t = reworded(t, w.idOf(t))
		}
		stays = (stays || n == 0) && !(w.version && isVersionNumber(t.text))
	case clauseFor:
		stays = stays || n == 0 || isCount(t.lower) || strings.Contains(t.text, "@") && !w.hides(t.lower)
	case clauseEnvelope:
		stays = stays || n == 0 && w.isSender(t.lower)
	}
	if !stays {
		return token{}
	}
	return t
}

// reworded is the word t, or another text in its place.
func reworded(t token, text string) token {
	if text != t.text {
		t = wordOf(text, lower(text))
	}
	return t
}

// mayStay reports whether a word of with or via stays that is not known: if software
// may be named, and the word tells nothing of a client and is no part of a date that
// has lost its semicolon.
func (w *writer) mayStay(t token) bool {
	return !w.version && !w.leaks(t.lower) && !(w.client && dateWordOf(t.text)&(dateTime|dateNumber|dateName) != 0)
}

// isCount reports whether a word of a for clause, in lower case, stands in place of
// recipients: "for multiple recipients".
func isCount(word string) bool {
	return word == "multiple" || word == "recipients" || word == multiple
}

// idOf returns what stays of an id. Some software writes the name of the client
// behind an @ in it, <2003.GCFK@[192.168.0.77]>, and no from clause need say that it is
// the client's. So only the host in by may stand there, or a domain that it is in.
func (w *writer) idOf(t token) string {
	id, low := t.text, t.lower
	if local, domain, ok := strings.Cut(id, "@"); ok {
		switch name := lower(strings.TrimRight(domain, ">,.")); {
		case name == w.byHost:
		case name != "" && strings.HasSuffix(w.byHost, "."+name) && !w.hides(name):
		case strings.Contains(domain, ">"):
			id = local + ">"
		default:
			id = local
		}
		low = lower(id)
	}
	rest := strings.ReplaceAll(low, w.byHost, "")
	namesClient := func(known string) bool { return len(known) >= 4 && holdsWord(rest, known) }
	switch {
	case slices.ContainsFunc(w.traces.words, namesClient):
		return ""
	case !matches(id):
		return balanced(id)
	}
	return id
}

// isVersionNumber reports whether a word is four numbers, as Exchange's ids are.
func isVersionNumber(word string) bool {
	isNoPart := func(part string) bool { return !isNumber(part, 6) }
	return strings.Count(word, ".") == 3 && !slices.ContainsFunc(strings.Split(word, "."), isNoPart)
}

// comment writes what stays of a comment that is not in a from clause, or stands in
// its place. behindHost: it stands right behind the host in by, if it is in by.
func (w *writer) comment(p part, behindHost bool, t token) {
	switch own := w.isOwn(t); {
	case own && !w.inFrom && !w.named:
		w.named = true
		w.out = append(w.out, t)
		return
	case own, w.inFrom && t.about != aboutTLS:
		return
	}
	// An address behind the host in by is that host's.
	ofHost := t.about == aboutAddress && p.clause == clauseBy && behindHost && !w.hides(t.lower)
	switch {
	case t.about == aboutBoth, t.about == aboutUnknown, t.about == aboutAddress && w.version && w.isID(t.lower):
		w.software(p, t)
	case (ofHost || w.keeps(t)) && w.sound(t):
		w.out = append(w.out, t)
	}
}

// keeps says whether a comment stays that is not about software.
func (w *writer) keeps(t token) bool {
	switch t.about {
	case aboutTLS:
		return !w.with
	case aboutSender:
		return !w.client || w.isSender(t.lower[strings.IndexByte(t.lower, ' ')+1:])
	case aboutRecipient:
		return !w.hides(t.lower)
	}
	return !w.client
}

// isOwn reports whether a comment is the one that stands in place of software.
func (w *writer) isOwn(t token) bool { return w.version && t.text == w.by.text }

// sound reports whether a comment is fit to be written: its brackets match, or
// nothing is to be hidden.
func (w *writer) sound(t token) bool { return !w.client || matches(t.text) }

// isID reports whether a text is the field's id too, as Exchange's version is.
func (w *writer) isID(text string) bool {
	i := w.chosen[clauseID]
	if i < 0 || !isVersionNumber(text) {
		return false
	}
	id, _ := w.parts[i].find(isAny)
	return id == text
}

// software writes what stands in place of a comment that may name mail software,
// once. Behind by and with, or before all clauses, that is what a comment is for.
// Elsewhere it has to hold a version, and in a for clause nothing names the host's
// software.
func (w *writer) software(p part, t token) {
	switch {
	case w.version:
		expected := p.clause == clauseNone || p.clause == clauseBy || p.clause == clauseWith
		if w.by.text == "" || w.named || p.clause == clauseFor || !expected && !holdsVersion(t.lower) {
			return
		}
		t = w.by
	case w.client && t.about == aboutBoth:
		name := "(" + inside(t.text)[:len(ownName(t.lower))] + ")"
		if t = commentOf(name, lower(name)); w.leaks(t.lower) {
			return
		}
	case w.leaks(t.lower) || w.with && mentionsTLS(t.lower):
		return
	}
	if w.sound(t) {
		w.named = w.named || w.version
		w.out = append(w.out, t)
	}
}
