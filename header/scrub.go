package header

import (
	"slices"
	"strings"
)

// scrubber takes the traces of clients out of Received fields, by rules whose
// texts are ready for use.
type scrubber struct {
	client, version, with bool
	// from and by are what stands in place of clients and of software, by one comment
	// at most; empty if nothing does.
	from, by []token
	// sender is that of the message's envelope.
	sender string
	// These are used for one field after the other.
	room  room
	field received
	found traces
	out   []token
}

func newScrubber(rules *Rules, sender string) *scrubber {
	s := &scrubber{client: rules.Client, version: rules.Version, with: rules.With, sender: sender, room: newRoom()}
	from, by := rules.From, rules.By
	if checkFrom(from) != nil {
		from = DefaultFrom
	}
	if CheckBy(by) != nil {
		by = DefaultBy
	}
	s.from, _ = lex(from)
	s.by, _ = lex(by)
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
	if same && slices.Equal(w.out, r.head) {
		return value, false, r.clean
	}
	head := s.complete(w.out)
	if same && slices.Equal(head, r.head) || len(r.head)+len(date) == 0 && !r.cut {
		return value, false, r.clean
	}
	text = compose(head, date)
	if !s.client && strings.IndexByte(text, '"') >= 0 {
		// Quotation marks may have hidden a parenthesis that now stands open.
		if _, sound := lex(text); !sound {
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
	case !s.client && len(s.by) > 0:
		return s.by
	}
	instead := DefaultFrom
	if !s.client {
		instead = DefaultBy
	}
	tokens, _ := lex(instead)
	return tokens
}

// tracesOf gathers the words by which a field names its client.
func (s *scrubber) tracesOf(r *received) *traces {
	t := &s.found
	*t = traces{words: t.words[:0]}
	for _, p := range r.parts {
		for _, tok := range s.foreign(p) {
			switch {
			case tok.kind == kindWord && (p.clause == clauseFrom || p.clause == clauseNone):
				t.word(tok.text)
			case tok.kind == kindComment && (tok.about == aboutClient || p.clause == clauseFrom && tok.about != aboutTLS):
				t.word(tok.inner)
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
			if text := w.word(p.clause, words, t.text); counts && text != "" {
				w.out = append(w.out, token{text: text})
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

// word returns what stays of a word, the n-th of a clause, empty if nothing does.
func (w *writer) word(c clause, n int, word string) string {
	stays := !w.client
	if w.client && !matches(word) {
		word = balanced(word)
		w.clean = false
	}
	switch c {
	case clauseBy:
		stays = n == w.host || stays && (n == 0 || !w.version) || n == w.host+1 && isAddress(word) && !w.hides(word)
	case clauseWith:
		stays = !w.with && (isProtocol(word) || isTLS(lower(word)) || w.mayStay(word))
	case clauseVia:
		stays = isLink(word) || w.mayStay(word)
	case clauseTLS:
		stays = !w.with && (stays || isTLSText(lower(word)))
	case clauseID:
		if w.client && n == 0 {
			word = w.idOf(word)
		}
		stays = (stays || n == 0) && !(w.version && isVersionNumber(word))
	case clauseFor:
		stays = stays || n == 0 || isCount(word) || strings.Contains(word, "@") && !w.hides(word)
	case clauseEnvelope:
		stays = stays || n == 0 && w.isSender(word)
	}
	if !stays {
		return ""
	}
	return word
}

// mayStay reports whether a word of with or via stays that is not known: if software
// may be named, and the word tells nothing of a client and is no part of a date that
// has lost its semicolon.
func (w *writer) mayStay(word string) bool {
	return !w.version && !w.leaks(word) && !(w.client && dateWordOf(word)&(dateTime|dateNumber|dateName) != 0)
}

// isCount reports whether a word of a for clause stands in place of recipients:
// "for multiple recipients".
func isCount(word string) bool {
	return strings.EqualFold(word, "multiple") || strings.EqualFold(word, "recipients") || strings.EqualFold(word, multiple)
}

// idOf returns what stays of an id. Some software writes the name of the client
// behind an @ in it, <2003.GCFK@[192.168.0.77]>, and no from clause need say that it is
// the client's. So only the host in by may stand there, or a domain that it is in.
func (w *writer) idOf(id string) string {
	host := w.byHost()
	if local, domain, ok := strings.Cut(id, "@"); ok {
		switch name := strings.TrimRight(domain, ">,."); {
		case strings.EqualFold(name, host):
		case name != "" && strings.HasSuffix(lower(host), "."+lower(name)) && !w.hides(name):
		case strings.Contains(domain, ">"):
			id = local + ">"
		default:
			id = local
		}
	}
	switch rest := strings.ReplaceAll(lower(id), lower(host), ""); {
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
	return address == "" || strings.EqualFold(address, strings.Trim(w.sender, "<>")) && !w.hides(address)
}

// hides reports whether a text names a client that is to be hidden.
func (w *writer) hides(text string) bool { return w.client && w.traces.named(lower(text)) }

// leaks reports whether a text may tell of a client that is to be hidden.
func (w *writer) leaks(text string) bool { return w.client && w.traces.leak(lower(text)) }

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
func (w *writer) isOwn(t token) bool { return w.version && len(w.by) > 0 && t.text == w.by[0].text }

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
	text := t.inner
	stays := !w.client
	switch t.about {
	case aboutTLS:
		stays = !w.with
	case aboutSender:
		stays = stays || w.isSender(text[strings.IndexByte(text, ' ')+1:])
	case aboutRecipient:
		stays = !w.hides(text)
	case aboutAddress:
		// An address behind the host in by is that host's.
		stays = stays || p.clause == clauseBy && behindHost && !w.hides(text)
		if w.version && w.isID(text) {
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
	return isVersionNumber(text) && i >= 0 && w.parts[i].index(func(word string) bool { return word == text }) == 0
}

// software writes what stands in place of a comment that may name mail software,
// once. Behind by and with, or before all clauses, that is what a comment is for.
// Elsewhere it has to hold a version, and in a for clause nothing names the host's
// software.
func (w *writer) software(p part, t token) {
	text := t.inner
	switch {
	case w.version:
		expected := p.clause == clauseNone || p.clause == clauseBy || p.clause == clauseWith
		if len(w.by) == 0 || w.named || p.clause == clauseFor || !expected && !holdsVersion(text) {
			return
		}
		t = w.by[0]
	case w.client && t.about == aboutBoth:
		if t = commentOf("(" + inside(t.text)[:ownName(text)] + ")"); w.leaks(t.text) {
			return
		}
	case w.leaks(text) || w.with && mentionsTLS(text):
		return
	}
	if w.sound(t) {
		w.named = w.named || w.version
		w.out = append(w.out, t)
	}
}
