package header

import (
	"iter"
	"slices"
	"strings"
)

// maxTraces bounds the words of a client that other parts of the field are
// compared with.
const maxTraces = 64

// traces are the words by which a Received field names its client.
type traces struct {
	words []string
	// overflow: there are more. Then anything optional may hold one.
	overflow bool
}

// hostWord is a run of the characters that host names, addresses and mailboxes
// are made of.
type hostWord struct {
	text string
	// slash: one stands before or behind it.
	slash bool
}

func isHostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 ||
		c == '.' || c == '-' || c == '_' || c == ':' || c == '@' || c == '%' || c == '+'
}

// hostWords yields the words of text, without punctuation around them.
func hostWords(text string) iter.Seq[hostWord] {
	return func(yield func(hostWord) bool) {
		for run := range strings.FieldsFuncSeq(text, isOutsideHost) {
			slash := strings.Contains(run, "/")
			for word, rest := "", run; rest != ""; {
				word, rest, _ = strings.Cut(rest, "/")
				word = strings.Trim(word, ".-+@%")
				if !strings.HasSuffix(word, "::") {
					word = strings.TrimSuffix(word, ":")
				}
				if word != "" && !yield(hostWord{word, slash}) {
					return
				}
			}
		}
	}
}

func isOutsideHost(r rune) bool { return r < 0x80 && r != '/' && !isHostByte(byte(r)) }

// add takes a word as one of the client's, unless it is one that says nothing.
func (t *traces) add(word string) {
	if t.overflow {
		return
	}
	word = lower(word)
	if slices.Contains(t.words, word) || allDigits(word) || saysNothing[word] {
		return
	}
	if len(t.words) == maxTraces {
		t.overflow = true
		return
	}
	t.words = append(t.words, word)
}

// addHost takes a host name, address or mailbox and the parts that may stand
// alone elsewhere.
func (t *traces) addHost(word string) {
	t.add(word)
	if addr, ok := parseAddress(word); ok {
		t.add(addr.String())
		return
	}
	if !strings.ContainsAny(word, "@:") {
		return
	}
	for part := range strings.FieldsFuncSeq(word, func(r rune) bool { return r == '@' || r == ':' }) {
		t.add(part)
	}
}

// word takes a word of a from clause that is in no comment: a HELO name in
// whatever form.
func (t *traces) word(text string) {
	t.add(text)
	for word := range hostWords(text) {
		t.addHost(word.text)
	}
}

// saysNothing holds the words that name no client.
var saysNothing = union(tlsWords, plainWords, formWords)

// formWords stand in many from clauses and tell nothing, or are time zones.
var formWords = set("from smtp unknown may be forged authenticated auth authid authuser account login user username userid uid" +
	" sender helo ehlo ident invoked by network plain cram-md5 digest-md5 external issuer cn subject port rdns softfail mail" +
	" z ut utc gmt cet cest met mest mez mesz wet west eet eest msk bst ist est edt cst cdt mst mdt pst pdt jst kst aest aedt")

// isHostName reports whether a word is a domain name: dots, and letters only at
// its end. 8.17.1 and Debian-2+deb12u1 are none.
func isHostName(word string) bool {
	_, top, ok := cutLast(word, ".")
	if !ok || len(top) < 2 || strings.ContainsAny(word, "@:") {
		return false
	}
	for i := 0; i < len(top); i++ {
		if c := top[i] | 0x20; top[i] < 0x80 && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// named reports whether text, in lower case, names the client.
func (t *traces) named(text string) bool {
	if t.overflow {
		return true
	}
	for _, known := range t.words {
		if strings.Contains(text, known) && (len(known) >= 4 || holdsWord(text, known)) {
			return true
		}
	}
	return false
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
		if (begin == 0 || !isAlnum(text[begin-1])) && (end == len(text) || !isAlnum(text[end])) {
			return true
		}
		from = begin + 1
	}
}

func isAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 0x80 }

// leak reports whether text, in lower case, may tell of a client: it names this
// one, or holds any address, host name or mailbox.
func (t *traces) leak(text string) bool {
	if t.named(text) {
		return true
	}
	for word := range hostWords(text) {
		if _, ok := parseAddress(word.text); ok && !word.slash || isHostName(word.text) || strings.Contains(word.text, "@") {
			return true
		}
	}
	return false
}
