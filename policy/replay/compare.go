package replay

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"milterd/policy"
)

// Change is a command, or the end of a message, that two policies decide
// differently.
type Change struct {
	Message int
	Stage   policy.Stage
	Arg     string
	// Old and New are the verdicts, nil if the command is not reached: a client
	// whose MAIL is refused has no recipients.
	Old, New *policy.Verdict
}

// Compare lists what changes from one outcome of a session to another, in the order
// of its commands. Verdicts are the same if the client, the message and the
// queue see no difference: action, reply and edits. Which check gives them, and
// what checks in shadow mode would do, may differ.
func Compare(old, new Outcome) []Change {
	var changes []Change
	add := func(r *Result, was, is *policy.Verdict) {
		changes = append(changes, Change{Message: r.Message, Stage: r.Verdict.Stage, Arg: r.Verdict.Arg, Old: was, New: is})
	}
	for i, j := 0, 0; i < len(old.Results) || j < len(new.Results); {
		switch order := compareOrder(old.Results[i:], new.Results[j:]); {
		case order < 0:
			add(&old.Results[i], &old.Results[i].Verdict, nil)
			i++
		case order > 0:
			add(&new.Results[j], nil, &new.Results[j].Verdict)
			j++
		default:
			was, is := &old.Results[i].Verdict, &new.Results[j].Verdict
			if !sameForTheClient(was, is) {
				add(&old.Results[i], was, is)
			}
			i++
			j++
		}
	}
	return changes
}

func compareOrder(old, new []Result) int {
	switch {
	case len(old) == 0:
		return 1
	case len(new) == 0:
		return -1
	}
	return cmp.Or(cmp.Compare(old[0].Message, new[0].Message), cmp.Compare(old[0].Step, new[0].Step))
}

func sameForTheClient(a, b *policy.Verdict) bool {
	return a.Action == b.Action && a.Reply == b.Reply && slices.Equal(a.Edits, b.Edits)
}

// WriteChanges prints what changes in a session. lacks is a question, "NAME TYPE",
// that was asked and that the session's dns lines do not answer; empty for none.
func WriteChanges(w io.Writer, s *Session, changes []Change, lacks string) error {
	p := printer{w: w}
	for _, c := range changes {
		p.printf("%s %s %s", s.ID, cmp.Or(s.Connect.Addr, "local"), c.Stage)
		if c.Stage != policy.StageEOM {
			p.printf(" <%s>", c.Arg)
		}
		if lacks != "" {
			p.printf(" (not certain: %s is not in the recording)", lacks)
		}
		p.printf("\n    - %s\n    + %s\n", withoutPlace(c.Old), withoutPlace(c.New))
	}
	return p.err
}

// withoutPlace is a verdict without the command that stands above it already.
func withoutPlace(v *policy.Verdict) string {
	if v == nil {
		return "not reached"
	}
	place := string(v.Stage) + ": "
	if v.Stage != policy.StageEOM {
		place = string(v.Stage) + " <" + policy.Printable(v.Arg) + ">: "
	}
	return strings.TrimPrefix(v.String(), place)
}

// The objects of -json output with -against, one a change.
type (
	jsonChange struct {
		jsonPlace
		Client string     `json:"client"`
		Old    *jsonGiven `json:"old"`
		New    *jsonGiven `json:"new"`
	}
	jsonGiven struct {
		jsonDecision
		Reason string     `json:"reason"`
		Edits  []jsonEdit `json:"edits"`
	}
)

// WriteChangesJSON prints what changes in a session as one JSON object a line. A
// verdict that is not reached is null.
func WriteChangesJSON(w io.Writer, s *Session, changes []Change) error {
	e := newEncoder(w)
	for _, c := range changes {
		place := jsonPlace{s.ID, s.File, c.Message, string(c.Stage), c.Arg}
		if err := e.Encode(jsonChange{place, s.Connect.Addr, given(c.Old), given(c.New)}); err != nil {
			return err
		}
	}
	return nil
}

func given(v *policy.Verdict) *jsonGiven {
	if v == nil {
		return nil
	}
	return &jsonGiven{decision(v.Action, v.Reply, v.Check, v.Rule), v.Reason, jsonEdits(v.Edits)}
}
