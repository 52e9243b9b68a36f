package attack

import (
	"math/rand/v2"
	"strings"
)

// grammar makes random recipients. A capital letter stands for one of its rules.
type grammar struct{ random *rand.Rand }

// rules are those of grammar. They lean to what sendmail's rulesets look at: operators,
// quotes, comments, routes, names that mail is taken for, keys of the access table, and
// what is a program, a file or a list in an alias.
var rules = map[byte][]string{
	'R': {"A", "A", "A", "@H:A", "@H,@H:A", "H!R", "H:A", "H::A", "A;", "A,A", `"A"@H`, "CA", "AC", "W<A>", "A ", " A"},
	'A': {"L@H", "L@H", "L@H", "L%H@H", "L%H", "L%H%H@H", "L@H@H", "H!L@H", "H!H!L", "L", "L@", "@H", "H!L%H@H", "L @ H", "LC@CH"},
	'L': {"x", "shin", "postmaster", "L+L", `"Q"`, `W"Q"`, `"Q"W`, `W"Q".W`, "W.W", `W\OW`, "W:L", "LOL", "KW", "", "PW", "ELE", "x+L%H"},
	'Q': {"L@H", "L%H", "H!L", "@H:L", "W", "QOQ", `\"Q\"`, "K:H:", "", "C", "H::L"},
	'H': {"N", "N", "N", "N.", "N..", "H.H", `"N"`, "NC", `"a:N:".b."K"`, "[N]", "", "HOH", `N\.N`, "N.uucp", "N.redirect", "N.decnet", "NEN"},
	'N': {own, partner, victim, victim, victim, "mx." + own, "localhost", "VICTIM.example", "Partner.EXAMPLE", "[203.0.113.25]", "[198.51.100.80]", "[IPv6:2001:db8::80]", "[IPv6:2001:db8::25]", "198.51.100.80", "127.0.0.1"},
	'K': {"connect:127", "connect:127.0.0.1", "to:" + partner, "from:" + partner, "spam:x", "received"},
	'C': {"(W)", "(A)", "(WCW)", `(\))`, `("W")`, "()"},
	'P': {"|", "/", ":include:/", "|/bin/", "~", "\\"},
	'E': {"\xe9", "é", "\x9b", "\x81", "=?utf-8?q?=40?=", "=40", "%40", "&#64;", "＠", "。"},
	'W': {"x", "a", "b", "ab", "1"},
	'O': {"@", "%", "!", ":", "::", ".", "/", ",", ";", "+", "=", "$", " ", "\t", `\`, "|", "(", ")", "[", "]", "<", ">", `"`, "^", "#", "*"},
}

// maxDepth bounds the nesting, maxRecipient the length. sendmail takes lines of 2,048.
const (
	maxDepth     = 6
	maxRecipient = 1000
)

// argument makes a recipient as an argument of RCPT TO, mostly in brackets.
func (g grammar) argument() string {
	var b strings.Builder
	g.expand(&b, "R", 0)
	if g.random.IntN(8) == 0 {
		return b.String()
	}
	return "<" + b.String() + ">"
}

func (g grammar) expand(b *strings.Builder, text string, depth int) {
	for i := range len(text) {
		choices, ok := rules[text[i]]
		// The names in a rule have capital letters as well; they end the nesting.
		if !ok || depth > 0 && terminal(text) {
			b.WriteByte(text[i])
			continue
		}
		if depth == maxDepth || b.Len() > maxRecipient {
			b.WriteByte('x')
			continue
		}
		g.expand(b, choices[g.random.IntN(len(choices))], depth+1)
	}
}

// terminal says that a text stands for itself.
func terminal(text string) bool {
	return strings.Contains(text, ".example") || strings.Contains(text, ".EXAMPLE") || strings.Contains(text, "IPv6")
}
