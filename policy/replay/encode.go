package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// newEncoder writes JSON objects, one a line, that may be looked at on a terminal.
func newEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(escaper{w})
	e.SetEscapeHTML(false)
	return e
}

// escaper escapes control and format characters beyond ASCII, as \u009b, in the JSON
// that is written through it, whole values at a time: some act on a terminal, others
// make text read in another order. Outside of strings JSON has nothing but ASCII.
type escaper struct{ w io.Writer }

func (e escaper) Write(p []byte) (int, error) {
	out, kept := p, 0
	for i := 0; i < len(p); {
		if p[i] < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRune(p[i:])
		if unicode.In(r, unicode.Cc, unicode.Cf) {
			if kept == 0 {
				out = nil
			}
			out = append(out, p[kept:i]...)
			for _, unit := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
			kept = i + size
		}
		i += size
	}
	if kept > 0 {
		out = append(out, p[kept:]...)
	}
	if _, err := e.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
