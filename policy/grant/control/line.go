package control

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"milterd/policy/grant"
)

// maxLine is the longest line of a command, with its end.
const maxLine = 1024

// timeForm is RFC 3339 in UTC, which is all there is in a line of data.
const timeForm = "2006-01-02T15:04:05Z"

// The commands.
const (
	verbGrant      = "grant"
	verbRevoke     = "revoke"
	verbRevokeUser = "revoke-user"
	verbList       = "list"
	verbHelp       = "help"
	verbQuit       = "quit"
)

// usage says how each command is used, in the order of help.
var usage = [...]struct{ verb, form, purpose string }{
	{verbGrant, "grant ADDR [USER]", "let ADDR relay for a while, in the name of USER"},
	{verbRevoke, "revoke ADDR", "end the grant of ADDR"},
	{verbRevokeUser, "revoke-user USER", "end all grants of USER"},
	{verbList, "list", "tell all grants: address, user, source, since, expires"},
	{verbHelp, "help", "tell the commands"},
	{verbQuit, "quit", "hang up"},
}

// command is a line that was understood.
type command struct {
	verb string
	addr netip.Addr // of grant and revoke
	user string     // of grant and revoke-user
}

// String is the line that parseCommand understands as this command.
func (c command) String() string {
	words := []string{c.verb}
	if c.addr.IsValid() {
		words = append(words, c.addr.String())
	}
	if c.user != "" {
		words = append(words, quote(c.user))
	}
	return strings.Join(words, " ")
}

// parseCommand reads a line without its end.
func parseCommand(line string) (command, error) {
	words, err := split(line)
	if err != nil {
		return command{}, err
	}
	if len(words) == 0 {
		return command{}, errors.New("no command, try help")
	}
	c, arguments := command{verb: words[0]}, words[1:]
	form := ""
	for _, u := range usage {
		if u.verb == c.verb {
			form = u.form
		}
	}
	if form == "" {
		return command{}, fmt.Errorf("unknown command %s, try help", shorten(c.verb))
	}
	least, most := 0, 0
	switch c.verb {
	case verbGrant:
		least, most = 1, 2
	case verbRevoke, verbRevokeUser:
		least, most = 1, 1
	}
	if len(arguments) < least || len(arguments) > most {
		return command{}, fmt.Errorf("expected %s", form)
	}
	switch c.verb {
	case verbGrant, verbRevoke:
		c.addr, err = parseAddr(arguments[0])
		if len(arguments) > 1 {
			c.user = arguments[1]
		}
	case verbRevokeUser:
		if c.user = arguments[0]; c.user == "" {
			err = errors.New("the user has no name")
		}
	}
	if err == nil && c.user != "" {
		err = grant.ValidUser(c.user)
	}
	if err != nil {
		return command{}, err
	}
	return c, nil
}

// parseAddr reads one address. A zone is a name of an interface, and nothing
// that mail comes from.
func parseAddr(word string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(word)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%s is not an IP address", shorten(word))
	}
	return addr.Unmap(), nil
}

// grantLine is the line that tells a grant.
func grantLine(g grant.Grant) string {
	return strings.Join([]string{
		verbGrant, g.Addr.String(), quote(g.User), quote(g.Source),
		g.Since.UTC().Format(timeForm), g.Expires.UTC().Format(timeForm),
	}, " ")
}

// parseGrantLine reads one.
func parseGrantLine(line string) (grant.Grant, error) {
	words, err := split(line)
	if err != nil {
		return grant.Grant{}, fmt.Errorf("grant line: %w", err)
	}
	if len(words) != 6 || words[0] != verbGrant {
		return grant.Grant{}, fmt.Errorf("%s is not a grant line", shorten(line))
	}
	g := grant.Grant{User: words[2], Source: words[3]}
	if g.Addr, err = parseAddr(words[1]); err != nil {
		return grant.Grant{}, fmt.Errorf("grant line: %w", err)
	}
	if g.Since, err = time.Parse(timeForm, words[4]); err != nil {
		return grant.Grant{}, fmt.Errorf("grant line: %w", err)
	}
	if g.Expires, err = time.Parse(timeForm, words[5]); err != nil {
		return grant.Grant{}, fmt.Errorf("grant line: %w", err)
	}
	return g, nil
}

// split takes a line apart into its words.
func split(line string) ([]string, error) {
	if !utf8.ValidString(line) {
		return nil, errors.New("the line is not valid UTF-8")
	}
	var words []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return words, nil
		}
		word, rest, err := firstWord(line)
		if err != nil {
			return nil, err
		}
		words, line = append(words, word), rest
	}
}

// firstWord takes the first word off a line that begins with one.
func firstWord(line string) (word, rest string, err error) {
	if line[0] != '"' {
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			end = len(line)
		}
		word, rest = line[:end], line[end:]
		if at := strings.IndexFunc(word, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' }); at >= 0 {
			return "", "", fmt.Errorf("a word with %q has to stand between quotation marks", word[at:at+1])
		}
		return word, rest, nil
	}
	quoted, err := strconv.QuotedPrefix(line)
	if err != nil {
		return "", "", errors.New("a quoted word has no end, or an unknown escape")
	}
	if word, err = strconv.Unquote(quoted); err != nil {
		return "", "", errors.New("a quoted word has an unknown escape")
	}
	rest = line[len(quoted):]
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", "", errors.New("a quoted word ends before a blank or the end of the line")
	}
	return word, rest, nil
}

// quote is a word as a line holds it.
func quote(word string) string {
	plain := func(r rune) bool { return r > ' ' && r < 0x7f && r != '"' && r != '\\' }
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return strconv.Quote(word)
}

// shorten quotes what a peer said for a message to people.
func shorten(text string) string {
	const most = 64
	if len(text) > most {
		return strconv.Quote(text[:most]) + "..."
	}
	return strconv.Quote(text)
}
