package policy

import "strings"

// operators are the characters that are tokens of their own in sendmail's
// rulesets (OperatorChars of the stock configuration).
const operators = ".:%@!^/[]+"

// tokenize splits an address as sendmail's prescan does: operators and
// delimiters are tokens, a quoted string is one, comments and spaces go.
func tokenize(s string) ([]string, error) {
	if len(s) > maxAddress {
		return nil, errAddress
	}
	if simpleToken(s) {
		return []string{s}, nil
	}
	tokens := make([]string, 0, 8)
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\t':
			i++
		case c < ' ' || c == 0x7f:
			return nil, errAddress
		case c == '(':
			end := closingComment(s, i)
			if end < 0 {
				return nil, errAddress
			}
			i = end + 1
		case c == ')':
			return nil, errAddress
		case c == '"':
			end := closingQuote(s, i)
			if end < 0 {
				return nil, errAddress
			}
			tokens = append(tokens, s[i:end+1])
			i = end + 1
		case isDelimiter(c):
			tokens = append(tokens, s[i:i+1])
			i++
		default:
			end := atomEnd(s, i)
			if end < 0 {
				return nil, errAddress
			}
			tokens = append(tokens, s[i:end])
			i = end
		}
	}
	return tokens, nil
}

func simpleToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '(' || c == ')' || isDelimiter(c) {
			return false
		}
	}
	return s != ""
}

func isDelimiter(c byte) bool {
	return strings.IndexByte(operators, c) >= 0 || c == '<' || c == '>' || c == ',' || c == ';'
}

// closingComment is the index of the parenthesis that ends the comment begun at
// i, or -1. Comments nest; sendmail takes them out wherever they stand.
func closingComment(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// closingQuote is the index of the quote that ends the string begun at i, or -1.
func closingQuote(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// atomEnd is the index behind the atom that begins at i; a backslash takes the
// next character into the atom, whatever it is. It is -1 for a lone backslash.
func atomEnd(s string, i int) int {
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
			if i == len(s) {
				return -1
			}
		case c <= ' ' || c == 0x7f || c == '"' || c == '(' || c == ')' || isDelimiter(c):
			return i
		}
	}
	return i
}

// joinTokens puts tokens together again, with a space between two atoms.
func joinTokens(tokens []string) string {
	if len(tokens) == 1 {
		return tokens[0]
	}
	var b strings.Builder
	atomBefore := false
	for _, t := range tokens {
		atom := !isDelimiter(t[0]) && t[0] != '"'
		if atom && atomBefore {
			b.WriteByte(' ')
		}
		b.WriteString(t)
		atomBefore = atom
	}
	return b.String()
}

// dequote opens a local part that is one quoted string, so that an operator
// hidden in it shows (sendmail's dequote map). Others stay as they are.
func dequote(local []string) []string {
	if len(local) != 1 || len(local[0]) < 2 || local[0][0] != '"' {
		return local
	}
	inner := local[0][1 : len(local[0])-1]
	if strings.ContainsAny(inner, " \t<>()") {
		return local
	}
	tokens, err := tokenize(inner)
	if err != nil {
		return local
	}
	return tokens
}
