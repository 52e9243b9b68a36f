package header

import "slices"

// scrubber takes the traces of clients out of Received fields, by rules whose
// texts are ready for use.
type scrubber struct {
	client, version, with bool
	// from and by are what stands in place of clients and of software, by as the
	// text of one comment; empty where nothing does.
	from []token
	by   string
}

func newScrubber(rules *Rules) *scrubber {
	s := &scrubber{client: rules.Client, version: rules.Version, with: rules.With}
	from, by := rules.From, rules.By
	if checkFrom(from) != nil {
		from = DefaultFrom
	}
	if CheckBy(by) != nil {
		by = DefaultBy
	}
	s.from, _ = lex(from)
	if tokens, _ := lex(by); len(tokens) > 0 {
		s.by = tokens[0].text
	}
	return s
}

// maxPasses bounds how often a value is scrubbed until nothing changes any more.
// Once is enough, but for fields that were made to read otherwise once something
// is taken out of them.
const maxPasses = 4

// scrub returns what becomes of a Received field's value, and false where nothing
// is to change. What it returns is itself left alone.
func (s *scrubber) scrub(value string) (string, bool) {
	text := value
	for range maxPasses {
		next, changed := s.pass(text)
		if !changed {
			return text, text != value
		}
		text = next
	}
	if !s.client {
		return "", false
	}
	_, date := split(value)
	text = s.reduced(date)
	return text, text != value
}

// reduced is what is left of a field when nothing but its date can be kept.
func (s *scrubber) reduced(date []token) string {
	date = short(date)
	keep := dateWords(date, &traces{overflow: true})
	var words []token
	for i, t := range date {
		if keep[i] {
			words = append(words, t)
		}
	}
	return compose(s.stopgap(), words)
}

// stopgap stands in a field that would be empty before its date.
func (s *scrubber) stopgap() []token {
	switch {
	case !s.client:
		return []token{commentOf(DefaultBy)}
	case len(s.from) > 0:
		return s.from
	}
	tokens, _ := lex(DefaultFrom)
	return tokens
}

// pass scrubs a value once.
func (s *scrubber) pass(value string) (string, bool) {
	r := parse(value)
	p := pass{scrubber: s, last: lastOf(r.head), out: make([]token, 0, min(r.written, 32))}
	if s.client {
		p.traces = s.tracesOf(r)
	}
	for _, seg := range r.head {
		if seg.clause == clauseID {
			p.id = lower(seg.value())
		}
	}
	p.own = s.version && s.by != "" && p.holdsOwn(r.head)
	for i, seg := range r.head {
		p.segment(i, seg)
	}
	date := p.date(r.date)
	if r.written == len(r.date) && len(date) == len(r.date) {
		return "", false
	}
	head := s.complete(p.out)
	if len(date) == len(r.date) && (r.headIs(p.out) || r.headIs(head)) && r.whole() {
		return "", false
	}
	return compose(head, date), true
}

// complete makes what is left before a date fit to stand there: not nothing, and
// without semicolons that nothing follows.
func (s *scrubber) complete(head []token) []token {
	for len(head) > 0 && head[len(head)-1].kind == kindSemicolon {
		head = head[:len(head)-1]
	}
	if len(head) == 0 {
		return s.stopgap()
	}
	return head
}

// headIs reports whether tokens are those before the date.
func (r received) headIs(tokens []token) bool {
	for _, seg := range r.head {
		n := len(seg.tokens)
		if n > len(tokens) || !slices.Equal(seg.tokens, tokens[:n]) {
			return false
		}
		tokens = tokens[n:]
	}
	return len(tokens) == 0
}

// lastOf returns, for each kind of clause, the index of the last one that has a
// value, or of the last one.
func lastOf(head []segment) [clauses]int {
	var last [clauses]int
	var valued [clauses]bool
	for i, seg := range head {
		has := seg.value() != ""
		if has || !valued[seg.clause] {
			last[seg.clause], valued[seg.clause] = i, has
		}
	}
	return last
}

// tracesOf gathers the words by which a field names its client.
func (s *scrubber) tracesOf(r received) *traces {
	t := new(traces)
	for _, seg := range r.head {
		for _, tok := range s.foreign(seg) {
			switch tok.kind {
			case kindWord:
				if seg.clause == clauseFrom || seg.clause == clauseNone {
					t.word(tok.text)
				}
			case kindComment:
				if tok.about == aboutClient || seg.clause == clauseFrom && tok.about != aboutTLS {
					t.comment(inside(tok.text))
				}
			}
		}
	}
	t.overflow = t.overflow || !r.whole()
	return t
}

// foreign returns the tokens of a segment behind its keyword, of a from clause
// those that Rules.From did not put there.
func (s *scrubber) foreign(seg segment) []token {
	if n := len(s.from); seg.clause == clauseFrom && n > 0 && len(seg.tokens) >= n && slices.Equal(seg.tokens[:n], s.from) {
		return seg.tokens[n:]
	}
	return seg.values()
}
