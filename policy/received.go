package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"milterd/header"
)

// ReceivedRule says whether the header of mail that came in on a port is
// scrubbed.
type ReceivedRule string

// The rules for the header on a port; empty: as Scrub says.
const (
	ReceivedScrub ReceivedRule = "scrub" // all mail
	ReceivedKeep  ReceivedRule = "keep"  // none
)

// Scrub says whose mail loses the traces of its client, and which.
type Scrub struct {
	Mode Mode
	// Authenticated: mail of clients that used a trusted mechanism.
	Authenticated bool
	// Relayed: mail with a recipient that is not ours, from a client that may
	// relay, whatever entitles it.
	Relayed bool
	// Granted: mail of clients whose address holds a relay grant.
	Granted bool
	// Networks: mail of clients in them.
	Networks []netip.Prefix
	// Rules say what is taken out.
	Rules header.Rules
}

// Scrubs reports whether the header of any mail may have to be changed.
func (p *Policy) Scrubs() bool {
	r := p.Received
	on := r.Mode != ModeOff
	some := r.Authenticated || r.Relayed || r.Granted || len(r.Networks) > 0
	for _, port := range p.Ports {
		mode := port.Checks["received"]
		on = on || mode != "" && mode != ModeOff
		some = some || port.Received == ReceivedScrub
	}
	return on && some
}

// Visibility says whether the header of a message may show the client that it came from.
type Visibility uint8

// The answers. The zero value claims nothing.
const (
	// VisibilityUnknown: it rests on a relay grant that cannot be asked for now.
	VisibilityUnknown Visibility = iota
	// ClientShown: the header stays as it is.
	ClientShown
	// ClientHidden: the traces of the client go.
	ClientHidden
)

// Visibility implements Evaluator. Only what is enforced counts.
func (s *Session) Visibility() Visibility {
	if s.mode("received", s.policy.Received.Mode) != ModeEnforce {
		return ClientShown
	}
	v, _ := s.visibility()
	return v
}

// Visibility is what Evaluator.Visibility would say of a message before its end: from
// this client, and to this recipient if it is known yet. Whether the message is refused
// does not count, as nothing becomes of the answer then.
func (p *Policy) Visibility(c Connection, auth Auth, rcpt *Recipient, answers Answers) Visibility {
	if !p.Scrubs() {
		return ClientShown
	}
	s := p.newSession(&c, answers)
	s.message.auth = auth
	if rcpt != nil && p.Received.Relayed {
		e := s.evaluateRecipient(rcpt)
		// Its refusal does not count, but it finds out what entitles the client.
		_ = s.findRelay(e)
		e.noteRelay()
	}
	return s.Visibility()
}

// visibility also says why the client is hidden.
func (s *Session) visibility() (v Visibility, reason string) {
	switch reason := s.scrubReason(); {
	case reason != "":
		return ClientHidden, reason
	case s.port.Received == "" && s.policy.Received.Granted && s.grant() == GrantTemporary:
		return VisibilityUnknown, ""
	}
	return ClientShown, ""
}

func (s *Session) scrubReason() string {
	r := &s.policy.Received
	switch s.port.Received {
	case ReceivedKeep:
		return ""
	case ReceivedScrub:
		return s.listener() + ".received: scrub"
	}
	switch addr := s.conn.Addr; {
	case r.Authenticated && s.trustedAuth():
		return s.message.auth.String() + " (received.whose: authenticated)"
	case r.Relayed && s.message.relayed:
		return "relayed for a client that may (received.whose: relayed)"
	case r.Granted && s.grant() == GrantHeld:
		return "the client's address holds a relay grant (received.whose: granted)"
	case addr.IsValid():
		i := slices.IndexFunc(r.Networks, func(n netip.Prefix) bool { return n.Contains(addr.Unmap().WithZone("")) })
		if i >= 0 {
			return "the client is in " + r.Networks[i].String() + " (received.whose)"
		}
	}
	return ""
}

// scrub plans the changes to the header of a message that is taken.
func (s *Session) scrub(v *Verdict, fields []HeaderField) {
	mode := s.mode("received", s.policy.Received.Mode)
	if mode == ModeOff || !s.policy.Scrubs() {
		return
	}
	step := Step{Check: "received", Result: "pass", Reason: "not one of those whose header is scrubbed"}
	switch visibility, why := s.visibility(); {
	case visibility == ClientHidden:
		edits, kept := header.Plan(fields, &s.policy.Received.Rules, s.message.mail.From)
		step.Result, step.Reason = "scrub", why
		if mode == ModeEnforce {
			v.Edits = edits
		} else {
			step.Result = "shadow scrub"
			if len(edits) > 0 {
				v.Shadow = append(v.Shadow, Shadow{Action: ActionEdit, Reply: Reply{Text: editList(edits)}, Check: "received", Rule: "received", Reason: why})
			}
		}
		step.Answers = describeEdits(edits, kept)
	case visibility == VisibilityUnknown && mode == ModeEnforce:
		v.Action, v.Check, v.Rule = ActionTempfail, "received", "received.whose: granted"
		v.Reply, v.Reason = s.policy.Checks.Relay.GrantTemp, GrantTemporary.doubt()
		step.Result, step.Reason = string(v.Action), v.Reason
	}
	s.trace(v, step)
}

// describeEdits puts a plan in words, for the trace.
func describeEdits(edits []header.Edit, kept []header.Kept) []string {
	var words []string
	for _, e := range edits {
		if e.Delete {
			words = append(words, fmt.Sprintf("%s %d is deleted: %s", e.Name, e.Index, unfolded(e.Old)))
			continue
		}
		words = append(words, fmt.Sprintf("%s %d was: %s", e.Name, e.Index, unfolded(e.Old)), fmt.Sprintf("%s %d is now: %s", e.Name, e.Index, unfolded(e.Value)))
	}
	for _, k := range kept {
		words = append(words, fmt.Sprintf("%s %d is left alone: %s", k.Name, k.Index, k.Reason))
	}
	return words
}

// unfolded writes a folded value in one line.
func unfolded(value string) string {
	return strings.Join(strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' || r == '\t' || r == ' ' }), " ")
}

// editList names the fields that are changed: "Received 1, X-Mailer 1 deleted".
func editList(edits []header.Edit) string {
	names := make([]string, len(edits))
	for i, e := range edits {
		names[i] = fmt.Sprintf("%s %d", e.Name, e.Index)
		if e.Delete {
			names[i] += " deleted"
		}
	}
	return strings.Join(names, ", ")
}

// GrantState says whether the client's address holds a relay grant.
type GrantState uint8

// The states. The zero value claims nothing.
const (
	GrantNone GrantState = iota
	// GrantHeld: it may relay.
	GrantHeld
	// GrantTemporary: the store of the grants cannot be asked for now, and the client
	// held one when it last could.
	GrantTemporary
	// GrantUnknown: the store cannot be asked for now, and the client was not seen with a
	// grant. Its mail does not wait for the store, but no refusal is for good that a
	// grant would lift.
	GrantUnknown
)

// doubt says what cannot be asked for now; empty if the state is known.
func (g GrantState) doubt() string {
	switch g {
	case GrantTemporary:
		return "the client held a relay grant, and whether it still does cannot be asked for now"
	case GrantUnknown:
		return "whether the client holds a relay grant cannot be asked for now"
	}
	return ""
}

// unlessGranted is f, unless f refuses for good what a relay grant would lift, and that
// grant, as state says it, cannot be asked for now: then the client is told to come again.
func (s *Session) unlessGranted(e *evaluation, f finding, state func() GrantState) finding {
	if !f.refuses() || f.action == ActionTempfail {
		return f
	}
	if doubt := state().doubt(); doubt != "" {
		return e.refusal(s.policy.Checks.Relay.GrantTemp, "checks.relay.grant_temp", doubt+": "+f.reason)
	}
	return f
}

// grant says whether the client holds a relay grant. One that was seen counts for
// the rest of the connection; sendmail asks about it anew each time. An entry of
// the access table for this very address that refuses it outranks a grant.
func (s *Session) grant() GrantState {
	if s.granted == GrantHeld || s.clientAddr == "" {
		return s.granted
	}
	state := s.answers.Grant()
	if state == GrantNone || s.policy.Access.OutranksGrant(s.clientAddr) {
		return GrantNone
	}
	s.granted = state
	return state
}
