package advice

import (
	"bufio"
	"iter"
	"os"
	"strings"
	"syscall"

	"milterd/policy/access"
)

// entry is a line of an access table.
type entry struct {
	line int
	// tag and key are in lower case; an entry without a tag has an empty one.
	tag, key string
	value    access.Value
	// text is the line, with single blanks.
	text string
}

// entries reads the text of an access table. One that cannot be read has none: the
// configuration's own warnings say so.
func entries(path string) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for number := 1; lines.Scan(); number++ {
			words := strings.Fields(lines.Text())
			if len(words) < 2 || strings.HasPrefix(words[0], "#") {
				continue
			}
			e := entry{line: number, value: access.ParseValue(strings.Join(words[1:], " ")), text: strings.Join(words, " ")}
			e.tag, e.key = splitTag(strings.ToLower(words[0]))
			if !yield(e) {
				return
			}
		}
	}
}

// splitTag splits a key. ipv6: is no tag, but begins an address.
func splitTag(key string) (tag, rest string) {
	tag, rest, tagged := strings.Cut(key, ":")
	if !tagged || tag == "ipv6" {
		return "", key
	}
	return tag, rest
}

// ofClients reports whether an entry is one for clients.
func (e entry) ofClients() bool { return e.tag == "connect" || e.tag == "" }
