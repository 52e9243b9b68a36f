package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"hash"
	"strings"
	"unicode"
	"unicode/utf8"

	"milterd/policy"
	"milterd/policy/replay"
)

// maxAddress is the longest address that the policy takes apart. Redaction must not
// carry one across it, in either direction.
const maxAddress = 1024

// tokenBytes of the keyed hash make a token, in base 32 with tokenPrefix before it: 60
// bits, so that ten million local parts have one chance in twenty thousand that two
// of them look the same.
const (
	tokenPrefix = "r"
	tokenChars  = 12
)

// redactor replaces what names people by tokens. It is used by one goroutine.
type redactor struct {
	mac hash.Hash
	sum []byte
}

func newRedactor(key []byte) *redactor {
	return &redactor{mac: hmac.New(sha256.New, key)}
}

var tokenAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// token stands for a text. Case does not count, as it does not in the access table.
func (r *redactor) token(text string) string {
	r.mac.Reset()
	r.mac.Write([]byte(fold(text)))
	r.sum = r.mac.Sum(r.sum[:0])
	return tokenPrefix + tokenAlphabet.EncodeToString(r.sum)[:tokenChars]
}

// veil redacts one message and remembers what it has hidden, as replies may repeat
// it. Without a redactor it changes nothing.
type veil struct {
	redactor *redactor
	// words are the texts that were replaced, in lower case, also as replies have them.
	words map[string]bool
	// addresses are those of the message, with what they have become, both as replies
	// have them.
	addresses map[string]string
	// known are the addresses, the longest first, made when they are all there.
	known []string
	// fits is false when a redacted address would be read in another way.
	fits bool
}

// message begins to redact a message.
func (r *redactor) message() *veil {
	if r == nil {
		return &veil{fits: true}
	}
	return &veil{redactor: r, words: make(map[string]bool), addresses: make(map[string]string), fits: true}
}

// token hides a text.
func (v *veil) token(text string) string {
	v.words[fold(text)] = true
	v.words[fold(policy.Printable(text))] = true
	return v.redactor.token(text)
}

// address hides the local part of an address, and keeps its form: the operators that
// relaying is decided by, quotes, and every host.
func (v *veil) address(s string) string {
	if v.redactor == nil || s == "" {
		return s
	}
	if len(s) > maxAddress {
		// Nobody looks into it, here neither: only that it is too long counts.
		return v.token(s) + strings.Repeat("x", maxAddress)
	}
	var b strings.Builder
	v.scan(&b, s, false)
	hidden := b.String()
	if len(hidden) > maxAddress {
		v.fits = false
	}
	if strings.Contains(s, "@") {
		v.known = nil
		v.addresses[policy.Printable(s)] = policy.Printable(hidden)
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
func (v *veil) scan(b *strings.Builder, s string, quoted bool) {
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
				v.scan(b, s[i:end], true)
			} else if end > i {
				b.WriteString(v.token(s[i:end]))
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
				v.domain(b, run)
			default:
				v.run(b, run)
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
func (v *veil) run(b *strings.Builder, run string) {
	from, to := core(run)
	b.WriteString(run[:from])
	if from < to {
		if strings.IndexByte(run[from:to], '\\') >= 0 {
			b.WriteByte('\\')
		}
		b.WriteString(v.token(run[from:to]))
	}
	b.WriteString(run[to:])
}

// domain keeps of a run that stands for a host what looks like one, and hides the
// rest: the tail of a name in a certificate, for one. The first character of the rest
// shows, as no domain may have it. Where dots follow, relaying may be decided on what
// is behind them, and the redacted address would be read in another way.
func (v *veil) domain(b *strings.Builder, run string) {
	end := hostEnd(run)
	b.WriteString(run[:end])
	rest := run[end:]
	if rest == "" {
		return
	}
	if from, to := core(rest); strings.Contains(rest[from:to], ".") || !utf8.ValidString(rest) {
		v.fits = false
	}
	if c := rest[0]; c < utf8.RuneSelf && c != '\\' {
		b.WriteByte(c)
		rest = rest[1:]
	}
	v.run(b, rest)
}

// hostEnd is how much of a run looks like the name of a host, or a piece of an address.
func hostEnd(run string) int {
	for i, c := range run {
		switch {
		case c == utf8.RuneError:
			return i
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		case c >= utf8.RuneSelf && (unicode.IsLetter(c) || unicode.IsMark(c) || unicode.IsDigit(c)):
		default:
			return i
		}
	}
	return len(run)
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

// host hides what a mailer's host field says of people: the detail of user+detail and
// the like. What looks like the name of a host stays. No check looks at it.
func (v *veil) host(s string) string {
	if v.redactor == nil || s == "" || strings.HasPrefix(s, "[") {
		return s
	}
	name := strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.") == ""
	if !name || !strings.Contains(s, ".") || v.mentions(s) || v.within(s) {
		return v.token(s)
	}
	return s
}

// within reports whether a text is a piece of one that was hidden.
func (v *veil) within(s string) bool {
	s = fold(s)
	for word := range v.words {
		if strings.Contains(word, s) {
			return true
		}
	}
	return false
}

// tls hides whom a client certificate is for. The issuer of one that was verified
// stays, as it is a certification authority.
func (v *veil) tls(t policy.TLS) replay.TLS {
	hidden := replay.TLS{
		Version: t.Version, Cipher: t.Cipher, Bits: t.Bits, Verify: t.Verify,
		CertSubject: t.CertSubject, CertIssuer: t.CertIssuer,
	}
	if v.redactor == nil {
		return hidden
	}
	verified := (t.Verify == "OK" || t.Verify == "TRUSTED") && t.CertIssuer != t.CertSubject
	if t.CertSubject != "" {
		hidden.CertSubject = v.token(t.CertSubject)
	}
	if t.CertIssuer != "" && !verified {
		hidden.CertIssuer = v.token(t.CertIssuer)
	}
	return hidden
}

// expect is the verdict that a replay should give. A reply that would tell what was
// hidden, or that JSON does not hold, is not compared; the action is.
func (v *veil) expect(stage policy.Stage, arg string, is verdict) replay.Expect {
	x := replay.Expect{Stage: string(stage), Arg: arg, Action: string(is.action)}
	if reply := v.text(is.reply.String()); utf8.ValidString(reply) && !v.mentions(reply) {
		x.Reply = reply
	}
	return x
}
