package attack

import (
	"math/rand/v2"
	"strings"
)

// grammar makes random recipients. A capital letter stands for one of its rules.
type grammar struct{ random *rand.Rand }

// rules are those of grammar. They lean to what sendmail's rulesets look at: operators,
// quotes, routes, names that mail is taken for, and keys of the access table.
var rules = map[byte][]string{
	'R': {"A", "A", "A", "@H:A", "@H,@H:A", "H!R", "H:A", "A;", "A,A", `"A"@H`, "(A)A", "A(A)"},
	'A': {"L@H", "L@H", "L@H", "L%H@H", "L%H", "L@H@H", "H!L@H", "H!L", "L", "L@", "@H", "H!L%H@H"},
	'L': {"x", "shin", "postmaster", "L+L", `"Q"`, `W"Q"`, `"Q"W`, `W"Q".W`, "W.W", `W\OW`, "W:L", "LOL", "KW", ""},
	'Q': {"L@H", "L%H", "H!L", "@H:L", "W", "QOQ", `\"Q\"`, "K:H:", ""},
	'H': {"N", "N", "N", "N.", "H.H", `"N"`, "N(W)", `"a:N:".b."K"`, "[N]", "", "HOH", `N\.N`},
	'N': {own, partner, victim, victim, victim, "mx." + own, "localhost", "VICTIM.example", "[203.0.113.25]", "[198.51.100.80]", "[IPv6:2001:db8::80]", "198.51.100.80", "127.0.0.1"},
	'K': {"connect:127", "connect:127.0.0.1", "to:" + partner, "from:" + partner, "spam:x", "received"},
	'W': {"x", "a", "b", "ab", "1"},
	'O': {"@", "%", "!", ":", ".", "/", ",", ";", "+", "=", "$", " ", `\`, "|", "(", "[", "<", ">", `"`},
}

// maxDepth bounds the nesting, maxRecipient the length. sendmail takes lines of 2,048.
const (
	maxDepth     = 6
	maxRecipient = 1000
)

// recipient makes one.
func (g grammar) recipient() string {
	var b strings.Builder
	g.expand(&b, "R", 0)
	return b.String()
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
	return strings.Contains(text, ".example") || strings.Contains(text, "IPv6")
}
