package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"hash"
	"strings"
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
// characters is a host, and stays, behind @ or % and before !; comments and quoted
// strings are looked into.
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
			if run := s[i:end]; host || beforeBang(s[end:], quoted) || public(run) {
				b.WriteString(run)
			} else {
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

// plainArgs are the ESMTP parameters that name nobody.
var plainArgs = map[string]bool{
	"SIZE": true, "BODY": true, "SMTPUTF8": true, "RET": true, "NOTIFY": true, "BY": true,
	"REQUIRETLS": true, "MT-PRIORITY": true, "HOLDFOR": true, "HOLDUNTIL": true, "RRVS": true,
}

// args hides what ESMTP parameters say about people.
func (v *veil) args(args []string) []string {
	if v.redactor == nil || len(args) == 0 {
		return args
	}
	hidden := make([]string, len(args))
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		switch upper := strings.ToUpper(name); {
		case !ok || value == "" || plainArgs[upper]:
			hidden[i] = arg
			if !ok && !plainArgs[upper] {
				hidden[i] = v.token(arg)
			}
		case upper == "AUTH":
			hidden[i] = name + "=" + toXtext(v.address(fromXtext(value)))
		case upper == "ORCPT":
			kind, address, _ := strings.Cut(value, ";")
			hidden[i] = name + "=" + kind + ";" + toXtext(v.address(fromXtext(address)))
		default:
			hidden[i] = name + "=" + v.token(value)
		}
	}
	return hidden
}

// fromXtext decodes xtext (RFC 3461 section 4).
func fromXtext(s string) string {
	if !strings.Contains(s, "+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			high, low := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

const hexDigits = "0123456789ABCDEF"

// toXtext encodes xtext.
func toXtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			b.WriteByte('+')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
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

// auth hides the identities of SMTP AUTH.
func (v *veil) auth(a policy.Auth) replay.Auth {
	return replay.Auth{Type: a.Type, Authen: v.address(a.Authen), Author: v.address(a.Author), SSF: a.SSF}
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
