package door

import (
	"slices"
	"strings"

	"milterd/policy"
)

// Bounds of what the line about a message names.
const (
	maxNamedRecipients = 5
	maxNamedShadows    = 8
)

// Message is what the line about a message tells of its commands.
type Message struct {
	// recipients are the first that were taken.
	recipients     [maxNamedRecipients]string
	taken, refused int
	// relay says why the client may relay to the first recipient that needs it.
	relay string
	// shadow is what checks in shadow mode would have done, each thing once.
	shadow []policy.Shadow
}

// Count takes the verdict of a command in, and reports whether the log has a line about it:
// it refuses, or is the last of the message.
func (m *Message) Count(v *policy.Verdict) bool {
	for _, s := range v.Shadow {
		// Reasons differ where the line would be the same.
		same := func(other policy.Shadow) bool { other.Reason = s.Reason; return other == s }
		if len(m.shadow) < maxNamedShadows && !slices.ContainsFunc(m.shadow, same) {
			m.shadow = append(m.shadow, s)
		}
	}
	switch {
	case v.Stage != policy.StageRcpt:
	case !v.Action.Accepts():
		m.refused++
	default:
		if m.taken < maxNamedRecipients {
			m.recipients[m.taken] = v.Arg
		}
		m.taken++
		if m.relay == "" {
			m.relay = v.Relay
		}
	}
	return v.Stage == policy.StageEOM || !v.Action.Accepts()
}

// Recipients is how many were counted.
func (m *Message) Recipients() int { return m.taken + m.refused }

// Line is what a verdict, which has been counted, has the log tell: about the refusal of its
// command, or about the message that it takes. Who sent it is not in it yet.
func (m *Message) Line(v *policy.Verdict) Line {
	line := Line{Action: v.Action, Check: v.Check, Rule: v.Rule, Reply: v.Reply.String(), Relay: v.Relay, Shadow: v.Shadow}
	switch v.Stage {
	case policy.StageEOM:
		line.Recipients, line.Refused, line.Relay = m.taken, m.refused, m.relay
		line.Edits, line.Shadow = v.EditList(), m.shadow
		if m.taken <= maxNamedRecipients {
			line.To, line.Recipients = strings.Join(m.recipients[:m.taken], " "), 0
		}
	case policy.StageRcpt:
		line.To = v.Arg
	}
	if !v.Action.Accepts() {
		line.Stage, line.Reason = v.Stage, v.Reason
	}
	return line
}
