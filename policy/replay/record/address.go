package record

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"milterd/policy"
)

// address hides the local part of an address, and keeps its form: the operators that
// relaying is decided by, quotes, and every host.
func (m *messageRedactor) address(s string) string {
	if m.redactor == nil || s == "" {
		return s
	}
	if len(s) > policy.MaxAddress {
		// The policy does not look into it: only that it is too long counts.
		return m.token(s) + strings.Repeat("x", policy.MaxAddress)
	}
	var b strings.Builder
	m.scan(&b, s, false)
	hidden := b.String()
	if len(hidden) > policy.MaxAddress {
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

// cutPiece cuts the next piece off an address or, in quotes, off the text between
// them, where a parenthesis begins no comment.
func cutPiece(s string, quoted bool) (policy.Piece, int) {
	if quoted && s[0] == '(' {
		return policy.PieceOperator, 1
	}
	return policy.CutPiece(s, operators)
}

// scan redacts an address or, in quotes, the text between them. A run of other
// characters is a host, and stays as far as it looks like one, behind @ or % and
// before !; comments and quoted strings are looked into.
func (m *messageRedactor) scan(b *strings.Builder, s string, quoted bool) {
	host, literal, behindAt, before := false, false, false, ""
	for s != "" {
		kind, n := cutPiece(s, quoted)
		piece := s[:n]
		s = s[n:]
		switch kind {
		case policy.PieceQuoted:
			b.WriteByte('"')
			m.scan(b, piece[1:n-1], true)
			b.WriteByte('"')
		case policy.PieceComment:
			b.WriteByte('(')
			if n > len("()") {
				b.WriteString(m.token(piece[1 : n-1]))
			}
			b.WriteByte(')')
		case policy.PieceWord:
			switch {
			case public(piece):
				b.WriteString(piece)
			case host && (!behindAt || ends(s, quoted, literal)) || !host && beforeBang(s, quoted):
				m.domain(b, piece)
			default:
				// One word may stand before an address in angle brackets, and not a.b; in square
				// ones there may be letters, digits and dots only.
				from, to := core(piece)
				named := !quoted && operator(s, quoted) == '<' && strings.ContainsAny(piece[from:to], joints)
				if named || before == "[" && !isLabels(piece) {
					m.fits = false
				}
				m.run(b, piece)
			}
			host = literal
		default:
			b.WriteString(piece)
			switch piece {
			case "@", "%":
				host, literal, behindAt = true, false, piece == "@"
			case "[":
				literal = host
			case "]":
				host, literal = false, false
			case " ", "\t":
			default:
				host = host && literal
			}
		}
		before = piece
	}
}

// isLabels reports whether an address literal may have such a text in it.
func isLabels(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool {
		return c >= utf8.RuneSelf || c != '-' && c != '.' && c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	}) < 0
}

// beforeBang reports whether a run that rest follows is a host in a path of them:
// nothing but blanks, comments and further runs separate it from the next !.
func beforeBang(rest string, quoted bool) bool { return operator(rest, quoted) == '!' }

// ends reports whether a run behind an @, which rest follows, ends an address or a step of
// a route. Before anything else, such as another @, it is no host that something could be
// decided on.
func ends(rest string, quoted, literal bool) bool {
	if literal {
		_, rest, _ = strings.Cut(rest, "]")
	}
	return strings.IndexByte("\x00,:;>", operator(rest, quoted)) >= 0
}

// operator is the next one behind blanks, comments and runs, 0 if there is none.
func operator(rest string, quoted bool) byte {
	for rest != "" {
		kind, n := cutPiece(rest, quoted)
		switch kind {
		case policy.PieceBlank, policy.PieceComment, policy.PieceWord:
		default:
			return rest[0]
		}
		rest = rest[n:]
	}
	return 0
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
// shows, as no domain may have it. If dots follow, relaying may be decided on what
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
	from = len(run) - len(strings.TrimLeft(run, joints))
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

func public(local string) bool {
	return strings.EqualFold(local, "postmaster") || strings.EqualFold(local, "abuse")
}
