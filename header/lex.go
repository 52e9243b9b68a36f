package header

import (
	"slices"
	"strings"
)

// kind is the kind of a token of a structured field.
type kind uint8

const (
	kindWord kind = iota
	kindComment
	kindSemicolon
)

// token is a word, a comment or a semicolon. In text, each run of white space is
// one blank and a comment has its parentheses, closed ones: tokens joined by
// blanks are a valid value that reads as the same tokens.
type token struct {
	kind kind
	// clause is what a word begins if it is a keyword.
	clause clause
	// about is what a comment is about.
	about topic
	text  string
	// lower is text in lower case, of a comment without its parentheses.
	lower string
}

// maxToken is the longest word or comment that is kept, in octets. A line of a
// header holds 998 (RFC 5322 section 2.1.1), and a word cannot be folded.
const maxToken = 900

// lex splits a value, that is given in lower case too, into tokens, and puts them in
// room. clean is false if parentheses do not match.
func lex(room []token, s, low string) (tokens []token, clean bool) {
	const tokenSize = 14 // in octets, more or less
	tokens = slices.Grow(room[:0], 8+len(s)/tokenSize)
	clean = true
	flat := false // parentheses are only white space
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ')' || c == '(' && flat:
			clean = false
			i++
		case is(c, blank):
			i++
		case c == ';':
			tokens = append(tokens, token{kind: kindSemicolon, text: ";", lower: ";"})
			i++
		case c == '(':
			end, depth := commentEnd(s, i)
			comment, lowComment := s[i:end], low[i:end]
			if depth > 0 {
				clean = false
				if flat = holdsBy(low[i:]); flat {
					continue
				}
				comment = strings.TrimRight(comment, `\`) + strings.Repeat(")", depth)
				lowComment = lower(comment)
			}
			tokens = append(tokens, commentOf(comment, lowComment))
			i = end
		default:
			end := wordEnd(s, i)
			tokens = append(tokens, wordOf(s[i:end], low[i:end]))
			i = end
		}
	}
	return tokens, clean
}

// tokensOf is lex for a text that is read once.
func tokensOf(text string) (tokens []token, clean bool) { return lex(nil, text, lower(text)) }

// holdsBy reports whether the word by stands in a text: then a comment that is not
// closed would hide the host that wrote the field.
func holdsBy(low string) bool {
	for word := range split(low, blank) {
		if word == "by" {
			return true
		}
	}
	return false
}

// wordOf is a word, given in lower case too.
func wordOf(text, low string) token {
	text, low = oneLine(text, low)
	return token{kind: kindWord, clause: keyword(low), text: text, lower: low}
}

// commentOf is a comment with its parentheses, given in lower case too. One that is
// too long to be kept is not looked into.
func commentOf(text, low string) token {
	inner, lowInner := oneLine(inside(text), inside(low))
	if trimmed := strings.Trim(inner, " "); trimmed != inside(text) {
		text, lowInner = "("+trimmed+")", strings.Trim(lowInner, " ")
	}
	t := token{kind: kindComment, text: text, lower: lowInner}
	if len(text) <= maxToken {
		t.about = topicOf(lowInner)
	}
	return t
}

// inside is a comment without its parentheses.
func inside(comment string) string { return comment[1 : len(comment)-1] }

// commentEnd returns the end of the comment that begins at i and how many
// parentheses are open there.
func commentEnd(s string, i int) (end, depth int) {
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
			if depth == 0 {
				return i + 1, 0
			}
		}
	}
	return len(s), depth
}

// wordEnd returns the end of the word that begins at i. White space, parentheses
// and semicolons are part of it in a quoted string and in angle brackets.
func wordEnd(s string, i int) int {
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			i = max(i, quoteEnd(s, i)-1)
		case c == '<':
			i = max(i, angleEnd(s, i)-1)
		case is(c, blank) || c == '(' || c == ')' || c == ';':
			return i
		}
	}
	return len(s)
}

// maxQuoted is the longest text in quotation marks or angle brackets that is read
// as one word, so that a value of quotation marks is read in proportional time.
const maxQuoted = 320

// quoteEnd returns the end of the quoted string that begins at i, 0 if there is
// none. A letter right behind the second quotation mark means that this one begins
// a string itself.
func quoteEnd(s string, i int) int {
	s = s[:min(len(s), i+maxQuoted)]
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if i+1 == len(s) || is(s[i+1], blank) || strings.IndexByte("@;:,.()<>", s[i+1]) >= 0 {
				return i + 1
			}
			return 0
		}
	}
	return 0
}

// angleEnd returns the end of the text in angle brackets that begins at i, 0 if
// there is none. White space stands in "<multiple recipients>" alone.
func angleEnd(s string, i int) int {
	end := strings.IndexByte(s[i:min(len(s), i+maxQuoted)], '>') + 1
	text := s[i : i+end]
	switch {
	case end == 0 || strings.LastIndexByte(text, '<') > 0:
		return 0
	case strings.IndexFunc(text, isBlank) >= 0 && !strings.EqualFold(joinWords(text), multiple):
		return 0
	}
	return i + end
}

// multiple stands in place of recipients in the for clause of Google.
const multiple = "<multiple recipients>"

// balanced is a word whose brackets and quotation marks do not match without those
// at its ends, or nothing.
func balanced(word string) string {
	if word = strings.Trim(word, `<>[]"`); !matches(word) || keyword(lower(word)) != clauseNone {
		return ""
	}
	return word
}

// matches reports whether parentheses, angle brackets, square brackets and quotation
// marks match, each kind by itself. What stands in quotation marks does not count.
func matches(text string) bool {
	var open [3]int
	quoted := false
	for i := range len(text) {
		if !is(text[i], bracket) {
			continue
		}
		switch kind := strings.IndexByte(`(<[)>]`, text[i]); {
		case text[i] == '"':
			quoted = !quoted
		case quoted:
		case kind < len(open):
			open[kind]++
		case open[kind-len(open)] == 0:
			return false
		default:
			open[kind-len(open)]--
		}
	}
	return open == [3]int{} && !quoted
}

// oneLine makes each run of white space one blank, in a text and in the same text in
// lower case. A backslash before white space goes, since a line may be folded there.
func oneLine(text, low string) (string, string) {
	space := false
	for i := range len(text) {
		before := space
		if space = is(text[i], blank); space && (before || text[i] != ' ' || i > 0 && text[i-1] == '\\') {
			return joinWords(text), joinWords(low)
		}
	}
	return text, low
}

func joinWords(s string) string {
	words := slices.Collect(split(s, blank))
	for i := 0; i < len(words)-1; i++ {
		words[i] = strings.TrimRight(words[i], `\`)
	}
	return strings.Join(slices.DeleteFunc(words, func(word string) bool { return word == "" }), " ")
}
