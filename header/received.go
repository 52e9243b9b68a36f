package header

import (
	"net/mail"
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

// find returns the first word behind the keyword that fits, in lower case, and its number among the
// words there, -1 if there is none.
func (p part) find(fits func(word string) bool) (word string, n int) {
	for _, t := range p.values() {
		if t.kind != kindWord {
			continue
		}
		if fits(t.lower) {
			return t.lower, n
		}
		n++
	}
	return "", -1
}

// first is the first word behind the keyword, in lower case.
func (p part) first() string {
	word, _ := p.find(isAny)
	return word
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
	// host is the number of that word in the by clause.
	byHost string
	host   int
	// cut: there were tokens too long to be kept.
	cut bool
	// loose: the date stood without the semicolon that belongs before it.
	loose bool
	// clean: all parentheses match.
	clean bool
}

// room is what a field's tokens and parts are kept in until the next field is parsed.
type room struct {
	head, tail []token
	parts      []part
}

// parse takes the value of a Received field apart. No value is refused. repair: a
// date without a semicolon is looked for.
func (m *room) parse(value string, repair bool) received {
	r := received{host: -1}
	head, date, clean := m.split(value)
	r.clean = clean
	if date == nil && repair {
		head, date = trailingDate(head)
		r.loose = date != nil
	}
	isLong := func(t token) bool { return len(t.text) > maxToken }
	r.head, r.date = slices.DeleteFunc(head, isLong), slices.DeleteFunc(date, isLong)
	r.cut = len(r.head)+len(r.date) < len(head)+len(date)
	m.parts = partsOf(m.parts, r.head)
	r.parts = m.parts
	r.choose()
	return r
}

// partsOf splits tokens at the keywords and semicolons. The word after from is its
// value, also if it is a keyword, since a client may call itself anything. Only
// "from by HOST" with no other by is a from without a value.
func partsOf(room []part, head []token) []part {
	lastBy := -1
	for i, t := range head {
		if t.clause == clauseBy {
			lastBy = i
		}
	}
	parts := slices.Grow(room[:0], int(clauses))
	begin, current := 0, clauseNone
	open := false // the value of from is still to come
	end := func(i int) {
		if i > begin {
			parts = append(parts, part{current, head[begin:i]})
		}
		begin = i
	}
	for i, t := range head {
		next := clauseNone
		switch t.kind {
		case kindComment:
			open = open && t.about == aboutTLS
			continue
		case kindSemicolon:
			if current == clauseFrom {
				continue
			}
		case kindWord:
			next = t.clause
			named := open && (next != clauseBy || i < lastBy) || current == clauseTLS && next == clauseTLS && i == begin+1
			open = false
			if next == clauseNone || named {
				continue
			}
		}
		end(i)
		current, open = next, next == clauseFrom
	}
	end(len(head))
	return parts
}

// choose decides which of several clauses of a kind counts. Of by that is the last
// one that names a host, since all that a client can make a field say comes before
// what the MTA adds; of with and via the first that is known. Of the others it is
// the last one that has a value.
func (r *received) choose() {
	for c := range r.chosen {
		r.chosen[c] = -1
	}
	var fits [clauses]bool
	for i, p := range r.parts {
		word, n := p.find(fitting[p.clause])
		fit := n >= 0
		first := !fit || p.clause == clauseWith || p.clause == clauseVia
		if fits[p.clause] && first || !fit && r.chosen[p.clause] >= 0 {
			continue
		}
		fits[p.clause], r.chosen[p.clause] = fit, i
		if p.clause == clauseBy {
			if !fit {
				word = p.first()
			}
			r.byHost, r.host = strings.TrimSuffix(word, ","), max(n, 0)
		}
	}
}

// fitting says for each kind of clause what a value that is known looks like.
var fitting = [clauses]func(word string) bool{
	clauseNone: isAny, clauseFrom: isAny, clauseBy: namesHost, clauseVia: isLink, clauseWith: isProtocol,
	clauseID: isAny, clauseFor: isAny, clauseTLS: isAny, clauseEnvelope: isAny,
}

func isAny(string) bool { return true }

// namesHost reports whether a word, in lower case, is the name or address of a host, rather than a
// word of English or a label.
func namesHost(word string) bool {
	word = strings.TrimSuffix(word, ",")
	return isHostName(strings.TrimSuffix(word, ".")) || isAddress(word) || word == "localhost"
}

// maxDate bounds the text that is taken for a date and its comments.
const maxDate = 1000

// split splits a value at the last semicolon that a date follows. That is looked
// for in the text first, so that nothing that is left open before it, such as a
// comment, hides it. What stands behind the date, such as Courier's id or another
// semicolon, is taken to stand before it. clean is false if parentheses do not match.
func (m *room) split(value string) (head, date []token, clean bool) {
	low := lower(value)
	i := strings.LastIndexByte(value, ';')
	if i >= 0 && len(value)-i <= maxDate {
		if m.tail, clean = lex(m.tail, value[i+1:], low[i+1:]); clean {
			if n := dateEnd(m.tail); n > 0 {
				m.head, clean = lex(m.head, value[:i], low[:i])
				return append(m.head, m.tail[n:]...), m.tail[:n], clean
			}
		}
	}
	m.head, clean = lex(m.head, value, low)
	head = m.head
	end := len(head)
	for i := len(head) - 1; i >= 0; i-- {
		if head[i].kind != kindSemicolon {
			continue
		}
		if n := dateEnd(head[i+1 : end]); n > 0 {
			date = slices.Clone(head[i+1 : i+1+n])
			return slices.Delete(head, i, i+1+n), date, clean
		}
		end = i
	}
	return head, nil, clean
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

// maxLooseDate is the most tokens that a date without a semicolon has: those of
// "Mon, 5 Feb 2024 10:00:00 +0100" and comments.
const maxLooseDate = 9

// trailingDate splits tokens before a date at their end that no semicolon stands
// before. It has to be one in the form of RFC 5322.
func trailingDate(tokens []token) (head, date []token) {
	for i := max(0, len(tokens)-maxLooseDate); i < len(tokens); i++ {
		if parsesAsDate(tokens[i:]) {
			return tokens[:i:i], tokens[i:]
		}
	}
	return tokens, nil
}

// parsesAsDate reports whether tokens are a date in the form of RFC 5322, with
// comments behind it. net/mail is slow, and does not look at what follows a date, so
// that what the words are is looked at first.
func parsesAsDate(tokens []token) bool {
	var words []string
	var kinds [maxLooseDate]dateWord
	for i, t := range tokens {
		switch {
		case t.kind == kindWord && i == len(words):
			if kinds[i] = dateWordOf(t.text); kinds[i]&dateOdd != 0 {
				return false
			}
			words = append(words, t.text)
		case t.kind != kindComment:
			return false
		}
	}
	form := kinds[:]
	if form[0]&dateName != 0 {
		form = form[1:]
	}
	for i, kind := range []dateWord{dateNumber, dateName, dateNumber, dateTime, dateZone} {
		if form[i]&kind == 0 {
			return false
		}
	}
	_, err := mail.ParseDate(strings.Join(words, " "))
	return err == nil
}
