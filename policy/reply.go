package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"milterd/policy/access"
)

// maxReplyLine is the longest reply line, CR LF included (RFC 5321 section
// 4.5.3.1.5).
const maxReplyLine = 512

// Reply is an SMTP reply: a basic code, an enhanced code (RFC 3463) and text.
type Reply struct {
	Code     int
	Enhanced string
	Text     string
}

// String is the reply as the client sees it, e.g. "550 5.7.1 Access denied".
func (r Reply) String() string {
	if r.Code == 0 {
		return r.Text
	}
	if r.Enhanced == "" {
		return fmt.Sprintf("%d %s", r.Code, r.Text)
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text)
}

// Temporary reports whether the reply asks the client to try again (4xx).
func (r Reply) Temporary() bool { return r.Code >= 400 && r.Code < 500 }

// ParseReply reads "CODE ENHANCED TEXT". The code must be 4xx or 5xx, the
// enhanced code must be of the same class, and the reply must fit one line of
// 512 octets.
func ParseReply(s string) (Reply, error) {
	codeText, rest, _ := strings.Cut(s, " ")
	code, err := strconv.Atoi(codeText)
	if err != nil || len(codeText) != 3 || code < 400 || code > 599 {
		return Reply{}, fmt.Errorf("reply %q: expected a code from 400 to 599 first", s)
	}
	enhanced, text, _ := strings.Cut(rest, " ")
	if !access.IsEnhancedCode(enhanced) {
		return Reply{}, fmt.Errorf("reply %q: expected an enhanced code such as %d.7.1 after %d", s, code/100, code)
	}
	if enhanced[0] != codeText[0] {
		return Reply{}, fmt.Errorf("reply %q: the enhanced code %s is not of the class of %d", s, enhanced, code)
	}
	r := Reply{Code: code, Enhanced: enhanced, Text: text}
	if text == "" {
		return Reply{}, fmt.Errorf("reply %q: expected a text after the codes", s)
	}
	if err := r.checkLine(); err != nil {
		return Reply{}, fmt.Errorf("reply %q: %w", s, err)
	}
	return r, nil
}

func (r Reply) checkLine() error {
	s := r.String()
	if strings.ContainsAny(s, "\r\n\x00") {
		return errors.New("expected one line without control characters")
	}
	if len(s)+2 > maxReplyLine {
		return fmt.Errorf("%d octets with CR LF, expected %d at most", len(s)+2, maxReplyLine)
	}
	return nil
}

// Placeholders that a configured reply may hold; Expand replaces them.
var placeholders = []string{"{addr}", "{name}", "{ptr}", "{helo}", "{sender}", "{recipient}", "{listed}", "{zone}", "{reason}", "{limit}", "{wait}"}

// CheckPlaceholders reports the first {word} in the text that Expand would not
// replace, so that a typo is found when the configuration is loaded.
func (r Reply) CheckPlaceholders() error {
	rest := r.Text
	for {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			return nil
		}
		end := strings.IndexByte(rest[open:], '}')
		if end < 0 {
			return fmt.Errorf("reply %q: { without }", r)
		}
		word := rest[open : open+end+1]
		if !slices.Contains(placeholders, word) {
			return fmt.Errorf("reply %q: %s is not a placeholder, expected one of %s", r, word, strings.Join(placeholders, " "))
		}
		rest = rest[open+end+1:]
	}
}

// expand replaces the placeholders in the text.
func (r Reply) expand(values *strings.Replacer) Reply {
	if strings.IndexByte(r.Text, '{') >= 0 {
		r.Text = values.Replace(r.Text)
	}
	return r
}
