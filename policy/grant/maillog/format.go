package maillog

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Login is what a line says: a user has logged in from an address.
type Login struct {
	// Addr is the client's address, IPv4 unmapped.
	Addr netip.Addr
	// User is the name as the server wrote it, empty if a Pattern has none.
	User string
}

// Parser reads the lines of one log, in their order, without their newlines. It
// reports false for a line that announces no login.
//
// It has a memory: courierlogger cuts what is too long for a line and logs the rest
// as the next one, which begins with what the client sent. So the line after a cut
// one is no login, whatever it looks like.
type Parser func(line string) (Login, bool)

// Format is the way in which a server logs logins.
type Format struct {
	name  string // one of parsers, or regexpName
	parse func() Parser
}

func (f Format) Parser() Parser {
	parse := f.parse()
	return func(line string) (Login, bool) {
		line = strings.TrimSuffix(line, "\r")
		// Every line, since the parser has to see all of them.
		login, ok := parse(line)
		if !ok || len(line) > maxLine || strings.ContainsFunc(line, isControl) {
			return Login{}, false
		}
		return login, true
	}
}

// The bounds of what is read, in octets.
const (
	// maxLine is the longest line: as much as rsyslog writes unless told otherwise.
	maxLine = 8192
	// maxUser is the longest name, enough for a mail address. It is also what makes
	// it impossible for a name to push the address that follows it past the place
	// where a logger cuts its lines, 500 octets or more.
	maxUser = 255
)

// regexpName is the name of the formats that Pattern makes.
const regexpName = "regexp"

// parsers are the formats that Named knows.
var parsers = map[string]func() Parser{
	"courier": newCourierParser,
	"cyrus":   stateless(parseCyrus),
	"dovecot": stateless(parseDovecot),
	"qpopper": stateless(parseQpopper),
	"uw":      stateless(parseUW),
}

// Named is the format of a server.
func Named(name string) (Format, error) {
	if parse := parsers[name]; parse != nil {
		return Format{name, parse}, nil
	}
	if name == regexpName {
		return Format{}, errors.New("login format regexp: expected a pattern with it")
	}
	names := slices.Sorted(maps.Keys(parsers))
	return Format{}, fmt.Errorf("login format %q, expected %s or regexp with a pattern", name, strings.Join(names, ", "))
}

func stateless(parse Parser) func() Parser { return func() Parser { return parse } }

const (
	addrGroup = "addr"
	userGroup = "user"
)

// Pattern makes a format from a regular expression in RE2's syntax. It describes the
// whole line, from the time to the end, and not just a part of it:
//
//	\w{3} [ \d]\d [\d:]{8} \S+ teapop\[\d+\]: Successful login for (?P<user>\S+) from \S* ?\[(?P<addr>[^]]+)\]
//
// The group addr is the client's address, the optional group user the name. Groups
// that match as little as they can and groups that match as much must come to the same
// address; a line that can be read in two ways is no login. Package configs sees that the
// expression is whole and has no other groups.
func Pattern(expr string) (Format, error) {
	greedy, greedyErr := regexp.Compile(`^(?:` + expr + `)$`)
	lazy, lazyErr := regexp.Compile(`^(?U:` + expr + `)$`)
	if err := cmp.Or(greedyErr, lazyErr); err != nil {
		return Format{}, fmt.Errorf("login pattern: %w", err)
	}
	if greedy.SubexpIndex(addrGroup) < 0 {
		return Format{}, fmt.Errorf("login pattern %q has no group %s, expected (?P<%s>…) around the client's address", expr, addrGroup, addrGroup)
	}
	return Format{regexpName, stateless(func(line string) (Login, bool) {
		login, ok := matchPattern(greedy, line)
		if !ok {
			return Login{}, false
		}
		other, ok := matchPattern(lazy, line)
		return login, ok && other.Addr == login.Addr
	})}, nil
}

func matchPattern(pattern *regexp.Regexp, line string) (Login, bool) {
	groups := pattern.FindStringSubmatch(line)
	if groups == nil {
		return Login{}, false
	}
	user := ""
	if i := pattern.SubexpIndex(userGroup); i >= 0 {
		user = groups[i]
	}
	return newLogin(user, groups[pattern.SubexpIndex(addrGroup)])
}

// newLogin checks a name and an address that stand at their places in a line.
func newLogin(user, addr string) (Login, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" || len(user) > maxUser || isAnonymous(user) {
		return Login{}, false
	}
	return Login{Addr: a.Unmap(), User: user}, true
}

// userLogin is newLogin for a server all of whose logins have a user.
func userLogin(user, addr string) (Login, bool) {
	if user == "" {
		return Login{}, false
	}
	return newLogin(user, addr)
}

// isAnonymous reports whether a user, or a SASL mechanism (RFC 4505), is that of a
// client that has proved nothing.
func isAnonymous(name string) bool { return strings.EqualFold(name, "anonymous") }

// isControl finds the control characters of ASCII and Latin-1; a line with one was
// not written by a server that says who has logged in.
func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }
