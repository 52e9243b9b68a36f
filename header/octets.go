package header

import "iter"

// class is a set of kinds of octets.
type class uint16

const (
	// blank octets separate words. Control characters do, since they have no place in
	// a header.
	blank class = 1 << iota
	// separator octets stand between the words of a comment, and those of joint between
	// the parts of a word about TLS.
	separator
	joint
	// atSign octets stand between the parts of a mailbox, and before a port. Those of
	// edge are in hosts, but not at their ends.
	atSign
	edge
	underscore
	alnum // in lower case
	digit
	upper
	bracket

	// inHost octets are those of host names, addresses and mailboxes.
	inHost = alnum | upper | underscore | edge | atSign
)

var classes = classesOf(map[class]string{
	separator:  ` ,;:=/()<>"'`,
	joint:      "-_.+[]",
	atSign:     "@:",
	edge:       ".-+@%",
	underscore: "_",
	alnum:      "0123456789abcdefghijklmnopqrstuvwxyz",
	digit:      "0123456789",
	upper:      "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	bracket:    `(<[)>]"`,
})

func classesOf(sets map[class]string) (table [256]class) {
	for set, octets := range sets {
		for _, c := range []byte(octets) {
			table[c] |= set
		}
	}
	for c := range table {
		switch {
		case c <= ' ' || c == 0x7f:
			table[c] |= blank
		case c >= 0x80:
			table[c] |= alnum
		}
	}
	return table
}

// is reports whether an octet is of one of the classes.
func is(c byte, of class) bool { return classes[c]&of != 0 }

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
	if index(s, upper) < 0 {
		return s
	}
	var room [512]byte
	b := append(room[:0], s...)
	fold(b)
	return string(b)
}

// fold is lower in place.
func fold(b []byte) {
	for i, c := range b {
		if is(c, upper) {
			b[i] = c + 'a' - 'A'
		}
	}
}
