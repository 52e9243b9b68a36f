package configs

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"milterd/policy"
	"milterd/policy/printable"
)

// maxLoginLine is the longest line of a file of logins, in octets.
const maxLoginLine = 64 << 10

// loginFile is a live file with a login in each line and something behind it, which key
// names. A word that begins with # begins a comment.
type loginFile struct {
	source
	key         string
	says, wants string // what it says of logins, and the form of a line, for messages
	most        int64  // octets of the file
}

// readLogins makes a map by login: take puts the words of a line that has any into it, and
// what it complains of is reported. It is nil if the file could not be read.
func readLogins[T any](s *sources, f loginFile, take func(all map[string]T, words []string, line int) error) map[string]T {
	s.entries[f.path] = 0
	data, err := readFile(f.path, f.most)
	if err != nil {
		s.failed(f.key, f.source, err)
		return nil
	}
	s.checkOthers(f.path, f.key+": "+f.says, 0o002)
	all := make(map[string]T)
	wrong, n := 0, 0
	for line := range strings.SplitSeq(string(data), "\n") {
		n++
		words, err := f.words(line)
		if err == nil && len(words) > 0 {
			err = take(all, words, n)
		}
		if err == nil {
			continue
		}
		if wrong++; wrong > maxTold {
			s.add(f.path, n, "%s: and more; the rest is not read", f.key)
			break
		}
		s.add(f.path, n, "%v", err)
	}
	s.entries[f.path] = len(all)
	return all
}

// login is who is named by the first word of a line: the login as the person types it. A
// character that would end a word is written as sendmail does in ${auth_authen}: +20 for a
// blank.
func (f loginFile) login(s *sources, word string, line int) string {
	name := policy.FromXtext(word)
	switch {
	case word == "*":
		s.warn(f.path, line, "%s: * is the login of that name here, and not all logins; what holds for all stands in the configuration", f.key)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return name
	case name != word && printable.Text(name) == name:
		s.warn(f.path, line, "%s: %s is taken as it stands; the login that sendmail's ${auth_authen} has so is %s here", f.key, quote(word), quote(name))
	}
	return word
}

// words takes a line apart.
func (f loginFile) words(line string) ([]string, error) {
	switch {
	case len(line) > maxLoginLine:
		return nil, fmt.Errorf("%s: %d octets, expected %d at most in a line", f.key, len(line), maxLoginLine)
	case firstBadText([]byte(line)) > 0:
		return nil, fmt.Errorf("%s: a character that is no text, expected %s", f.key, f.wants)
	case strings.HasPrefix(line, "\ufeff"):
		return nil, errors.New(f.key + ": the file begins with a UTF-8 byte order mark, expected it without one")
	}
	words := strings.Fields(line)
	for i, word := range words {
		if strings.HasPrefix(word, "#") {
			return words[:i], nil
		}
	}
	return words, nil
}
