package dryrun

import (
	"fmt"
	"io"

	"milterd/policy"
	"milterd/policy/replay"
)

// notReached stands for the verdict of a command that a session does not come to.
const notReached policy.Action = "not reached"

// compare decides a session with the rules in force and with others, and reports what
// would change.
func (r *run) compare(b *block, s *replay.Session) error {
	before, recorded, err := r.rules.frozen(s)
	if err != nil {
		return err
	}
	after, newRecorded, err := r.Against.frozen(s)
	if err != nil {
		return err
	}
	old := replay.RunUntraced(r.rules.policy, s, before, nil)
	var next replay.Outcome
	if r.recount != nil {
		next = r.recount.session(&b.asked, r.Against, s, after)
	} else {
		next = replay.RunUntraced(r.Against.policy, s, after, nil)
	}
	changes := replay.Compare(old, next)
	b.tally.addChanges(s, old, changes)
	lacks := b.tally.lacks.addMore(s, recorded, newRecorded)
	// Writing into a buffer cannot fail.
	if r.Format == JSON {
		_ = replay.WriteChangesJSON(&b.text, s, changes)
	} else {
		_ = replay.WriteChanges(&b.text, s, changes, lacks)
	}
	return nil
}

// addChanges counts the changes of a session. A change is counted under what was done
// and would be, and the check and rule that make it so.
func (t *tally) addChanges(s *replay.Session, old replay.Outcome, changes []replay.Change) {
	t.addSession(s, old)
	if len(changes) > 0 {
		t.changed++
	}
	t.differences += len(changes)
	for _, c := range changes {
		k := kind{action: actionOf(c.Old), next: actionOf(c.New)}
		// What refuses now is why; if nothing does, what refused before.
		for _, v := range []*policy.Verdict{c.Old, c.New} {
			if v != nil && v.Check != "" {
				k.check, k.rule = v.Check, v.Rule
			}
		}
		t.kinds.add(k, 1)
	}
}

func actionOf(v *policy.Verdict) policy.Action {
	if v == nil {
		return notReached
	}
	return v.Action
}

// writeChanges lists the changes by what they are and what makes them, the most
// frequent first, and sums up. besides says what is told elsewhere.
func (t *tally) writeChanges(w io.Writer, besides string) {
	t.kinds.list(w)
	text := fmt.Sprintf("%s, %s: ", count(t.sessions, "session"), count(t.verdicts, "verdict"))
	if t.differences == 0 {
		text += "nothing changes" + besides
	} else {
		text += fmt.Sprintf("%s in %s", count(t.differences, "change"), count(t.changed, "session"))
	}
	fmt.Fprintln(w, text)
}

// finishAgainst writes what comes behind the last change: how many there are, and what
// other limits would have stopped.
func (r *run) finishAgainst() error {
	if r.Format == Text && r.total.sessions > 0 {
		besides := ""
		if r.recount != nil {
			besides = " but for limits"
		}
		r.total.writeChanges(r.out, besides)
	}
	if r.recount == nil || r.total.sessions == 0 {
		return nil
	}
	counted, err := r.recount.count()
	if err != nil {
		return err
	}
	if counted.refused > 0 {
		r.total.differences++
	}
	if r.Format == JSON {
		return counted.writeJSON(r.out)
	}
	counted.writeText(r.out)
	return nil
}
