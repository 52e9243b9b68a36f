package record

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"hash"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"milterd/policy"
	"milterd/policy/replay"
)

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

// messageRedactor redacts one message and remembers what it has hidden, as replies may
// repeat it. Without a redactor it changes nothing.
type messageRedactor struct {
	*redactor
	// hidden are the texts that were replaced, in lower case, also as replies have them.
	hidden map[string]bool
	// addresses are those of the message, with what they have become, both as replies
	// have them.
	addresses map[string]string
	// called is a HELO that was hidden, as replies have it.
	called string
	// longestFirst are the addresses, made when they are all there.
	longestFirst []string
	// fits is false when a redacted address would be read in another way.
	fits bool
}

func (r *redactor) message() *messageRedactor {
	if r == nil {
		return &messageRedactor{fits: true}
	}
	return &messageRedactor{redactor: r, hidden: make(map[string]bool), addresses: make(map[string]string), fits: true}
}

// token hides a text.
func (m *messageRedactor) token(text string) string {
	m.hidden[fold(text)] = true
	m.hidden[fold(policy.Printable(text))] = true
	return m.redactor.token(text)
}

// helo hides the local part of an address that a client calls itself. No host has such a
// name, and nothing is decided on it.
func (m *messageRedactor) helo(name string) string {
	if m.redactor == nil || !strings.Contains(name, "@") {
		return name
	}
	m.called = policy.Printable(name)
	return m.identity(name)
}

// host hides what a mailer's host field says of people: the detail of user+detail and
// the like. What looks like the name of a host stays. No check looks at it.
func (m *messageRedactor) host(s string) string {
	if m.redactor == nil || s == "" || strings.HasPrefix(s, "[") {
		return s
	}
	name := strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.") == ""
	if !name || !strings.Contains(s, ".") || m.mentions(s) || m.within(s) {
		return m.token(s)
	}
	return s
}

// within reports whether a text is a piece of one that was hidden.
func (m *messageRedactor) within(s string) bool {
	s = fold(s)
	for word := range m.hidden {
		if strings.Contains(word, s) {
			return true
		}
	}
	return false
}

// tls hides whom a client certificate is for. The issuer of one that was verified
// stays, as it is a certification authority.
func (m *messageRedactor) tls(t policy.TLS) replay.TLS {
	if m.redactor == nil {
		return t
	}
	verified := (t.Verify == "OK" || t.Verify == "TRUSTED") && t.CertIssuer != t.CertSubject
	t.CertSubject = m.wholly(t.CertSubject)
	if !verified {
		t.CertIssuer = m.wholly(t.CertIssuer)
	}
	return t
}

// expect is the verdict that a replay should give. A reply that would tell what was
// hidden or what the access table says of people, or that JSON does not hold, is not
// compared; the action is.
func (m *messageRedactor) expect(stage policy.Stage, arg string, is verdict) replay.Expect {
	x := replay.Expect{Stage: string(stage), Arg: arg, Action: string(is.action)}
	// A text that is an address as well may have become something else there.
	if is.tableText && m.redactor != nil || m.called != "" && strings.Contains(is.reply.String(), m.called) {
		return x
	}
	if reply := m.text(is.reply.String()); utf8.ValidString(reply) && !m.mentions(reply) {
		x.Reply = reply
	}
	return x
}

// text replaces the addresses of the message in a reply as replaying does, which
// makes the reply anew from the redacted ones.
func (m *messageRedactor) text(s string) string {
	if len(m.addresses) == 0 || !strings.Contains(s, "@") {
		return s
	}
	if m.longestFirst == nil {
		// One address may be the end of another.
		m.longestFirst = slices.SortedFunc(maps.Keys(m.addresses), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
		})
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		found := slices.IndexFunc(m.longestFirst, func(a string) bool { return strings.HasPrefix(s[i:], a) && alone(s, i, len(a)) })
		if found < 0 {
			b.WriteByte(s[i])
			i++
			continue
		}
		b.WriteString(m.addresses[m.longestFirst[found]])
		i += len(m.longestFirst[found])
	}
	return b.String()
}

// mentions reports whether a text has a hidden word in it, as a word of its own.
func (m *messageRedactor) mentions(s string) bool {
	folded := fold(s)
	for word := range m.hidden {
		for from := 0; ; {
			i := strings.Index(folded[from:], word)
			if i < 0 {
				break
			}
			if alone(folded, from+i, len(word)) {
				return true
			}
			from += i + 1
		}
	}
	return false
}

// alone reports whether the n octets at i are not a piece of a longer word.
func alone(s string, i, n int) bool {
	return (i == 0 || !wordByte(s[i-1]) || !wordByte(s[i])) &&
		(i+n == len(s) || !wordByte(s[i+n]) || !wordByte(s[i+n-1]))
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// fold writes ASCII letters small, and leaves every other octet alone.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
