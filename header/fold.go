package header

import (
	"iter"
	"strings"
)

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

// write adds tokens, each with a blank before it. Those that fit a line together are
// kept together, and so is one alone.
func (f *folder) write(tokens ...token) {
	width := 0
	for _, t := range tokens {
		width += 1 + len(t.text)
	}
	if tab-1+width > foldWidth {
		switch {
		case len(tokens) > 1:
			for _, t := range tokens {
				f.write(t)
			}
			return
		case strings.IndexByte(tokens[0].text, ' ') >= 0:
			for word := range strings.SplitSeq(tokens[0].text, " ") {
				f.write(token{text: word})
			}
			return
		}
	}
	for i, t := range tokens {
		switch {
		case t.kind == kindSemicolon: // right behind what is there
		case f.Len() == 0:
			f.column++
		case i == 0 && f.column+width > foldWidth:
			f.WriteString("\n\t")
			f.column = tab
		default:
			f.WriteByte(' ')
			f.column++
		}
		f.WriteString(t.text)
		f.column += len(t.text)
	}
}

// compose writes the value of a Received field. A keyword is on the line of its
// value, and if it can be, a comment or a date is on one line.
func compose(head, date []token) string {
	f := newFolder("Received")
	for len(head) > 0 {
		n := 1
		if head[0].clause != clauseNone && len(head) > 1 && head[1].kind == kindWord {
			n = 2
		}
		f.write(head[:n]...)
		head = head[n:]
	}
	if len(date) > 0 {
		f.write(token{kind: kindSemicolon, text: ";"})
	}
	begin := 0
	for i := range date {
		if i+1 == len(date) || date[i+1].kind != kindWord {
			f.write(date[begin : i+1]...) // up to the next comment
			begin = i + 1
		}
	}
	return f.String()
}

// textValue makes any words the value of a field.
func textValue(name string, words iter.Seq[string]) string {
	f := newFolder(name)
	for word := range words {
		if len(word) <= maxToken {
			f.write(token{text: word})
		}
	}
	return f.String()
}
