package traffic

import "strings"

// endOfData stands for the end of a message, which is answered like a command.
const endOfData = "."

// command is one that has not been answered yet.
type command struct {
	// verb is in upper case, HELO also for EHLO; empty for commands that do not matter.
	verb string
	line int
	// arg is the HELO name, the address without angle brackets, or the mechanism. Of
	// what a client sends for AUTH nothing else is kept.
	arg string
	// args are ESMTP parameters.
	args []string
	// ok: the argument could be read.
	ok bool
}

func (c *command) size() int {
	n := 100 + len(c.arg)
	for _, a := range c.args {
		n += 20 + len(a)
	}
	return n
}

func parseCommand(text string, line int) command {
	word, rest, _ := strings.Cut(strings.TrimLeft(text, blanks), " ")
	if before, after, ok := strings.Cut(word, "\t"); ok {
		word, rest = before, after+" "+rest
	}
	rest = strings.TrimLeft(rest, blanks)
	c := command{verb: strings.ToUpper(word), line: line}
	switch c.verb {
	case "EHLO", "HELO":
		c.verb, c.ok = "HELO", true
		c.arg, _, _ = strings.Cut(strings.TrimRight(rest, blanks), " ")
	case "MAIL":
		c.arg, c.args, c.ok = parsePath(rest, "FROM")
	case "RCPT":
		c.arg, c.args, c.ok = parsePath(rest, "TO")
		c.ok = c.ok && c.arg != ""
	case "AUTH":
		c.arg = mechanism(rest)
	case "DATA", "STARTTLS", "RSET", "QUIT":
	default:
		c.verb = ""
	}
	return c
}

const blanks = " \t\r\v\f"

// maxMechanism is the longest name of a SASL mechanism (RFC 4422 section 3.1).
const maxMechanism = 20

// mechanism is the first word behind AUTH, if it can be a mechanism and not a secret
// in its place.
func mechanism(rest string) string {
	word, _, _ := strings.Cut(rest, " ")
	word = strings.ToUpper(strings.TrimRight(word, blanks))
	if len(word) > maxMechanism || strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return ""
	}
	return word
}

// parsePath reads "FROM:<a@b.example> SIZE=1000" behind MAIL, or TO: behind RCPT.
// sendmail also takes blanks around the colon, and an address without brackets.
func parsePath(rest, keyword string) (path string, args []string, ok bool) {
	word, rest, ok := strings.Cut(rest, ":")
	if !ok || !strings.EqualFold(strings.Trim(word, blanks), keyword) {
		return "", nil, false
	}
	rest = strings.Trim(rest, blanks)
	end, ok := pathEnd(rest)
	if !ok || end == 0 {
		return "", nil, false
	}
	path = rest[:end]
	if strings.HasPrefix(path, "<") && strings.HasSuffix(path, ">") {
		path = path[1 : len(path)-1]
	}
	return path, strings.Fields(rest[end:]), true
}

// pathEnd finds the first blank that is not within angle brackets, quotes or a comment.
func pathEnd(s string) (end int, ok bool) {
	quoted, angle, comment := false, 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			comment++
		case c == ')' && comment > 0:
			comment--
		case comment > 0:
		case c == '<':
			angle++
		case c == '>' && angle > 0:
			angle--
		case angle == 0 && strings.IndexByte(blanks, c) >= 0:
			return i, true
		}
	}
	return len(s), !quoted && angle == 0 && comment == 0
}

// isEnd reports whether sendmail notes that nothing more comes.
func isEnd(text []byte) bool { return string(text) == "[EOF]" || string(text) == "[TIMEOUT]" }
