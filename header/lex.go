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
	kind   kind
	clause clause // that a word begins if it is a keyword
	about  topic  // of a comment
	text   string
	lower  string // text in lower case, of a comment without its parentheses
}

// maxToken is the longest word or comment that is kept, in octets. A line of a
// header holds 998 (RFC 5322 section 2.1.1), and a word cannot be folded.
const maxToken = 900

// tokensOf splits a value into tokens. clean is false if parentheses do not match.
func tokensOf(value string) (tokens []token, clean bool) {
	text, low := oneLine(value)
	return lex(nil, text, low)
}

// lex splits a value of one line, that is given in lower case too, into tokens, and
// puts them in room.
func lex(room []token, s, low string) (tokens []token, clean bool) {
	const tokenSize = 10 // in octets, more or less
	tokens = slices.Grow(room[:0], 2+len(s)/tokenSize)
	clean = true
	flat := false // parentheses are only white space
	for i := 0; i < len(s); {
		end := i + 1
		switch c := s[i]; {
		case c == ')' || c == '(' && flat:
			clean = false
		case c == ' ':
		case c == ';':
			tokens = append(tokens, token{kind: kindSemicolon, text: ";"})
		case c == '(':
			var open int
			end, open = commentEnd(s, i)
			if open == 0 {
				tokens = append(tokens, commentOf(s[i:end], low[i:end]))
				break
			}
			// It would hide the host that wrote the field if a by clause follows.
			if flat = slices.Contains(strings.Split(low[i:], " "), "by"); flat {
				continue
			}
			comment := strings.TrimRight(s[i:], `\`) + strings.Repeat(")", open)
			tokens = append(tokens, commentOf(comment, lower(comment)))
			clean = false
		default:
			end = wordEnd(s, i)
			if word := strings.TrimRight(s[i:end], `\`); word != "" {
				tokens = append(tokens, wordOf(word, low[i:i+len(word)]))
			}
		}
		i = end
	}
	return tokens, clean
}

// wordOf is a word, given in lower case too.
func wordOf(text, low string) token {
	return token{kind: kindWord, clause: keyword(low), text: text, lower: low}
}

// commentOf is a comment with its parentheses, given in lower case too. One that is
// too long to be kept is not looked into.
func commentOf(text, low string) token {
	t := token{kind: kindComment, text: text, lower: strings.Trim(inside(low), " ")}
	if len(t.lower) < len(inside(low)) {
		t.text = "(" + strings.Trim(inside(text), " ") + ")"
	}
	if len(t.text) <= maxToken {
		t.about = topicOf(t.lower)
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
		case c == ' ' || c == '(' || c == ')' || c == ';':
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
			if i+1 == len(s) || strings.IndexByte(" @;:,.()<>", s[i+1]) >= 0 {
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
	case strings.IndexByte(text, ' ') >= 0 && !strings.EqualFold(text, multiple):
		return 0
	}
	return i + end
}

// multiple stands in place of recipients in the for clause of Google.
const multiple = "<multiple recipients>"

// balanced is a word whose brackets and quotation marks do not match without those
// at its ends, or nothing.
func balanced(word string) string {
	if word = strings.Trim(word, `<>[]"\`); !matches(word) || keyword(lower(word)) != clauseNone {
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

// oneLine makes each run of white space of a value one blank, and returns it in lower
// case too. A backslash before white space goes, since a line may be folded there; so
// does one at the end of a word.
func oneLine(value string) (text, low string) {
	var room [1536]byte
	line := append(room[:0], value...)
	n := 0 // octets that stay
	for _, c := range line {
		if !is(c, blank) {
			line[n] = c
			n++
			continue
		}
		for n > 0 && line[n-1] == '\\' {
			n--
		}
		if n > 0 && line[n-1] != ' ' {
			line[n] = ' '
			n++
		}
	}
	if n > 0 && line[n-1] == ' ' {
		n--
	}
	line = append(line[:n], line[:n]...)
	fold(line[n:])
	both := string(line)
	return both[:n], both[n:]
}
