package policy

import "strings"

// operators are the characters that are tokens of their own in sendmail's
// rulesets: OperatorChars of the stock configuration, and the delimiters.
const operators = ".:%@!^/[]+<>,;"

// tokenize splits an address as sendmail's prescan does: operators and delimiters are
// tokens, a quoted string is one, comments and spaces go. So that it can be read in one
// way only, nothing is escaped outside quotes, nothing but an operator or nothing at all
// joins what stands beside it, and an address literal, which is one token, has no quotes
// or operators in it.
func tokenize(s string) ([]string, error) {
	if len(s) > MaxAddress {
		return nil, errAddress
	}
	tokens := make([]string, 0, 8)
	apart := false
	for s != "" {
		kind, n := CutPiece(s, operators)
		if s[0] == '[' || s[0] == ']' {
			if n = literal(s); n < 0 {
				return nil, errAddress
			}
		}
		piece := s[:n]
		s = s[n:]
		switch {
		case kind == PieceBroken, kind == PieceWord && strings.Contains(piece, `\`):
			return nil, errAddress
		case kind == PieceBlank, kind == PieceComment:
			apart = true
			continue
		case len(tokens) > 0 && !joined(tokens[len(tokens)-1], piece, apart):
			return nil, errAddress
		}
		tokens, apart = append(tokens, piece), false
	}
	return tokens, nil
}

// joined reports whether two tokens may stand one behind the other, or apart, with a blank
// or a comment between them.
func joined(before, after string, apart bool) bool {
	if apart {
		return !isRun(before) || !isRun(after)
	}
	return !isText(before) || !isText(after) || !isLiteral(before) && !isLiteral(after)
}

// isRun reports whether a token is one that names and local parts are made of.
func isRun(token string) bool { return isText(token) || strings.Contains(".+/^", token) }

// isText reports whether a token is no operator.
func isText(token string) bool {
	return len(token) > 1 || strings.IndexByte(operators, token[0]) < 0
}

func isLiteral(token string) bool { return token[0] == '[' }

// literal is the length of the address literal that s begins with, or -1 if it is none.
func literal(s string) int {
	end := strings.IndexByte(s, ']')
	if s[0] != '[' || end < 2 {
		return -1
	}
	for _, c := range []byte(s[1:end]) {
		if !isLabelByte(c) && c != '.' && c != ':' {
			return -1
		}
	}
	return end + 1
}

// Piece is a kind of pieces that an address is written in.
type Piece uint8

const (
	// PieceBroken is what no address has: a control character, a parenthesis or
	// quote without the other one, a backslash at the end.
	PieceBroken Piece = iota
	PieceBlank        // one blank or tab
	// PieceComment is a comment with its parentheses. Comments nest; sendmail takes
	// them out wherever they stand.
	PieceComment
	PieceQuoted   // a quoted string with its quotes
	PieceOperator // one of the operators
	PieceWord     // a run of other characters; a backslash takes any next character into it
)

// CutPiece returns the kind and the length of the piece that an address begins with,
// read as sendmail's prescan does; the address must not be empty.
func CutPiece(s, operators string) (kind Piece, length int) {
	switch c := s[0]; {
	case c == ' ' || c == '\t':
		return PieceBlank, 1
	case c < ' ' || c == 0x7f || c == ')' || s == `\`:
		return PieceBroken, 1
	case c == '(' || c == '"':
		end := closing(s)
		switch {
		case end < 0:
			return PieceBroken, 1
		case c == '(':
			return PieceComment, end + 1
		}
		return PieceQuoted, end + 1
	case strings.IndexByte(operators, c) >= 0:
		return PieceOperator, 1
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			if i+1 == len(s) {
				return PieceWord, i
			}
			i++
		case c <= ' ' || c == 0x7f || c == '"' || c == '(' || c == ')' || strings.IndexByte(operators, c) >= 0:
			return PieceWord, i
		}
	}
	return PieceWord, len(s)
}

// closing is the index of the character that ends the quoted string or the comment
// that s begins with, or -1.
func closing(s string) int {
	depth := 0
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '(' && s[0] == '(':
			depth++
		case c == '"' && s[0] == '"', c == ')' && s[0] == '(':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// dequote opens a local part that is one quoted string, so that an operator
// hidden in it shows (sendmail's dequote map). Others stay as they are, and so does one
// with a blank. What is quoted inside, or in brackets or parentheses, sendmail reads in
// more than one way: with an operator beside it nothing is decided on it.
func dequote(local []string) ([]string, error) {
	for _, t := range local {
		if t[0] == '"' && strings.ContainsAny(t, `<>()\`) && strings.ContainsAny(t, "@%!") {
			return nil, errAddress
		}
	}
	if len(local) != 1 || local[0][0] != '"' {
		return local, nil
	}
	inner := local[0][1 : len(local[0])-1]
	if strings.ContainsAny(inner, " \t<>()") {
		return local, nil
	}
	tokens, err := tokenize(inner)
	if err == nil {
		return tokens, nil
	}
	if quotedOperator(local) {
		return nil, err
	}
	return local, nil
}
