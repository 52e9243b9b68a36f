package header

import (
	"slices"
	"strings"
)

// scrubber takes the traces of clients out of Received fields, by rules whose
// texts are ready for use.
type scrubber struct {
	client, version, with bool
	// from and by are what stands in place of clients and of software; empty if
	// nothing does.
	from []token
	by   token
	// sender is that of the message's envelope.
	sender string
	// These are used for one field after the other.
	room       room
	field      received
	found      traces
	out, stays []token
}

func newScrubber(rules *Rules, sender string) *scrubber {
	s := &scrubber{client: rules.Client, version: rules.Version, with: rules.With, sender: strings.Trim(sender, "<>")}
	// This is room for usual fields, and more is made if it is needed.
	tokens := make([]token, 96)
	s.room.head, s.out, s.room.tail, s.stays = tokens[0:0:40], tokens[40:40:72], tokens[72:72:84], tokens[84:84]
	s.found.words = make([]string, 0, 16)
	from, by := rules.From, rules.By
	if checkFrom(from) != nil {
		from = DefaultFrom
	}
	if CheckBy(by) != nil {
		by = DefaultBy
	}
	s.from, _ = tokensOf(from)
	if by != "" {
		s.by = commentOf(by, lower(by))
	}
	return s
}

// scrub returns what becomes of a Received field's value, and false if nothing is
// to change. What it returns is itself left alone. A value whose brackets do not
// match may read otherwise once something is taken out of it, and so it is looked at
// again until nothing changes.
func (s *scrubber) scrub(value string) (string, bool) {
	text, changed, clean := s.pass(value)
	for i := 0; i < maxPasses && changed && !clean; i++ {
		next, more, _ := s.pass(text)
		if !more {
			break
		}
		text = next
	}
	return text, changed
}

// pass scrubs a value once, if there is something to change. clean is false if
// brackets did not match.
func (s *scrubber) pass(value string) (text string, changed, clean bool) {
	s.field = s.room.parse(value, s.client)
	r := &s.field
	w := writer{scrubber: s, received: r, out: s.out[:0]}
	if s.client {
		w.traces = s.tracesOf(r)
	}
	for i, p := range r.parts {
		w.part(i, p)
	}
	s.out = w.out
	date := w.dateTokens()
	same := len(date) == len(r.date) && !r.cut && !r.loose
	head := s.complete(w.out)
	if same && (slices.Equal(w.out, r.head) || slices.Equal(head, r.head)) || len(r.head)+len(date) == 0 && !r.cut {
		return value, false, r.clean
	}
	text = compose(head, date)
	if !s.client && strings.IndexByte(text, '"') >= 0 {
		// Quotation marks may have hidden a parenthesis that now stands open.
		if _, sound := tokensOf(text); !sound {
			return value, false, r.clean
		}
	}
	return text, true, r.clean
}

// complete makes what is left before a date fit to stand there: not nothing, and
// without semicolons that nothing follows.
func (s *scrubber) complete(head []token) []token {
	for len(head) > 0 && head[len(head)-1].kind == kindSemicolon {
		head = head[:len(head)-1]
	}
	switch {
	case len(head) > 0:
		return head
	case s.client && len(s.from) > 0:
		return s.from
	case !s.client && s.by.text != "":
		return []token{s.by}
	}
	instead := DefaultFrom
	if !s.client {
		instead = DefaultBy
	}
	tokens, _ := tokensOf(instead)
	return tokens
}

// tracesOf gathers the words by which a field names its client.
func (s *scrubber) tracesOf(r *received) *traces {
	t := &s.found
	*t = traces{words: t.words[:0]}
	for _, p := range r.parts {
		for _, tok := range s.foreign(p) {
			switch {
			case tok.kind == kindWord && (p.clause == clauseFrom || p.clause == clauseNone),
				tok.kind == kindComment && (tok.about == aboutClient || p.clause == clauseFrom && tok.about != aboutTLS):
				t.addText(tok.lower)
			}
		}
	}
	t.overflow = t.overflow || r.cut
	return t
}

// foreign returns the tokens of a part behind its keyword, of a from clause those
// that Rules.From did not put there.
func (s *scrubber) foreign(p part) []token {
	if n := len(s.from); p.clause == clauseFrom && n > 0 && len(p.tokens) >= n && slices.Equal(p.tokens[:n], s.from) {
		return p.tokens[n:]
	}
	return p.values()
}

// writer writes a Received field anew from the parts of one.
type writer struct {
	*scrubber
	*received
	traces *traces
	// named: the comment that stands in place of software has been written.
	named bool
	// replaced: what stands in place of the client has been written, and inFrom:
	// nothing behind it, so that a comment would seem to belong to it.
	replaced, inFrom bool
	out              []token
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
			w.comment(p, stays && j == w.host+1, t)
		case kindSemicolon:
			if !w.client {
				w.out = append(w.out, t)
			}
		case kindWord:
			if t, ok := w.word(p.clause, words, t); counts && ok {
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
	if w.client && !w.replaced {
		w.out = append(w.out, w.scrubber.from...)
		w.replaced, w.inFrom = true, len(w.scrubber.from) > 0
	}
	tokens := p.tokens
	if w.client {
		tokens = w.foreign(p)
	}
	for _, t := range tokens {
		isTLS := t.kind == kindComment && t.about == aboutTLS && !w.isOwn(t)
		if isTLS && !w.with && w.sound(t) || !isTLS && !w.client {
			w.out = append(w.out, t)
		}
	}
}

// word returns what stays of a word, the n-th of a clause, and false if nothing does.
func (w *writer) word(c clause, n int, t token) (token, bool) {
	stays := !w.client
	if w.client && !matches(t.text) {
		t = w.reword(t, balanced(t.text))
		w.clean = false
	}
	switch c {
	case clauseBy:
		stays = n == w.host || stays && (n == 0 || !w.version) || n == w.host+1 && isAddress(t.lower) && !w.hides(t.lower)
	case clauseWith:
		stays = !w.with && (isProtocol(t.lower) || isTLS(t.lower) || w.mayStay(t))
	case clauseVia:
		stays = isLink(t.lower) || w.mayStay(t)
	case clauseTLS:
		stays = !w.with && (stays || isTLSText(t.lower))
	case clauseID:
		if w.client && n == 0 {
			t = w.reword(t, w.idOf(t))
		}
		stays = (stays || n == 0) && !(w.version && isVersionNumber(t.text))
	case clauseFor:
		stays = stays || n == 0 || isCount(t.text) || strings.Contains(t.text, "@") && !w.hides(t.lower)
	case clauseEnvelope:
		stays = stays || n == 0 && w.isSender(t.text)
	}
	return t, stays && t.text != ""
}

// reword is the word t, or the text that is to stand in its place.
func (w *writer) reword(t token, text string) token {
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

// isCount reports whether a word of a for clause stands in place of recipients:
// "for multiple recipients".
func isCount(word string) bool {
	return strings.EqualFold(word, "multiple") || strings.EqualFold(word, "recipients") || strings.EqualFold(word, multiple)
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
	switch rest := strings.ReplaceAll(low, w.byHost, ""); {
	case slices.ContainsFunc(w.traces.words, func(known string) bool { return len(known) >= 4 && holdsWord(rest, known) }):
		return ""
	case !matches(id):
		return balanced(id)
	}
	return id
}

// isSender reports whether an address is that of the message's envelope, or none, and
// does not name the client. Any other may be that of a user at the client's host, whose
// name no from clause need give.
func (w *writer) isSender(address string) bool {
	address = strings.Trim(address, "<>")
	return address == "" || strings.EqualFold(address, w.sender) && !w.hides(lower(address))
}

// keepsSender reports whether a comment about the envelope's sender stays.
func (w *writer) keepsSender(t token) bool {
	return !w.client || w.isSender(t.lower[strings.IndexByte(t.lower, ' ')+1:])
}

// hides reports whether a text, in lower case, names a client that is to be hidden.
func (w *writer) hides(text string) bool { return w.client && w.traces.named(text) }

// leaks reports whether a text, in lower case, may tell of a client that is to be hidden.
func (w *writer) leaks(text string) bool { return w.client && w.traces.leak(text) }

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

// isOwn reports whether a comment is the one that stands in place of software.
func (w *writer) isOwn(t token) bool { return w.version && t.text == w.by.text }

// comment writes what stays of a comment that is not in a from clause, or stands in
// its place. behindHost: it stands right behind the host in by, if it is in by.
func (w *writer) comment(p part, behindHost bool, t token) {
	switch {
	case w.inFrom && (t.about != aboutTLS || w.isOwn(t)), w.named && w.isOwn(t):
		return
	case w.isOwn(t):
		w.named = true
		w.out = append(w.out, t)
		return
	}
	stays := !w.client
	switch t.about {
	case aboutTLS:
		stays = !w.with
	case aboutSender:
		stays = w.keepsSender(t)
	case aboutRecipient:
		stays = !w.hides(t.lower)
	case aboutAddress:
		// An address behind the host in by is that host's.
		stays = stays || p.clause == clauseBy && behindHost && !w.hides(t.lower)
		if w.version && w.isID(t.lower) {
			w.software(p, t)
			return
		}
	case aboutBoth, aboutUnknown:
		w.software(p, t)
		return
	}
	if stays && w.sound(t) {
		w.out = append(w.out, t)
	}
}

// sound reports whether a comment is fit to be written: its brackets match, or
// nothing is to be hidden.
func (w *writer) sound(t token) bool { return !w.client || matches(t.text) }

// isID reports whether a text is the field's id too, as Exchange's version is.
func (w *writer) isID(text string) bool {
	i := w.chosen[clauseID]
	return isVersionNumber(text) && i >= 0 && w.parts[i].first() == text
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
		name := "(" + inside(t.text)[:ownName(t.lower)] + ")"
		if t = commentOf(name, lower(name)); w.leaks(lower(t.text)) {
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
