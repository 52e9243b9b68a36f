package header

import (
	"iter"
	"slices"
	"strings"
)

// maxTraces bounds the words of a client that other parts of the field are
// compared with.
const maxTraces = 64

// traces are the words, in lower case, by which a Received field names its client.
type traces struct {
	words []string
	// overflow: there are more. Then anything optional may hold one.
	overflow bool
}

// hostWords yields the words of text that host names, addresses and mailboxes may be,
// without punctuation around them, and whether a slash stands before or behind.
func hostWords(text string) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		for begin, end := 0, 0; begin < len(text); begin = end + 1 {
			for end = begin; end < len(text) && is(text[end], inHost); {
				end++
			}
			word := trim(text[begin:end], edge)
			if !strings.HasSuffix(word, "::") {
				word = strings.TrimSuffix(word, ":")
			}
			slash := begin > 0 && text[begin-1] == '/' || end < len(text) && text[end] == '/'
			if word != "" && !yield(word, slash) {
				return
			}
		}
	}
}

// add takes a word as one of the client's, unless it is one that says nothing.
func (t *traces) add(word string) {
	if t.overflow || isA(word, tlsWord|plainWord|formWord) || allDigits(word) || slices.Contains(t.words, word) {
		return
	}
	if len(t.words) == maxTraces {
		t.overflow = true
		return
	}
	t.words = append(t.words, word)
}

// addText takes a text, and the host names, addresses and mailboxes in it.
func (t *traces) addText(text string) {
	t.add(text)
	for word := range hostWords(text) {
		t.addHost(word)
	}
}

// addHost takes a host name, address or mailbox and the parts that may stand
// alone elsewhere.
func (t *traces) addHost(word string) {
	t.add(word)
	if addr, ok := parseAddress(word); ok {
		var room [64]byte
		if text := addr.AppendTo(room[:0]); string(text) != word {
			t.add(string(text))
		}
		return
	}
	if index(word, atSign) >= 0 {
		for part := range split(word, atSign) {
			t.add(part)
		}
	}
}

// isHostName reports whether a word is a domain name: dots, and letters only at
// its end. 8.17.1 and Debian-2+deb12u1 are none.
func isHostName(word string) bool {
	_, top, ok := cutLast(word, ".")
	return ok && len(top) >= 2 && isOf(top, 1, len(top), isLetter) && index(word, atSign) < 0
}

// named reports whether text, in lower case, names the client.
func (t *traces) named(text string) bool {
	return t.overflow || slices.ContainsFunc(t.words, func(known string) bool {
		return strings.Contains(text, known) && (len(known) >= 4 || holdsWord(text, known))
	})
}

// holdsWord reports whether a word stands in text with no letter or digit beside
// it. A short name may well be a part of words that have nothing to do with it.
func holdsWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		begin, end := from+i, from+i+len(word)
		if (begin == 0 || !is(text[begin-1], alnum)) && (end == len(text) || !is(text[end], alnum)) {
			return true
		}
		from = begin + 1
	}
}

// leak reports whether text, in lower case, may tell of a client: it names this
// one, speaks of a client or host, or holds any address, host name or mailbox.
func (t *traces) leak(text string) bool {
	if t.named(text) {
		return true
	}
	for word, slash := range hostWords(text) {
		if _, ok := parseAddress(word); ok && !slash || isHostName(word) || strings.Contains(word, "@") || word == "client" || word == "host" {
			return true
		}
	}
	return false
}
