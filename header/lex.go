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
	// about is what a comment is about.
	about topic
	text  string
	// inner is a comment in lower case without its parentheses.
	inner string
}

// maxToken is the longest word or comment that is kept, in octets. A line of a
// header holds 998 (RFC 5322 section 2.1.1), and a word cannot be folded.
const maxToken = 900

// isSpace reports whether a character separates words. Control characters do:
// they have no place in a header.
func isSpace(c byte) bool { return c <= ' ' || c == 0x7f }

// lex splits a value into tokens. clean is false if parentheses do not match.
func lex(s string) (tokens []token, clean bool) { return lexInto(nil, s) }

// lexInto is lex with room for the tokens.
func lexInto(room []token, s string) (tokens []token, clean bool) {
	const tokenSize = 14 // in octets, more or less
	tokens = slices.Grow(room[:0], 8+len(s)/tokenSize)
	clean = true
	flat := false // parentheses are only white space
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ')' || c == '(' && flat:
			clean = false
			i++
		case isSpace(c):
			i++
		case c == ';':
			tokens = append(tokens, token{kind: kindSemicolon, text: ";"})
			i++
		case c == '(':
			end, depth := commentEnd(s, i)
			clean = clean && depth == 0
			if flat = depth > 0 && holdsBy(s[i:]); !flat {
				tokens = append(tokens, commentOf(commentText(s[i:end], depth)))
				i = end
			}
		default:
			end := wordEnd(s, i)
			tokens = append(tokens, token{kind: kindWord, text: oneLine(s[i:end])})
			i = end
		}
	}
	return tokens, clean
}

// holdsBy reports whether the word by stands in a text: then a comment that is not
// closed would hide the host that wrote the field.
func holdsBy(text string) bool {
	for word := range strings.FieldsFuncSeq(text, isBlank) {
		if keyword(word) == clauseBy {
			return true
		}
	}
	return false
}

// commentOf is the comment with that text, which has its parentheses. One that is
// too long to be kept is not looked into.
func commentOf(text string) token {
	t := token{kind: kindComment, text: text}
	if len(text) <= maxToken {
		t.inner = lower(inside(text))
		t.about = topicOf(t.inner)
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

// commentText is a comment in one line with its open parentheses closed.
func commentText(s string, open int) string {
	if open > 0 {
		s = strings.TrimRight(s, `\`) + strings.Repeat(")", open)
	}
	text := strings.Trim(oneLine(inside(s)), " ")
	if text == inside(s) {
		return s
	}
	return "(" + text + ")"
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
		case isSpace(c) || c == '(' || c == ')' || c == ';':
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
			if i+1 == len(s) || isSpace(s[i+1]) || strings.IndexByte("@;:,.()<>", s[i+1]) >= 0 {
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
	case strings.IndexFunc(text, isBlank) >= 0 && !strings.EqualFold(oneLine(text), multiple):
		return 0
	}
	return i + end
}

// multiple stands in place of recipients in the for clause of Google.
const multiple = "<multiple recipients>"

// balanced is a word whose brackets and quotation marks do not match without those
// at its ends, or nothing.
func balanced(word string) string {
	if word = strings.Trim(word, `<>[]"`); !matches(word) || keyword(word) != clauseNone {
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
		if isAlnum(text[i]) {
			continue
		}
		switch kind := strings.IndexByte(`(<[)>]`, text[i]); {
		case text[i] == '"':
			quoted = !quoted
		case quoted || kind < 0:
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

// oneLine makes each run of white space one blank. A backslash before white space
// goes, since a line may be folded there.
func oneLine(s string) string {
	blank := false
	for i := 0; i < len(s); i++ {
		before := blank
		if blank = isSpace(s[i]); blank && (before || s[i] != ' ' || i > 0 && s[i-1] == '\\') {
			return joinWords(s)
		}
	}
	return s
}

func joinWords(s string) string {
	words := strings.FieldsFunc(s, isBlank)
	for i := 0; i < len(words)-1; i++ {
		words[i] = strings.TrimRight(words[i], `\`)
	}
	return strings.Join(slices.DeleteFunc(words, func(word string) bool { return word == "" }), " ")
}

// lower folds A to Z and leaves all other octets as they are.
func lower(s string) string {
	i := 0
	for i < len(s) && (s[i] < 'A' || s[i] > 'Z') {
		i++
	}
	if i == len(s) {
		return s
	}
	b := []byte(s)
	for ; i < len(b); i++ {
		if b[i] >= 'A' && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
