package header

import (
	"iter"
	"strings"
)

// class is a set of kinds of octets.
type class uint16

const (
	// blank octets separate words. Control characters do, since they have no place in
	// a header.
	blank class = 1 << iota
	// separator octets stand between the words of a comment. A hyphen may too, and the
	// octets of joint stand between the parts of a word about TLS.
	separator
	hyphen
	joint
	// inHost octets are those of host names, addresses and mailboxes. No notHost octet
	// is one, nor the slash between two of them.
	inHost
	notHost
	slash
	// edge octets are in hosts, but not at their ends.
	edge
	// atSign octets stand between the parts of a mailbox, and before a port.
	atSign
	alnum
	digit
	upper
	bracket
)

var classes = classesOf()

func classesOf() (table [256]class) {
	for i := range table {
		c := byte(i)
		isUpper, isSmall := c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 0x80
		isHost := isUpper || isSmall || strings.IndexByte(".-_:@%+", c) >= 0
		for _, set := range []struct {
			class class
			holds bool
		}{
			{blank, c <= ' ' || c == 0x7f},
			{separator, strings.IndexByte(` ,;:=/()<>"'`, c) >= 0},
			{hyphen, c == '-'},
			{joint, strings.IndexByte("_.+[]", c) >= 0},
			{inHost, isHost},
			{notHost, !isHost && c != '/'},
			{slash, c == '/'},
			{edge, strings.IndexByte(".-+@%", c) >= 0},
			{atSign, c == '@' || c == ':'},
			{alnum, isSmall},
			{digit, c >= '0' && c <= '9'},
			{upper, isUpper},
			{bracket, strings.IndexByte(`(<[)>]"`, c) >= 0},
		} {
			if set.holds {
				table[i] |= set.class
			}
		}
	}
	return table
}

// is reports whether an octet is of one of the classes.
func is(c byte, of class) bool { return classes[c]&of != 0 }

func isBlank(r rune) bool { return r < 0x80 && is(byte(r), blank) }

// index returns where the first octet of a class is, -1 if there is none.
func index(text string, of class) int {
	for i := range len(text) {
		if is(text[i], of) {
			return i
		}
	}
	return -1
}

// split yields what stands between the octets of a class.
func split(text string, between class) iter.Seq[string] {
	return func(yield func(string) bool) {
		begin := 0
		for i := 0; i <= len(text); i++ {
			if i < len(text) && !is(text[i], between) {
				continue
			}
			if i > begin && !yield(text[begin:i]) {
				return
			}
			begin = i + 1
		}
	}
}

// trim is text without the octets of a class at its ends.
func trim(text string, ends class) string {
	for text != "" && is(text[0], ends) {
		text = text[1:]
	}
	for text != "" && is(text[len(text)-1], ends) {
		text = text[:len(text)-1]
	}
	return text
}

// lower folds A to Z and leaves all other octets as they are.
func lower(s string) string {
	i := index(s, upper)
	if i < 0 {
		return s
	}
	var room [512]byte
	b := append(room[:0], s...)
	for ; i < len(b); i++ {
		if is(b[i], upper) {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
