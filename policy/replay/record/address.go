package record

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"milterd/policy"
)

// maxAddress is the longest address that the policy takes apart. Redaction must not
// carry one across it, in either direction.
const maxAddress = 1024

// address hides the local part of an address, and keeps its form: the operators that
// relaying is decided by, quotes, and every host.
func (m *messageRedactor) address(s string) string {
	if m.redactor == nil || s == "" {
		return s
	}
	if len(s) > maxAddress {
		// Nobody looks into it, here neither: only that it is too long counts.
		return m.token(s) + strings.Repeat("x", maxAddress)
	}
	var b strings.Builder
	m.scan(&b, s, false)
	hidden := b.String()
	if len(hidden) > maxAddress {
		m.fits = false
	}
	if strings.Contains(s, "@") {
		m.longestFirst = nil
		m.addresses[policy.Printable(s)] = policy.Printable(hidden)
	}
	return hidden
}

const (
	// operators end a run of characters that is hidden or kept as one.
	operators = "\"()@%!,:;<>[] \t"
	// joints are operators that may stand in a run.
	joints = ".+/^"
)

// scan redacts an address or, in quotes, what stands between them. A run of other
// characters is a host, and stays as far as it looks like one, behind @ or % and
// before !; comments and quoted strings are looked into.
func (m *messageRedactor) scan(b *strings.Builder, s string, quoted bool) {
	host, literal := false, false
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"' && !quoted, c == '(' && !quoted:
			end := closing(s, i)
			b.WriteByte(c)
			if i++; end < 0 {
				// Not an address for anybody.
				continue
			}
			if c == '"' {
				m.scan(b, s[i:end], true)
			} else if end > i {
				b.WriteString(m.token(s[i:end]))
			}
			b.WriteByte(s[end])
			i = end + 1
		case c == '\\' && i+1 == len(s) || c < ' ' || c == 0x7f || strings.IndexByte(operators, c) >= 0:
			switch c {
			case '@', '%':
				host, literal = true, false
			case '[':
				literal = host
			case ']':
				host, literal = false, false
			case ' ', '\t':
			default:
				host = host && literal
			}
			b.WriteByte(c)
			i++
		default:
			end := runEnd(s, i)
			switch run := s[i:end]; {
			case public(run):
				b.WriteString(run)
			case host || beforeBang(s[end:], quoted):
				m.domain(b, run)
			default:
				m.run(b, run)
			}
			host = literal
			i = end
		}
	}
}

// beforeBang reports whether what stands before rest is a host in a path of them:
// nothing but blanks, comments and further runs separate it from the next !.
func beforeBang(rest string, quoted bool) bool {
	for i := 0; i < len(rest); {
		switch c := rest[i]; {
		case c == '!':
			return true
		case c == ' ' || c == '\t':
			i++
		case c == '(' && !quoted:
			end := closing(rest, i)
			if end < 0 {
				return false
			}
			i = end + 1
		default:
			end := runEnd(rest, i)
			if end == i {
				return false
			}
			i = end
		}
	}
	return false
}

// run hides a run. A backslash in it shows: no domain may have one.
func (m *messageRedactor) run(b *strings.Builder, run string) {
	from, to := core(run)
	b.WriteString(run[:from])
	if from < to {
		if strings.IndexByte(run[from:to], '\\') >= 0 {
			b.WriteByte('\\')
		}
		b.WriteString(m.token(run[from:to]))
	}
	b.WriteString(run[to:])
}

// domain keeps of a run that stands for a host what looks like one, and hides the
// rest: the tail of a name in a certificate, for one. The first character of the rest
// shows, as no domain may have it. Where dots follow, relaying may be decided on what
// is behind them, and the redacted address would be read in another way.
func (m *messageRedactor) domain(b *strings.Builder, run string) {
	end := hostEnd(run)
	b.WriteString(run[:end])
	rest := run[end:]
	if rest == "" {
		return
	}
	if from, to := core(rest); strings.Contains(rest[from:to], ".") || !utf8.ValidString(rest) {
		m.fits = false
	}
	if c := rest[0]; c < utf8.RuneSelf && c != '\\' {
		b.WriteByte(c)
		rest = rest[1:]
	}
	m.run(b, rest)
}

// hostEnd is how much of a run looks like the name of a host, or a piece of an address.
func hostEnd(run string) int {
	end := strings.IndexFunc(run, func(c rune) bool {
		return c == utf8.RuneError || c != '-' && c != '.' && c != '_' && !unicode.In(c, unicode.Letter, unicode.Mark, unicode.Digit)
	})
	if end < 0 {
		return len(run)
	}
	return end
}

// core is what of a run is hidden: all but the operators at its ends, by which it may
// join what stands beside it.
func core(run string) (from, to int) {
	for from < len(run) && strings.IndexByte(joints, run[from]) >= 0 {
		from++
	}
	to = from
	for i := from; i < len(run); i++ {
		if strings.IndexByte(joints, run[i]) >= 0 {
			continue
		}
		if run[i] == '\\' {
			i++
		}
		to = i + 1
	}
	return from, to
}

// public reports whether a local part is one that everybody has.
func public(local string) bool {
	return strings.EqualFold(local, "postmaster") || strings.EqualFold(local, "abuse")
}

// runEnd is the index behind the run that begins at i; a backslash takes the next
// character into it.
func runEnd(s string, i int) int {
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			if i+1 == len(s) {
				return i
			}
			i++
		case c < ' ' || c == 0x7f || strings.IndexByte(operators, c) >= 0:
			return i
		}
	}
	return i
}

// closing is the index of the character that ends the quoted string or the comment
// begun at i, or -1.
func closing(s string, i int) int {
	comment := s[i] == '('
	depth := 1
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '(' && comment:
			depth++
		case c == ')' && comment, c == '"' && !comment:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}
