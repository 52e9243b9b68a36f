package milter

import (
	"strings"

	gomilter "github.com/d--j/go-milter"

	"milterd/policy"
)

// lingeringReply is given at the end of a message that would go to a recipient which was
// refused. A client that comes back leaves out the recipient that it had a 5xx reply for.
var lingeringReply = policy.Reply{Code: 451, Enhanced: "4.1.3", Text: "A refused recipient has a comma in its address. Please send to the others without it"}

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

// noteLingering remembers a refused recipient that the MTA may keep.
func (s *session) noteLingering(to string, response **gomilter.Response) {
	if !(*response).Continue() && lingers(to) {
		s.lingering = true
	}
}
