package milter

import (
	gomilter "github.com/d--j/go-milter"

	"milterd/policy"
	"milterd/policy/printable"
)

// maxReplyLine is the longest SMTP reply line, CR LF included (RFC 5321
// section 4.5.3.1.5).
const maxReplyLine = 512

// failureReply is given if milterd itself cannot decide: the client comes back, and
// nothing is lost or wrongly let through.
var failureReply = policy.Reply{Code: 451, Enhanced: "4.3.0", Text: "Temporary system failure. Please try again later"}

// tooManyRecipients is given to the recipients above the limit of one message.
var tooManyRecipients = policy.Reply{Code: 452, Enhanced: "4.5.3", Text: "Too many recipients"}

// responseTo turns a verdict into what the MTA is told. ok is false if the verdict is
// not one that can be given; the response is then a temporary failure.
//
// Accept becomes CONTINUE: ACCEPT at MAIL would end the filtering of the whole
// message. Quarantine becomes CONTINUE too, as the MTA takes the order to
// quarantine only at the end of the message, where EndOfMessage gives it.
func responseTo(v *policy.Verdict) (response *gomilter.Response, ok bool) {
	switch v.Action {
	case policy.ActionAccept, policy.ActionQuarantine:
		return gomilter.RespContinue, true
	case policy.ActionDiscard:
		return gomilter.RespDiscard, true
	case policy.ActionReject, policy.ActionTempfail:
		if response, ok := replyResponse(v.Reply); ok {
			return response, true
		}
	}
	return failure(), false
}

// failure is the response if there is no verdict.
func failure() *gomilter.Response {
	if response, ok := replyResponse(failureReply); ok {
		return response
	}
	return gomilter.RespTempFail
}

// replyResponse makes a response with a reply code. Only 4xx and 5xx can be given, and
// an enhanced code must be of the same class (RFC 2034): sendmail replaces
// anything else with a permanent failure of its own.
func replyResponse(r policy.Reply) (response *gomilter.Response, ok bool) {
	if r.Code < 400 || r.Code > 599 {
		return nil, false
	}
	text := r.Text
	if r.Enhanced != "" {
		if r.Enhanced[0] != byte('0'+r.Code/100) {
			return nil, false
		}
		text = r.Enhanced + " " + text
	}
	text = replyText(text, maxReplyLine-len("550 ")-len("\r\n"))
	response, err := gomilter.RejectWithCodeAndReason(uint16(r.Code), text)
	if err != nil {
		return nil, false
	}
	return response, true
}

// replyText makes s one line of ASCII of at most limit octets. A placeholder in a
// configured reply can bring in whatever a peer sends as an address or a name.
func replyText(s string, limit int) string {
	s = printable.ASCII(s)
	return s[:min(len(s), limit)]
}
