package status

import (
	"fmt"
	"strings"
)

// markup is HTML as it is put together. html/template would do the same, but it finds
// methods by their names, so that the linker has to keep every method of every type: ten
// megabytes.
type markup struct{ strings.Builder }

// literal is HTML that stands in the source: no value of type string becomes one by
// itself. Values go where it has %s: between tags, or in an attribute with double
// quotes; in a URL, only after its "?".
type literal string

// escape makes a value plain text at both of these places, also for a browser that
// guesses another character set (+) or drops zeros.
var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;", "+", "&#43;", "\x00", "\uFFFD")

// put adds a literal with its values.
func (m *markup) put(text literal, values ...any) {
	for i, v := range values {
		values[i] = escape.Replace(fmt.Sprint(v))
	}
	fmt.Fprintf(m, string(text), values...)
}

// some adds a literal with one value if there is one.
func (m *markup) some(text literal, value string) {
	if value != "" {
		m.put(text, value)
	}
}
