package access

import "strings"

// Kind is what a value asks for.
type Kind uint8

const (
	// KindNone: nothing was found.
	KindNone Kind = iota
	KindOK
	KindRelay
	KindReject
	KindDiscard
	// KindQuarantine carries its reason in Text.
	KindQuarantine
	KindSkip
	KindFriend
	KindHater
	// KindError carries a Reply and a Text.
	KindError
)

// Reply holds the codes of a KindError value.
type Reply struct {
	Code     int
	Enhanced string
}

// defaultErrorReply is what sendmail makes of a text without a reply code.
var defaultErrorReply = Reply{Code: 553, Enhanced: "5.3.0"}

// Value is a right-hand side of the table.
type Value struct {
	Kind Kind
	// Reply is set for KindError.
	Reply Reply
	// Text is the reason of KindQuarantine and the reply text of KindError.
	Text string
}

// Accepts reports whether the value is OK or RELAY (class {Accept}).
func (v Value) Accepts() bool { return v.Kind == KindOK || v.Kind == KindRelay }

var keywords = map[string]Kind{
	"OK": KindOK, "RELAY": KindRelay, "REJECT": KindReject, "DISCARD": KindDiscard,
	"SKIP": KindSkip, "FRIEND": KindFriend, "HATER": KindHater,
}

// ParseValue reads a right-hand side as the rules behind the look-ups in
// check_relay, check_mail and check_rcpt do. A text that begins with a reply code
// which an SMTP server must not refuse with is one without a code.
func ParseValue(s string) Value {
	s = strings.TrimSpace(s)
	if len(s) <= len("DISCARD") {
		if kind, ok := keywords[strings.ToUpper(s)]; ok {
			return Value{Kind: kind}
		}
	}
	head, text, ok := strings.Cut(s, ":")
	text = strings.TrimSpace(text)
	if ok && text != "" {
		switch strings.ToUpper(strings.TrimSpace(head)) {
		case "QUARANTINE":
			return Value{Kind: KindQuarantine, Text: blanks(Unquote(text))}
		case "ERROR":
			if status, rest, ok := strings.Cut(text, ":"); ok && IsEnhancedCode(status) && strings.TrimSpace(rest) != "" {
				return parseError(status, rest)
			}
			return parseError("", text)
		}
	}
	return parseError("", s)
}

// parseError makes a reply of a text as sendmail's error mailer does: the codes
// at the beginning of the text count, then the status, then x.0.0.
func parseError(status, text string) Value {
	text = strings.TrimSpace(blanks(Unquote(text)))
	none := Value{Kind: KindError, Reply: defaultErrorReply, Text: text}
	if len(text) < 5 || !isDigits(text[:3]) || text[3] != ' ' {
		return none
	}
	code := int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0')
	if code < 400 || code > 599 {
		return none
	}
	rest := strings.TrimSpace(text[4:])
	if enhanced, after, ok := strings.Cut(rest, " "); ok && IsEnhancedCode(enhanced) {
		status, rest = enhanced, strings.TrimSpace(after)
	}
	if status == "" {
		status = text[:1] + ".0.0"
	}
	// RFC 3463 section 3: the classes must agree; the reply code's counts.
	status = text[:1] + status[1:]
	return Value{Kind: KindError, Reply: Reply{Code: code, Enhanced: status}, Text: rest}
}

// blanks makes a blank of all other white space, which to sendmail is the same.
func blanks(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && isSpace(byte(r)) {
			return ' '
		}
		return r
	}, text)
}

// IsEnhancedCode reports whether s is an enhanced status code (RFC 3463): class 2,
// 4 or 5, and two numbers of up to three digits.
func IsEnhancedCode(s string) bool {
	class, rest, ok := strings.Cut(s, ".")
	if !ok || class != "2" && class != "4" && class != "5" {
		return false
	}
	subject, detail, ok := strings.Cut(rest, ".")
	return ok && len(subject) <= 3 && len(detail) <= 3 && isDigits(subject) && isDigits(detail)
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// Unquote removes double quotes, and backslashes that quote the next
// character, as sendmail does before it sends a text.
func Unquote(s string) string {
	if !strings.ContainsAny(s, `"\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
