package header

import "strings"

// foldWidth is the width that lines aim at (RFC 5322 section 2.1.1), without
// their ends. A tab counts as eight.
const foldWidth = 78

// tab is the column behind the tab that a folded line begins with.
const tab = 8

// folder writes the value of a field, folded where a line would grow too long.
type folder struct {
	strings.Builder
	column int
}

func newFolder(name string) *folder {
	return &folder{column: len(name) + len(":")}
}

// write adds words with a blank before each. Those that fit a line together are
// kept together.
func (f *folder) write(words ...string) {
	width := 0
	for _, word := range words {
		width += 1 + len(word)
	}
	if len(words) > 1 && tab-1+width > foldWidth {
		for _, word := range words {
			f.write(word)
		}
		return
	}
	for i, word := range words {
		switch {
		case f.Len() == 0:
			f.column++
		case i == 0 && f.column+width > foldWidth:
			f.WriteString("\n\t")
			f.column = tab
		default:
			f.WriteByte(' ')
			f.column++
		}
		f.WriteString(word)
		f.column += len(word)
	}
}

// semicolon adds one right behind what is there.
func (f *folder) semicolon() {
	f.WriteByte(';')
	f.column++
}

// compose writes the value of a Received field. A keyword is on the line of its
// value, and where it can be, a comment or a date is on one line.
func compose(head, date []token) string {
	f := newFolder("Received")
	for i := 0; i < len(head); i++ {
		switch t := head[i]; {
		case t.kind == kindSemicolon:
			f.semicolon()
		case t.kind == kindComment:
			f.write(strings.Split(t.text, " ")...)
		case keyword(t.text) != clauseNone && i+1 < len(head) && head[i+1].kind == kindWord:
			f.write(t.text, head[i+1].text)
			i++
		default:
			f.write(t.text)
		}
	}
	if len(date) == 0 {
		return f.String()
	}
	f.semicolon()
	var words []string
	for _, t := range date {
		if t.kind == kindComment && len(words) > 0 {
			f.write(words...)
			words = nil
		}
		words = append(words, strings.Split(t.text, " ")...)
	}
	f.write(words...)
	return f.String()
}

// textValue makes any text the value of a field.
func textValue(name, text string) string {
	f := newFolder(name)
	for word := range strings.FieldsFuncSeq(text, isBlank) {
		if len(word) <= maxToken {
			f.write(word)
		}
	}
	return f.String()
}
