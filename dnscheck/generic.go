package dnscheck

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The bounds of a set of rules for generic names.
const (
	maxPatterns = 200
	maxPattern  = 1000
)

// Generic tells names that a provider gave to one of many access lines, such as
// 8-113-0-203.dsl.isp.example, from names that were chosen for a server. It
// is a guess about the host, good for a score or a delay and not for a verdict
// of its own, and so it is off unless rules are given.
type Generic struct {
	builtin  bool
	patterns []*regexp.Regexp
}

// GenericMatch is a name that a rule takes for generic.
type GenericMatch struct {
	Name string
	// Rule is address, numbers, hexadecimal or access for the built-in rules,
	// and the pattern itself for one of the administrator's.
	Rule string
}

// NewGeneric makes a set of rules: the built-in ones if asked for, and regular
// expressions in Go's syntax (RE2, so that no name can make them slow), matched
// anywhere in the name, which is in lower case and without its final dot.
func NewGeneric(builtin bool, patterns []string) (*Generic, error) {
	if len(patterns) > maxPatterns {
		return nil, fmt.Errorf("generic names: %d patterns, expected %d at most", len(patterns), maxPatterns)
	}
	g := &Generic{builtin: builtin}
	for _, text := range patterns {
		if text == "" || len(text) > maxPattern {
			return nil, fmt.Errorf("generic names: pattern of %d characters, expected 1 to %d", len(text), maxPattern)
		}
		compiled, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("generic names: %w", err)
		}
		g.patterns = append(g.patterns, compiled)
	}
	return g, nil
}

// Check says whether a client with these names has generic names only, and by
// which rules. A client that also has a name of its own is not generic, nor is
// one without names: that is iprev's to judge.
func (g *Generic) Check(addr netip.Addr, names []string) (matches []GenericMatch, generic bool) {
	for _, name := range names {
		rule := g.match(addr.Unmap(), strings.TrimSuffix(asciiLower(name), "."))
		if rule == "" {
			return nil, false
		}
		matches = append(matches, GenericMatch{name, rule})
	}
	return matches, len(matches) > 0
}

// match is the first rule that a name meets.
func (g *Generic) match(addr netip.Addr, name string) string {
	if g.builtin {
		if rule := builtinRule(addr, name); rule != "" {
			return rule
		}
	}
	for _, p := range g.patterns {
		if p.MatchString(name) {
			return p.String()
		}
	}
	return ""
}

// builtinRule follows the idea of S25R, that the name of a line is made of its
// number and says what kind of line it is:
//
//	address      the client's own address is in the name, in decimal or
//	             hexadecimal, forwards or backwards
//	hexadecimal  the first label is eight hexadecimal digits or more, with a
//	             decimal digit among them
//	numbers      the first label, or the first two, hold three numbers or more
//	access       the first label has a number, and a label before the last two
//	             says that it is an access line
func builtinRule(addr netip.Addr, name string) string {
	labels := strings.Split(name, ".")
	if holdsAddress(addr, name) {
		return "address"
	}
	first := labels[0]
	if len(first) >= 8 && strings.Trim(first, hexDigits) == "" && strings.ContainsAny(first, "0123456789") {
		return "hexadecimal"
	}
	if len(labels) > 2 {
		host := labels[:len(labels)-2]
		if len(runs(strings.Join(host[:min(len(host), 2)], "."))) >= 3 {
			return "numbers"
		}
		if len(runs(first)) > 0 && accessWord.MatchString(strings.Join(host, ".")) {
			return "access"
		}
	}
	return ""
}

// holdsAddress looks for the address as names of lines spell it.
func holdsAddress(addr netip.Addr, name string) bool {
	if !addr.Is4() {
		if !addr.Is6() {
			return false
		}
		// The last 64 bits tell the lines of a provider apart.
		b := addr.As16()
		tail := fmt.Sprintf("%x", b[8:])
		squeezed := strings.NewReplacer("-", "", ".", "").Replace(name)
		return strings.Trim(tail, "0") != "" && strings.Contains(squeezed, tail)
	}
	forwards := addr.As4()
	backwards := forwards
	slices.Reverse(backwards[:])
	numbers := runs(name)
	for _, b := range [][4]byte{forwards, backwards} {
		if strings.Contains(name, fmt.Sprintf("%02x%02x%02x%02x", b[0], b[1], b[2], b[3])) {
			return true
		}
		octets := []int{int(b[0]), int(b[1]), int(b[2]), int(b[3])}
		for i := 0; i+4 <= len(numbers); i++ {
			if slices.Equal(numbers[i:i+4], octets) {
				return true
			}
		}
	}
	return strings.Contains(name, fmt.Sprintf("%03d%03d%03d%03d", forwards[0], forwards[1], forwards[2], forwards[3]))
}

// runs are the numbers in a name; one too long to be an octet is -1.
func runs(name string) []int {
	var numbers []int
	for _, field := range strings.FieldsFunc(name, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(field)
		if err != nil || len(field) > 3 {
			n = -1
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// accessWord is a word for a kind of access line in a label, which may have numbers and
// other words: dsl, dhcp12 and adsl-pool do, pooldesign does not.
var accessWord = regexp.MustCompile(`(?:^|[^a-z])(?:adsl|cable|catv|client|customer|dhcp|dial|dialin|dialup|dip|dsl|` +
	`dyn|dynamic|dynip|fiber|flets|fttb|ftth|gpon|lte|mobile|modem|` +
	`pool|ppp|pppoe|sdsl|vdsl|wifi|wimax|wireless|xdsl)(?:$|[^a-z])`)
