package dryrun

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"milterd/policy"
	"milterd/policy/replay"
)

type tally struct {
	sessions, verdicts, expected int
	// differences counts the expectations that are not met, or the changes; changed
	// the sessions that have a change.
	differences, changed int
	kinds                counts
	// unreadable: something could not be read.
	unreadable bool
	// note is what a session's source does not tell, and so nor do those of the others
	// in it.
	note  string
	lacks lacking
}

func newTally() tally { return tally{kinds: newCounts()} }

func (t *tally) reset() {
	t.kinds.reset()
	*t = tally{kinds: t.kinds}
}

func (t *tally) addSession(s *replay.Session, outcome replay.Outcome) {
	t.sessions++
	t.verdicts += len(outcome.Results)
	t.expected += len(s.Expect)
	if t.note == "" && len(s.Notes) > 0 {
		t.note = s.Notes[0]
	}
}

// add counts the verdicts on a session by what decided them.
func (t *tally) add(s *replay.Session, outcome replay.Outcome) {
	t.addSession(s, outcome)
	t.differences += outcome.Differences()
	for i := range outcome.Results {
		v := &outcome.Results[i].Verdict
		t.kinds.add(kind{action: v.Action, code: v.Reply.Code, enhanced: v.Reply.Enhanced, check: v.Check, rule: v.Rule}, 1)
		for _, x := range v.Shadow {
			t.kinds.add(kind{shadow: "shadow ", action: x.Action, code: x.Reply.Code, enhanced: x.Reply.Enhanced, check: x.Check, rule: x.Rule}, 1)
		}
	}
}

func (t *tally) merge(block *tally) {
	t.sessions += block.sessions
	t.verdicts += block.verdicts
	t.expected += block.expected
	t.differences += block.differences
	t.changed += block.changed
	t.kinds.merge(&block.kinds)
	t.unreadable = t.unreadable || block.unreadable
	t.note = cmp.Or(t.note, block.note)
	t.lacks.merge(block.lacks)
}

// writeTable lists the verdicts by what decided them, the most frequent first.
func (t *tally) writeTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "more than %d sessions: only what differs is printed (-explain prints all, -session ID one)\n", mostPrinted)
	t.kinds.list(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// String is the last line of a dry run.
func (t *tally) String() string {
	text := count(t.sessions, "session") + ", " + count(t.verdicts, "verdict")
	switch {
	case t.expected == 0:
		return text
	case t.differences == 0:
		return text + ", all as expected (" + count(t.expected, "expectation") + ")"
	}
	return fmt.Sprintf("%s, %d of %s not met", text, t.differences, count(t.expected, "expectation"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// kind is what a verdict, or a change of one, is counted under. A verdict's text would
// often name the client; what decided does not.
type kind struct {
	// shadow is "shadow ", or empty for what is acted on.
	shadow string
	// action is what is done, next what would be with other rules, empty without any.
	action, next policy.Action
	code         int
	enhanced     string
	check, rule  string
}

func (k kind) compare(other kind) int {
	return cmp.Or(
		cmp.Compare(k.check, other.check), cmp.Compare(k.rule, other.rule), cmp.Compare(k.action, other.action), cmp.Compare(k.next, other.next),
		cmp.Compare(k.code, other.code), cmp.Compare(k.enhanced, other.enhanced), cmp.Compare(k.shadow, other.shadow))
}

// String is a kind as a summary lists it: what was done, or changes, and what decided.
func (k kind) String() string {
	what, width := k.shadow+string(k.action), 28
	if k.code != 0 {
		what += fmt.Sprintf(" %d %s", k.code, k.enhanced)
	}
	if k.next != "" {
		what, width = what+" -> "+string(k.next), 26
	}
	return policy.Printable(strings.TrimSpace(fmt.Sprintf("%-*s %-13s %s", width, what, k.check, k.rule)))
}
