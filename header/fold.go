package header

import "strings"

// foldWidth is the width that lines aim at (RFC 5322 section 2.1.1), without
// their ends. A tab counts as eight.
const foldWidth = 78

// tab is the column behind the tab that a folded line begins with.
const tab = 8

// folder writes the value of a field, folded if a line would grow too long.
type folder struct {
	strings.Builder
	column int
}

func newFolder(name string) *folder {
	f := &folder{column: len(name) + len(":")}
	f.Grow(4 * foldWidth)
	return f
}

// write adds texts, each with a blank before it. Those that fit a line together are
// kept together, and so is one alone.
func (f *folder) write(texts ...string) {
	width := 0
	for _, text := range texts {
		width += 1 + len(text)
	}
	if tab-1+width > foldWidth {
		if len(texts) == 1 {
			texts = strings.Split(texts[0], " ")
		}
		if len(texts) > 1 {
			for _, text := range texts {
				f.write(text)
			}
			return
		}
	}
	for i, text := range texts {
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
		f.WriteString(text)
		f.column += len(text)
	}
}

// semicolon adds one right behind what is there.
func (f *folder) semicolon() {
	f.WriteByte(';')
	f.column++
}

// compose writes the value of a Received field. A keyword is on the line of its
// value, and if it can be, a comment or a date is on one line.
func compose(head, date []token) string {
	f := newFolder("Received")
	for i := 0; i < len(head); i++ {
		switch t := head[i]; {
		case t.kind == kindSemicolon:
			f.semicolon()
		case t.kind == kindWord && keyword(t.text) != clauseNone && i+1 < len(head) && head[i+1].kind == kindWord:
			i++
			f.write(t.text, head[i].text)
		default:
			f.write(t.text)
		}
	}
	if len(date) > 0 {
		f.semicolon()
	}
	words := make([]string, 0, len(date)) // up to the next comment
	for i, t := range date {
		words = append(words, t.text)
		if i+1 == len(date) || date[i+1].kind != kindWord {
			f.write(words...)
			words = words[:0]
		}
	}
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
