package header

import (
	"cmp"
	"slices"
	"strings"
)

// scrubber takes the traces of clients out of Received fields, by rules whose
// texts are ready for use.
type scrubber struct {
	client, version, with bool
	// from and by are what stands in place of clients and of software, empty if
	// nothing does, and instead what stands before a date if nothing else is left.
	from    []token
	by      token
	instead string
	// sender is that of the message's envelope.
	sender string
	// field and traces are those of one field after the other, and out and date are
	// room for what stays of it.
	field     received
	traces    traces
	out, date []token
	keep      []bool
}

func newScrubber(rules *Rules, sender string) *scrubber {
	from, by := rules.From, rules.By
	if from != "" && CheckFrom(from) != nil {
		from = DefaultFrom
	}
	if CheckBy(by) != nil {
		by = DefaultBy
	}
	s := &scrubber{client: rules.Client, version: rules.Version, with: rules.With, sender: strings.Trim(sender, "<>")}
	s.from, _ = tokensOf(from)
	if comment, _ := tokensOf(by); len(comment) > 0 {
		s.by = comment[0]
	}
	s.instead = cmp.Or(by, DefaultBy)
	if s.client {
		s.instead = cmp.Or(from, DefaultFrom)
	}
	// This is enough for usual fields.
	room := make([]token, 76)
	s.field.head, s.field.tail, s.out, s.date = room[0:0:32], room[32:32:42], room[42:42:66], room[66:66]
	s.traces.words = make([]string, 0, 16)
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
	r := s.field.parse(value, s.client)
	if s.client {
		s.findTraces()
	}
	w := writer{scrubber: s, received: r, out: s.out[:0]}
	for i, p := range r.parts {
		w.part(i, p)
	}
	s.out = w.out
	date := w.dateTokens()
	head := s.complete(w.out)
	same := len(date) == len(r.date) && !r.cut && !r.loose && (slices.Equal(w.out, r.head) || slices.Equal(head, r.head))
	if same || len(r.head)+len(date) == 0 && !r.cut {
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
	if len(head) == 0 {
		head, _ = tokensOf(s.instead)
	}
	return head
}

// findTraces gathers the words by which the field names its client.
func (s *scrubber) findTraces() {
	s.traces = traces{words: s.traces.words[:0]}
	for _, p := range s.field.parts {
		inFrom := p.clause == clauseFrom
		for _, t := range s.foreign(p) {
			isWord, isComment := t.kind == kindWord, t.kind == kindComment
			if isWord && (inFrom || p.clause == clauseNone) || isComment && (t.about == aboutClient || inFrom && t.about != aboutTLS) {
				s.traces.addText(t.lower)
			}
		}
	}
	s.traces.overflow = s.traces.overflow || s.field.cut
}

// foreign returns the tokens of a part behind its keyword, of a from clause those
// that Rules.From did not put there.
func (s *scrubber) foreign(p part) []token {
	if n := len(s.from); p.clause == clauseFrom && n > 0 && len(p.tokens) >= n && slices.Equal(p.tokens[:n], s.from) {
		return p.tokens[n:]
	}
	return p.values()
}

// hides reports whether a text, in lower case, names a client that is to be hidden.
func (s *scrubber) hides(text string) bool { return s.client && s.traces.named(text) }

// leaks reports whether a text, in lower case, may tell of a client that is to be hidden.
func (s *scrubber) leaks(text string) bool { return s.client && s.traces.leak(text) }

// isSender reports whether an address, in lower case, is that of the message's envelope,
// or none, and does not name the client. Any other may be that of a user at the client's
// host, whose name no from clause need give.
func (s *scrubber) isSender(address string) bool {
	address = strings.Trim(address, "<>")
	return address == "" || strings.EqualFold(address, s.sender) && !s.hides(address)
}
