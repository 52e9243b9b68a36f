package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"milterd/policy/access"
)

// Class is a sendmail class such as w (our own names) or R (names and
// networks we relay for). Matching ignores case. The zero value is empty.
type Class struct {
	entries map[string]struct{}
}

func NewClass(entries ...string) Class {
	c := Class{entries: make(map[string]struct{}, len(entries))}
	for _, e := range entries {
		c.entries[access.Fold(e)] = struct{}{}
	}
	return c
}

func (c Class) Len() int { return len(c.entries) }

func (c Class) Entries() []string {
	return slices.Sorted(maps.Keys(c.entries))
}

// nameOrNetwork is what an entry of a class has to look like: a name, an address, or a
// network, with brackets or in octets.
var nameOrNetwork = regexp.MustCompile(`^(?i:\.?\[?((ipv6:)?[0-9a-f:.]+|([\pL\pN_-]{1,63}\.)*[\pL\pN_-]{1,63}\.?)\]?(/\d+)?)$`)

// NameOrNetwork reports whether an entry of a class looks like what a class holds.
func NameOrNetwork(entry string) bool { return nameOrNetwork.MatchString(entry) }

// ShownEntries are entries of a class as a report may show them: those that are neither
// names nor networks are only counted. They may come from a file that was named by mistake,
// such as one with passwords, and reports are handed on.
func ShownEntries(entries []string) []string {
	shown := slices.DeleteFunc(slices.Clone(entries), func(e string) bool { return !NameOrNetwork(e) })
	if others := len(entries) - len(shown); others > 0 {
		shown = slices.Insert(shown, 0, fmt.Sprintf("(%d that are no names)", others))
	}
	return shown
}

// Has reports whether name is in the class ($=w).
func (c Class) Has(name string) bool {
	_, ok := c.entries[access.Fold(name)]
	return ok
}

// Suffix finds the longest entry that name ends in, at a token boundary
// ($* $=R): the class example.com holds host.example.com, not badexample.com.
func (c Class) Suffix(name string) (entry string, ok bool) {
	// A backslash would join what only looks like two labels.
	if len(c.entries) == 0 || len(name) > MaxAddress || strings.ContainsAny(name, `\"`) {
		return "", false
	}
	name = access.Fold(name)
	for i := range len(name) {
		if i > 0 && !boundary(name, i) {
			continue
		}
		if _, ok := c.entries[name[i:]]; ok {
			return name[i:], true
		}
	}
	return "", false
}

// Prefix finds the longest entry that an address begins with, at a token
// boundary ($=R $*): the class 203.0.113 holds 203.0.113.8.
func (c Class) Prefix(addr string) (entry string, ok bool) {
	addr = access.Fold(addr)
	for i := len(addr); i > 0; i-- {
		if i < len(addr) && !boundary(addr, i) {
			continue
		}
		if _, ok := c.entries[addr[:i]]; ok {
			return addr[:i], true
		}
	}
	return "", false
}

// boundary reports whether a token begins at s[i].
func boundary(s string, i int) bool {
	return strings.IndexByte(operators, s[i]) >= 0 || strings.IndexByte(operators, s[i-1]) >= 0
}
