package policy

import (
	"fmt"
	"strings"

	"milterd/header"
	"milterd/policy/access"
	"milterd/policy/printable"
)

// Stage is the point of the SMTP dialogue that a verdict is given at.
type Stage string

const (
	StageMail Stage = "mail"
	StageRcpt Stage = "rcpt"
	StageEOM  Stage = "eom"
)

// Action is what the MTA is told to do.
type Action string

// The actions, as they appear in -json output.
const (
	ActionAccept     Action = "accept"
	ActionReject     Action = "reject"     // 5xx reply
	ActionTempfail   Action = "tempfail"   // 4xx reply
	ActionDiscard    Action = "discard"    // 250 to the client, message dropped
	ActionQuarantine Action = "quarantine" // accepted, held in the quarantine queue
	// ActionEdit is for Shadow only: a header that would have been changed.
	ActionEdit Action = "edit"
)

// Accepts reports whether a message, or a recipient of it, goes on.
func (a Action) Accepts() bool { return a == ActionAccept || a == ActionQuarantine }

// Destination says whether a recipient is one that this client may send to. The zero value
// entitles to nothing.
type Destination uint8

const (
	DestinationDenied  Destination = iota // the relay check refuses it, or is off
	DestinationLocal                      // it is delivered on this host
	DestinationRelayed                    // it is relayed, for everybody (class R, To: RELAY) or for this client
)

// Verdict is the decision for one MAIL or RCPT command or one message, with
// everything that led to it.
type Verdict struct {
	Stage  Stage
	Arg    string // the address of the command; empty at the end of a message
	Action Action
	// Reply is what the client is told; zero for ActionAccept and
	// ActionDiscard. For ActionQuarantine, Text is the reason.
	Reply     Reply
	TableText bool   // the text of Reply stands in the access table; it may be about people
	Check     string // the check that decided; empty when every check passed
	// Rule is what in the configuration decided: "FILE:LINE: KEY VALUE" for an
	// access entry, else the name of the configured rule.
	Rule   string
	Reason string // why, in one sentence, in an administrator's words
	Relay  string // why the client may relay, if that was asked and it may
	// Spared: what entitles the client is a login, a certificate or a relay grant. Such a
	// client is spared what sendmail's FEATURE(delay_checks) has put off.
	Spared bool
	// Destination is what the relay check, enforced or in shadow mode, made of the
	// recipient.
	Destination Destination
	Shadow      []Shadow      // the refusals that checks in shadow mode would have given
	Edits       []header.Edit // the changes to the message's header, at its end only
	Trace       []Step        // one for each check that ran, in order
}

// Shadow is what a check in shadow mode would have done; the fields are those of Verdict.
type Shadow struct {
	Action              Action
	Reply               Reply
	Check, Rule, Reason string
}

// String is the one-line form, without the reason.
func (s Shadow) String() string {
	return fmt.Sprintf("%s %s (%s, %s)", s.Action, s.Reply, s.Check, s.Rule)
}

// EditList names the fields that are changed: "Received 1, X-Mailer 1 deleted".
func (v *Verdict) EditList() string { return editList(v.Edits) }

// Step is one check's part in a verdict.
type Step struct {
	// Check is the check's name: port, recipient, relay, sender_login, own_sender, friend,
	// sender, sender_domain, client, rdns, dnsbl, limits or received.
	Check string
	// Result is pass, accept, exempt, scrub or the action the check asked for. In shadow
	// mode "shadow " stands before an action.
	Result  string
	Reason  string
	Probes  []access.Probe // the keys of the access table that were tried, in order
	Answers []string       // the DNS answers used, in words
}

// String is the one-line form of a step, for the log:
//
//	relay pass: REASON; KEY: not found; KEY: line 3: VALUE; DNS ANSWER
func (s Step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", s.Check, s.Result, s.Reason)
	for _, p := range s.Probes {
		if p.Line == 0 {
			fmt.Fprintf(&b, "; %s: not found", p.Name())
		} else {
			fmt.Fprintf(&b, "; %s: line %d: %s", p.Name(), p.Line, p.Value)
		}
	}
	for _, a := range s.Answers {
		b.WriteString("; " + a)
	}
	return Printable(b.String())
}

// String is the one-line form of a verdict: the live log and -check print it.
func (v Verdict) String() string {
	var b strings.Builder
	b.WriteString(string(v.Stage))
	if v.Stage != StageEOM {
		fmt.Fprintf(&b, " <%s>", v.Arg)
	}
	fmt.Fprintf(&b, ": %s", v.Action)
	if text := v.Reply.String(); text != "" {
		b.WriteString(" " + text)
	}
	switch {
	case v.Check != "" && v.Rule != "":
		fmt.Fprintf(&b, " (%s, %s)", v.Check, v.Rule)
	case v.Check != "":
		fmt.Fprintf(&b, " (%s)", v.Check)
	}
	if v.Reason != "" {
		fmt.Fprintf(&b, ": %s", v.Reason)
	}
	if len(v.Edits) > 0 {
		fmt.Fprintf(&b, " [edits: %s]", v.EditList())
	}
	for _, s := range v.Shadow {
		fmt.Fprintf(&b, " [shadow: %s]", s)
	}
	return Printable(b.String())
}

// Printable is the text with question marks in place of what a terminal or a log
// might act on.
func Printable(s string) string { return printable.Text(s) }
