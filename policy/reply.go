package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"milterd/policy/access"
	"milterd/policy/printable"
)

// maxReplyLine is the longest reply line, without its CR LF (RFC 5321 section
// 4.5.3.1.5).
const maxReplyLine = 510

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
// enhanced code must be of the same class, the reply must fit one line of
// 512 octets, and what the text has in braces must be a placeholder.
func ParseReply(s string) (Reply, error) {
	switch {
	case !printable.IsASCII(s):
		return Reply{}, fmt.Errorf("reply %s, expected printable ASCII on one line", printable.Quote(s))
	case len(s) > maxReplyLine:
		return Reply{}, fmt.Errorf("reply %s: %d octets, expected %d at most", printable.Quote(s), len(s), maxReplyLine)
	}
	codeText, rest, _ := strings.Cut(s, " ")
	enhanced, text, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(codeText)
	switch {
	case err != nil || len(codeText) != 3 || code < 400 || code > 599:
		return Reply{}, fmt.Errorf("reply %q: expected a code from 400 to 599 first", s)
	case !access.IsEnhancedCode(enhanced):
		return Reply{}, fmt.Errorf("reply %q: expected an enhanced code such as %d.7.1 after %d", s, code/100, code)
	case enhanced[0] != codeText[0]:
		return Reply{}, fmt.Errorf("reply %q: the enhanced code %s is not of the class of %d", s, enhanced, code)
	case text == "":
		return Reply{}, fmt.Errorf("reply %q: expected a text after the codes", s)
	}
	for _, word := range braces.FindAllString(text, -1) {
		switch {
		case !strings.HasSuffix(word, "}"):
			return Reply{}, fmt.Errorf("reply %q: { without }", s)
		case !slices.Contains(placeholders, word):
			return Reply{}, fmt.Errorf("reply %q: %s is not a placeholder, expected one of %s", s, word, strings.Join(placeholders, " "))
		}
	}
	return Reply{Code: code, Enhanced: enhanced, Text: text}, nil
}

// placeholders are those that a configured reply may hold; evaluation.expand has their values.
var placeholders = []string{"{addr}", "{name}", "{ptr}", "{helo}", "{sender}", "{recipient}", "{listed}", "{zone}", "{reason}", "{limit}", "{wait}"}

var braces = regexp.MustCompile(`\{[^}]*\}?`)
