package traffic

import "strings"

// maxHeader is how much of a message's header is kept. sendmail takes 32 KiB unless
// told otherwise (MaxHeadersLength).
const maxHeader = 64 << 10

type header struct {
	fields [][]string
	size   int
	// ended: the body has begun.
	ended bool
	// cut: there was more than is kept.
	cut bool
}

// add takes the next line of the message. It gives how many more octets are kept.
func (h *header) add(line []byte, cut bool) int {
	if h.ended {
		return 0
	}
	if cut || h.size+len(line) > maxHeader {
		h.ended, h.cut = true, true
		return 0
	}
	// A dot at the beginning of a line is doubled (RFC 5321 section 4.5.2).
	text := strings.TrimPrefix(string(line), ".")
	n := len(text) + 60
	switch name, value, colon := strings.Cut(text, ":"); {
	case text != "" && (text[0] == ' ' || text[0] == '\t') && len(h.fields) > 0:
		last := h.fields[len(h.fields)-1]
		last[1] += "\n" + text
	case colon && isFieldName(strings.TrimRight(name, " \t")):
		h.fields = append(h.fields, []string{strings.TrimRight(name, " \t"), strings.TrimLeft(value, " \t")})
	default:
		h.ended = true
		return 0
	}
	h.size += n
	return n
}

// isFieldName reports whether a name is one that RFC 5322 section 3.6.8 allows.
func isFieldName(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return name != ""
}
