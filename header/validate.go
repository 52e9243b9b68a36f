package header

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"milterd/policy/printable"
)

// The longest texts that rules take, in octets.
const (
	maxText  = 100
	maxValue = 500
	maxName  = 76
)

// CheckName checks the name of a header field (RFC 5322 section 3.6.8).
func CheckName(name string) error {
	if name == "" || len(name) > maxName || !printable.IsASCII(name) || strings.ContainsAny(name, " :") {
		return refused(name, ", expected the name of a header field, such as X-Mailer")
	}
	return nil
}

// CheckValue checks the new value of a field.
func CheckValue(text string) error {
	switch {
	case text == "":
		return errors.New("an empty text; remove takes the field away")
	case !printable.IsASCII(text) || strings.TrimSpace(text) != text:
		return refused(text, ", expected printable ASCII on one line, without blanks around it")
	case len(text) > maxValue:
		return refused(text, fmt.Sprintf(": %d octets, expected %d at most", len(text), maxValue))
	}
	return nil
}

// CheckFrom checks the text in place of a client: a from clause
// (RFC 5321 section 4.4) of one name, with comments behind it. Anything more would
// begin another clause of the field.
func CheckFrom(text string) error {
	name, isFrom := strings.CutPrefix(text, "from ")
	end := strings.IndexAny(name+" ", ` ()<>;@\,"`)
	name, rest := name[:end], name[end:]
	switch {
	case !printable.IsASCII(text):
		return refused(text, ", expected printable ASCII on one line")
	case !isFrom || name == "":
		return refused(text, `, expected "from " and a name, such as `+strconv.Quote(DefaultFrom))
	}
	for rest != "" {
		comment, spaced := strings.CutPrefix(rest, " ")
		if !spaced || !strings.HasPrefix(comment, "(") {
			return refused(text, ": expected nothing but comments in parentheses behind the name, each after a blank")
		}
		if rest = behindComment(comment); rest == comment {
			return refused(text, ": a parenthesis is not closed")
		}
	}
	if keyword(lower(name)) != clauseNone {
		return refused(text, ": expected a from clause such as "+DefaultFrom)
	}
	return checkReplacement(text)
}

// CheckBy checks the text in place of mail software: one comment, or nothing.
func CheckBy(text string) error {
	switch {
	case text == "":
		return nil
	case !printable.IsASCII(text):
		return refused(text, ", expected printable ASCII on one line")
	case text[0] != '(':
		return refused(text, `, expected a comment in parentheses, such as `+strconv.Quote(DefaultBy)+`, or ""`)
	}
	switch behindComment(text) {
	case "":
		return checkReplacement(text)
	case text:
		return refused(text, ": a parenthesis is not closed")
	}
	return refused(text, ": expected nothing behind the comment")
}

// behindComment is what follows the comment that a text begins with, or the whole
// text if the comment does not end.
func behindComment(text string) string {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			return text[i+1:]
		}
	}
	return text
}

// checkReplacement checks the length and the characters of a text in place of
// another.
func checkReplacement(text string) error {
	if len(text) > maxText {
		return refused(text, fmt.Sprintf(": %d octets, expected %d at most", len(text), maxText))
	}
	if i := strings.IndexAny(text, `"\<>`); i >= 0 {
		return refused(text, fmt.Sprintf(": character %q, expected printable ASCII without quotes, backslashes and angle brackets", text[i]))
	}
	return nil
}

// refused is the error about a text, with what is wrong with it.
func refused(text, problem string) error { return errors.New(printable.Quote(text) + problem) }
