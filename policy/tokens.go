package policy

import "strings"

// operators are the characters that are tokens of their own in sendmail's
// rulesets: OperatorChars of the stock configuration, and the delimiters.
const operators = ".:%@!^/[]+<>,;"

// tokenize splits an address as sendmail's prescan does: operators and
// delimiters are tokens, a quoted string is one, comments and spaces go.
func tokenize(s string) ([]string, error) {
	if len(s) > MaxAddress {
		return nil, errAddress
	}
	if s == "" {
		return nil, nil
	}
	if piece, n := CutPiece(s, operators); piece == PieceWord && n == len(s) {
		return []string{s}, nil
	}
	tokens := make([]string, 0, 8)
	for s != "" {
		piece, n := CutPiece(s, operators)
		switch piece {
		case PieceBroken:
			return nil, errAddress
		case PieceOperator, PieceQuoted, PieceWord:
			tokens = append(tokens, s[:n])
		}
		s = s[n:]
	}
	return tokens, nil
}

// Piece is a kind of pieces that an address is written in.
type Piece uint8

const (
	// PieceBroken is what no address has: a control character, a parenthesis or
	// quote without the other one, a backslash at the end.
	PieceBroken Piece = iota
	// PieceBlank is one blank or tab.
	PieceBlank
	// PieceComment is a comment with its parentheses. Comments nest; sendmail takes
	// them out wherever they stand.
	PieceComment
	// PieceQuoted is a quoted string with its quotes.
	PieceQuoted
	// PieceOperator is one of the operators.
	PieceOperator
	// PieceWord is a run of other characters; a backslash takes any next
	// character into it.
	PieceWord
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

// joinTokens puts tokens together again, with a space between two atoms.
func joinTokens(tokens []string) string {
	if len(tokens) == 1 {
		return tokens[0]
	}
	var b strings.Builder
	atomBefore := false
	for _, t := range tokens {
		atom := strings.IndexByte(operators, t[0]) < 0 && t[0] != '"'
		if atom && atomBefore {
			b.WriteByte(' ')
		}
		b.WriteString(t)
		atomBefore = atom
	}
	return b.String()
}

// dequote opens a local part that is one quoted string, so that an operator
// hidden in it shows (sendmail's dequote map). Others stay as they are, and so does one
// with a blank. What is quoted inside, or in brackets or parentheses, sendmail reads in
// more than one way: with an operator beside it nothing is decided on it.
func dequote(local []string) ([]string, error) {
	if len(local) != 1 || len(local[0]) < 2 || local[0][0] != '"' {
		return local, nil
	}
	inner := local[0][1 : len(local[0])-1]
	if strings.ContainsAny(inner, `<>()\`) && quotedOperator(local) {
		return nil, errAddress
	}
	if strings.ContainsAny(inner, " \t<>()") {
		return local, nil
	}
	tokens, err := tokenize(inner)
	if err != nil {
		return local, nil
	}
	return tokens, nil
}
