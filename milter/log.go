package milter

import (
	"slices"
	"strings"

	"milterd/milter/door"
	"milterd/policy"
)

// Bounds of what the line about a message names.
const (
	maxNamedRecipients = 5
	maxNamedShadows    = 8
)

// tally is what the line about a message tells of its commands.
type tally struct {
	// recipients are the first that were taken.
	recipients     [maxNamedRecipients]string
	taken, refused int
	// relay says why the client may relay to the first recipient that needs it.
	relay string
	// shadow is what checks in shadow mode would have done, each thing once.
	shadow []policy.Shadow
}

func (t *tally) count(v *policy.Verdict) {
	for _, s := range v.Shadow {
		// Reasons differ where the line would be the same.
		same := func(other policy.Shadow) bool { other.Reason = s.Reason; return other == s }
		if len(t.shadow) < maxNamedShadows && !slices.ContainsFunc(t.shadow, same) {
			t.shadow = append(t.shadow, s)
		}
	}
	switch {
	case v.Stage != policy.StageRcpt:
	case !v.Action.Accepts():
		t.refused++
	default:
		if t.taken < maxNamedRecipients {
			t.recipients[t.taken] = v.Arg
		}
		t.taken++
		if t.relay == "" {
			t.relay = v.Relay
		}
	}
}

// log writes one line about a refusal, or about a message that was taken.
func (s *session) log(v *policy.Verdict) {
	s.tally.count(v)
	if !v.Action.Accepts() || v.Stage == policy.StageEOM {
		s.logLine(v)
	}
	door.LogTrace(s.ctx, s.server.logger, "", s.queueID, &s.client, v)
}

func (s *session) logLine(v *policy.Verdict) {
	line := door.Line{
		Action: v.Action, Queue: s.queueID, Client: s.client, Helo: s.helo, Auth: s.auth, From: door.SenderText(s.from),
		Check: v.Check, Rule: v.Rule, Reply: v.Reply.String(), Relay: v.Relay,
	}
	t := &s.tally
	if v.Stage == policy.StageEOM {
		line.Recipients, line.Refused, line.Relay = t.taken, t.refused, t.relay
		line.Edits, line.Shadow = v.EditList(), t.shadow
		if t.taken <= maxNamedRecipients {
			line.To, line.Recipients = strings.Join(t.recipients[:t.taken], " "), 0
		}
	}
	if !v.Action.Accepts() {
		line.Stage, line.Reason = v.Stage, v.Reason
	}
	if v.Stage == policy.StageRcpt {
		line.To = v.Arg
	}
	if v.Stage != policy.StageEOM {
		line.Shadow = v.Shadow
	}
	line.Log(s.ctx, s.server.logger)
	if s.server.config.Noted != nil {
		s.server.config.Noted(&line)
	}
}
