package traffic

import (
	"fmt"
	"strings"

	"milterd/policy/replay"
)

// reply is a line of a reply; of a reply of several lines the first one counts.
type reply struct {
	// ok: it is one, and has a code. Code 0 stands for a reply that is not there.
	ok   bool
	code int
	// last: no further line belongs to it.
	last bool
	// text is what comes behind the code.
	text string
}

// maxReply is how much of a reply is kept; a line has 512 octets (RFC 5321 section
// 4.5.3.1.5).
const maxReply = 1024

// parseReply takes a line of a reply apart: "250 2.1.0 text" or "250-text".
func parseReply(line []byte) reply {
	if len(line) < 3 {
		return reply{}
	}
	code := 0
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return reply{}
		}
		code = 10*code + int(c-'0')
	}
	r := reply{ok: true, code: code, last: len(line) == 3 || line[3] == ' '}
	if !r.last && line[3] != '-' {
		return reply{}
	}
	if len(line) > 4 {
		r.text = string(line[4:min(len(line), 4+maxReply)])
	}
	return r
}

func (r reply) accepted() bool { return r.code >= 200 && r.code < 300 }

func (r reply) refused() bool { return r.code >= 400 }

// enhanced is the enhanced code (RFC 3463) that the text begins with, if any.
func (r reply) enhanced() string {
	word, _, _ := strings.Cut(r.text, " ")
	if parts := strings.Split(word, "."); len(parts) != 3 || strings.Trim(word, "0123456789.") != "" || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return ""
	}
	return word
}

// codes are the code and the enhanced code, without the text, which may quote what
// the client said.
func (r reply) codes() string {
	return strings.TrimRight(fmt.Sprint(r.code)+" "+r.enhanced(), " ")
}

// String is the reply as milterd's configuration has it. sendmail puts the address of the
// command, as the client wrote it, and three dots before the text of some replies, its
// own and a filter's alike.
func (r reply) String() string {
	codes, text := fmt.Sprint(r.code), r.text
	if enhanced := r.enhanced(); enhanced != "" {
		codes += " " + enhanced
		text = strings.TrimPrefix(text[len(enhanced):], " ")
	}
	if strings.HasPrefix(text, "<") {
		if _, after, ok := strings.Cut(text, ">... "); ok {
			text = after
		}
	}
	return strings.TrimRight(codes+" "+text, " ")
}

// unreadable reports whether sendmail has not understood a command, or it came where
// it cannot: neither a ruleset nor a filter has been asked.
func (r reply) unreadable() bool {
	switch r.code {
	case 500, 501, 502, 504, 555:
		return true
	case 503:
		// 503 5.5.1 is what milterd says about AUTH on a port that takes none.
		return r.enhanced() != "5.5.1"
	}
	return false
}

// bySendmail reports whether it is the MTA's own reply, which no policy gives: about
// its resources, the mailbox, or the message's form. In doubt it is not, and the reply is
// compared.
func (r reply) bySendmail() bool {
	if r.unreadable() || r.code == 421 || r.code == 452 || r.code == 552 {
		return true
	}
	class, rest, _ := strings.Cut(r.enhanced(), ".")
	if class == "" {
		return false
	}
	switch rest {
	case "1.1", "1.2", "1.3": // no such user or host, bad syntax
		return true
	case "2.1", "4.0", "5.1", "0.0": // mailbox disabled, relaying temporarily denied, AUTH not available, no code given
		return false
	}
	switch subject, _, _ := strings.Cut(rest, "."); subject {
	case "2", "3", "4", "5", "6": // mailbox, mail system, network, protocol, content
		return true
	}
	return false
}

// expectation is what the verdict on a command should be, if the policy has a say.
func (r reply) expectation(stage, arg string) (replay.Expect, bool) {
	switch {
	case r.accepted():
		return replay.Expect{Stage: stage, Arg: arg, Reply: "250"}, true
	case r.refused() && !r.bySendmail():
		return replay.Expect{Stage: stage, Arg: arg, Reply: r.String()}, true
	}
	return replay.Expect{}, false
}
