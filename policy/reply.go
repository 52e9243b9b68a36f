package policy

import (
	"fmt"
	"regexp"
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
	switch {
	case text == "":
		return Reply{}, fmt.Errorf("reply %q: expected a text after the codes", s)
	case strings.ContainsAny(s, "\r\n\x00"):
		return Reply{}, fmt.Errorf("reply %q: expected one line without control characters", s)
	case len(s)+2 > maxReplyLine:
		return Reply{}, fmt.Errorf("reply %q: %d octets with CR LF, expected %d at most", s, len(s)+2, maxReplyLine)
	}
	return Reply{Code: code, Enhanced: enhanced, Text: text}, nil
}

// placeholders are those that a configured reply may hold; evaluation.expand has their values.
var placeholders = []string{"{addr}", "{name}", "{ptr}", "{helo}", "{sender}", "{recipient}", "{listed}", "{zone}", "{reason}", "{limit}", "{wait}"}

var placeholder = regexp.MustCompile(`\{[^}]*\}?`)

// CheckPlaceholders reports the first {word} in the text that would not be replaced, so
// that a typo is found when the configuration is loaded.
func (r Reply) CheckPlaceholders() error {
	for _, word := range placeholder.FindAllString(r.Text, -1) {
		switch {
		case !strings.HasSuffix(word, "}"):
			return fmt.Errorf("reply %q: { without }", r)
		case !slices.Contains(placeholders, word):
			return fmt.Errorf("reply %q: %s is not a placeholder, expected one of %s", r, word, strings.Join(placeholders, " "))
		}
	}
	return nil
}
