package header

import (
	"slices"
	"strings"
)

// clause is the kind of a part of a Received field that a keyword begins.
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

// keyword says which clause a word, in lower case, begins.
func keyword(word string) clause {
	switch word {
	case "from":
		return clauseFrom
	case "by":
		return clauseBy
	case "via":
		return clauseVia
	case "with":
		return clauseWith
	case "id":
		return clauseID
	case "for":
		return clauseFor
	case "tls", "over":
		return clauseTLS
	case "envelope-from":
		return clauseEnvelope
	}
	return clauseNone
}

// part is a clause with the tokens that belong to it, its keyword the first.
// Comments among and after its words are in it.
type part struct {
	clause clause
	tokens []token
}

// values are the tokens behind the keyword.
func (p part) values() []token {
	if p.clause != clauseNone {
		return p.tokens[1:]
	}
	return p.tokens
}

// find returns the first word behind the keyword that fits, in lower case, and how
// many words stand before it; -1 if there is none.
func (p part) find(fits func(word string) bool) (word string, n int) {
	for _, t := range p.values() {
		switch {
		case t.kind != kindWord:
		case fits(t.lower):
			return t.lower, n
		default:
			n++
		}
	}
	return "", -1
}

// received is a Received field taken apart.
type received struct {
	// head is all before the date, in order, and parts the same by clauses. Tokens
	// that are too long to be kept are in neither.
	head  []token
	parts []part
	// date is the date, with words among it that are none; empty if there is none.
	date []token
	// chosen is, for each kind of clause, the index of the part that counts.
	chosen [clauses]int
	// byHost is the host that wrote the field, in lower case; empty if it does not say.
	// hostAt is the number of words before it in the by clause.
	byHost string
	hostAt int
	// cut: there were tokens too long to be kept.
	cut bool
	// loose: the date stood without the semicolon that belongs before it.
	loose bool
	// clean: all parentheses match.
	clean bool
	// tail is room for what follows the last semicolon.
	tail []token
}

// parse takes the value of a Received field apart, in the room of the field before. No
// value is refused. repair: a date without a semicolon is looked for.
func (r *received) parse(value string, repair bool) *received {
	head, date := r.split(value)
	r.loose = false
	if date == nil && repair {
		head, date = looseDate(head)
		r.loose = date != nil
	}
	isLong := func(t token) bool { return len(t.text) > maxToken }
	r.head, r.date = slices.DeleteFunc(head, isLong), slices.DeleteFunc(date, isLong)
	r.cut = len(r.head)+len(r.date) < len(head)+len(date)
	r.parts = partsOf(slices.Grow(r.parts[:0], int(clauses)), r.head)
	r.choose()
	return r
}

// maxDate bounds the text that is taken for a date and its comments.
const maxDate = 1000

// split splits a value at the last semicolon that a date follows. That is looked
// for in the text first, so that nothing that is left open before it, such as a
// comment, hides it. What stands behind the date, such as Courier's id or another
// semicolon, is taken to stand before it.
func (r *received) split(value string) (head, date []token) {
	value, low := oneLine(value)
	if i := strings.LastIndexByte(value, ';'); i >= 0 && len(value)-i <= maxDate {
		if r.tail, r.clean = lex(r.tail, value[i+1:], low[i+1:]); r.clean {
			if n := dateEnd(r.tail); n > 0 {
				head, r.clean = lex(r.head, value[:i], low[:i])
				return append(head, r.tail[n:]...), r.tail[:n]
			}
		}
	}
	head, r.clean = lex(r.head, value, low)
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

// dateEnd returns how many tokens are a date with its comments, 0 if no date
// stands before the first keyword.
func dateEnd(tail []token) int {
	if n := slices.IndexFunc(tail, func(t token) bool { return t.clause != clauseNone }); n >= 0 {
		tail = tail[:n]
	}
	if !isDate(tail) {
		return 0
	}
	return len(tail)
}

// partsOf splits tokens at the keywords and semicolons. The word after from is its
// value, also if it is a keyword, since a client may call itself anything. Only
// "from by HOST" with no other by is a from without a value.
func partsOf(parts []part, head []token) []part {
	lastBy := -1
	for i, t := range head {
		if t.clause == clauseBy {
			lastBy = i
		}
	}
	begin, current := 0, clauseNone
	open := false // the value of from is still to come
	end := func(i int) {
		if i > begin {
			parts = append(parts, part{current, head[begin:i]})
		}
		begin = i
	}
	for i, t := range head {
		switch t.kind {
		case kindComment:
			open = open && t.about == aboutTLS
			continue
		case kindSemicolon:
			if current == clauseFrom {
				continue
			}
		case kindWord:
			named := open && (t.clause != clauseBy || i < lastBy) || current == clauseTLS && t.clause == clauseTLS && i == begin+1
			open = false
			if t.clause == clauseNone || named {
				continue
			}
		}
		end(i)
		current, open = t.clause, t.clause == clauseFrom
	}
	end(len(head))
	return parts
}

// choose decides which of several clauses of a kind counts. Of by that is the last
// one that names a host, since all that a client can make a field say comes before
// what the MTA adds; of with and via the first that is known. Of the others it is
// the last one that has a value.
func (r *received) choose() {
	r.byHost, r.hostAt = "", 0
	for c := range r.chosen {
		r.chosen[c] = -1
	}
	var fits [clauses]bool
	for i, p := range r.parts {
		host, n := p.find(fitting[p.clause])
		fit := n >= 0
		first := !fit || p.clause == clauseWith || p.clause == clauseVia
		if fits[p.clause] && first || !fit && r.chosen[p.clause] >= 0 {
			continue
		}
		fits[p.clause], r.chosen[p.clause] = fit, i
		if p.clause == clauseBy {
			if !fit {
				host, _ = p.find(isAny)
			}
			r.byHost, r.hostAt = strings.TrimSuffix(host, ","), max(n, 0)
		}
	}
}

// fitting says for each kind of clause what a value that is known looks like.
var fitting = [clauses]func(word string) bool{
	clauseNone: isAny, clauseFrom: isAny, clauseBy: namesHost, clauseVia: isLink, clauseWith: isProtocol,
	clauseID: isAny, clauseFor: isAny, clauseTLS: isAny, clauseEnvelope: isAny,
}

func isAny(string) bool { return true }

// namesHost reports whether a word, in lower case, is the name or address of a host,
// rather than a word of English or a label.
func namesHost(word string) bool {
	word = strings.TrimSuffix(word, ",")
	return isHostName(strings.TrimSuffix(word, ".")) || isAddress(word) || word == "localhost"
}
