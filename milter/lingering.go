package milter

import (
	"slices"
	"strings"

	gomilter "github.com/d--j/go-milter"

	"milterd/policy"
)

// muddle is why a message is put off at its end: the MTA may not send it to the recipients
// that were accepted, and to no others. A client that comes back leaves out the recipient
// that it had a 5xx reply for.
type muddle struct {
	reply  policy.Reply
	reason string
}

var (
	refusedStays = &muddle{
		policy.Reply{Code: 451, Enhanced: "4.1.3", Text: "A refused recipient has a comma in its address. Please send to the others without it"},
		"the MTA may send the message to a recipient that was refused",
	}
	acceptedGoes = &muddle{
		policy.Reply{Code: 451, Enhanced: "4.5.3", Text: "A refused recipient is an accepted one by another name. Please send to the others without it"},
		"the MTA may not send the message to a recipient that was accepted: another name of it was refused",
	}
)

// mailbox is where the MTA delivers what is for a recipient.
type mailbox struct{ mailer, host, addr string }

// lingers reports whether an MTA may send the message to a recipient that a filter has
// refused. sendmail puts a recipient on its list before it asks its filters, and looks for
// a refused one there as in a list of addresses (removefromlist). If a comma is not in
// quotes or in a comment, it finds half an address, and takes nothing off the list.
func lingers(to string) bool {
	for to != "" {
		kind, n := policy.CutPiece(to, "")
		switch {
		case kind == policy.PieceBroken:
			return strings.Contains(to, ",")
		case kind == policy.PieceWord && strings.Contains(to[:n], ","):
			return true
		}
		to = to[n:]
	}
	return false
}

// noteRecipient remembers the mailbox of an accepted recipient, and a refused one that
// muddles the MTA's list. sendmail puts a mailbox on its list once, and takes it off by any
// of its names.
func (s *session) noteRecipient(r *policy.Recipient, response **gomilter.Response) {
	box := mailbox{r.Mailer, r.Host, r.Addr}
	if box.mailer == "" {
		box.addr = strings.ToLower(r.To)
	}
	switch {
	case (*response).Continue():
		if !r.Refused() {
			s.accepted = append(s.accepted, box)
		}
	case lingers(r.To):
		s.muddle = refusedStays
	case s.muddle == nil && slices.Contains(s.accepted, box):
		s.muddle = acceptedGoes
	}
}
