package header

import (
	"slices"
	"strings"
)

// clause is the part of a Received field that a keyword begins.
type clause uint8

const (
	clauseNone clause = iota // before the first keyword, or after a semicolon
	clauseFrom
	clauseBy
	clauseVia
	clauseWith
	clauseID
	clauseFor
	clauseTLS
	clauseEnvelope
	clauses
)

// keywords are the words that begin clauses.
var keywords = [clauses]string{
	clauseFrom: "from", clauseBy: "by", clauseVia: "via", clauseWith: "with",
	clauseID: "id", clauseFor: "for", clauseTLS: "tls", clauseEnvelope: "envelope-from",
}

// keyword says which clause a word begins.
func keyword(word string) clause {
	for c := clauseFrom; c < clauses; c++ {
		if equalFold(word, keywords[c]) {
			return c
		}
	}
	return clauseNone
}

// segment is a clause with the tokens that belong to it, its keyword the first.
// Comments among and after its words are part of it.
type segment struct {
	clause clause
	tokens []token
}

// words returns the words of a segment behind its keyword.
func (s segment) words() []string {
	var words []string
	for _, t := range s.values() {
		if t.kind == kindWord {
			words = append(words, t.text)
		}
	}
	return words
}

// value is the first word behind the keyword, empty where there is none.
func (s segment) value() string {
	for _, t := range s.values() {
		if t.kind == kindWord {
			return t.text
		}
	}
	return ""
}

// values are the tokens behind the keyword.
func (s segment) values() []token {
	if s.clause != clauseNone {
		return s.tokens[1:]
	}
	return s.tokens
}

// received is a Received field taken apart.
type received struct {
	// head is all before the date, in order, without the tokens that are too long
	// to be kept.
	head []segment
	// date is what stands behind the last semicolon that a date follows, with words
	// among it that are none; empty where there is no date.
	date []token
	// written is the number of tokens in the value.
	written int
}

// parse takes the value of a Received field apart. No value is refused.
func parse(value string) received {
	head, date := split(value)
	r := received{head: make([]segment, 0, clauses), written: len(head) + len(date)}
	r.date = short(date)
	head = short(head)
	lastBy := -1
	for i, t := range head {
		if t.kind == kindWord && keyword(t.text) == clauseBy {
			lastBy = i
		}
	}
	begin, current := 0, clauseNone
	end := func(i int) {
		if i > begin {
			r.head = append(r.head, segment{current, head[begin:i]})
		}
		begin = i
	}
	for i, t := range head {
		next := clauseNone
		switch t.kind {
		case kindComment:
			continue
		case kindWord:
			next = keyword(t.text)
			afterFrom := current == clauseFrom && i == begin+1
			if next == clauseNone || afterFrom && (next != clauseBy || i < lastBy) {
				continue
			}
		}
		end(i)
		current = next
	}
	end(len(head))
	return r
}

// whole reports whether no token was too long to be kept.
func (r received) whole() bool {
	n := len(r.date)
	for _, seg := range r.head {
		n += len(seg.tokens)
	}
	return n == r.written
}

// short leaves out the tokens that are too long to be kept.
func short(tokens []token) []token {
	for i, t := range tokens {
		if len(t.text) <= maxToken {
			continue
		}
		kept := append([]token(nil), tokens[:i]...)
		for _, t := range tokens[i:] {
			if len(t.text) <= maxToken {
				kept = append(kept, t)
			}
		}
		return kept
	}
	return tokens
}

// maxDate bounds the text that is taken for a date and its comments.
const maxDate = 1000

// split splits a value at the last semicolon that a date follows. That is looked
// for in the text first, so that nothing that is left open before it, such as a
// comment, hides it. What stands behind the date, such as Courier's id or another
// semicolon, is taken to stand before it.
func split(value string) (head, date []token) {
	i := strings.LastIndexByte(value, ';')
	if i >= 0 && len(value)-i <= maxDate {
		if tail, clean := lex(value[i+1:]); clean {
			if n := dateEnd(tail); n > 0 {
				head, _ := lex(value[:i])
				return append(head, tail[n:]...), tail[:n]
			}
		}
	}
	head, _ = lex(value)
	end := len(head)
	for i := len(head) - 1; i >= 0; i-- {
		if head[i].kind != kindSemicolon {
			continue
		}
		if n := dateEnd(head[i+1 : end]); n > 0 {
			date = slices.Clone(head[i+1 : i+1+n])
			return slices.Delete(head, i, i+1+n), date
		}
		end = i
	}
	return head, nil
}

// dateEnd returns how many tokens are a date with its comments, 0 where no date
// stands before the first keyword.
func dateEnd(tail []token) int {
	n := slices.IndexFunc(tail, func(t token) bool { return t.kind == kindWord && keyword(t.text) != clauseNone })
	if n < 0 {
		n = len(tail)
	}
	if !isDate(tail[:n]) {
		return 0
	}
	return n
}
