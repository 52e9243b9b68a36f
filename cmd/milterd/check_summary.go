package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"milterd/policy"
	"milterd/policy/replay"
)

// tally counts what a dry run did.
type tally struct {
	sessions, verdicts, expected, differences int
	// outcomes counts the verdicts by what decided them.
	outcomes counts[outcomeKind]
}

// outcomeKind is what a verdict is counted under. Its text would often name the
// client; what decided does not.
type outcomeKind struct {
	shadow      bool
	action      policy.Action
	code        int
	enhanced    string
	check, rule string
}

func newTally() tally { return tally{outcomes: newCounts[outcomeKind]()} }

func (t *tally) reset() {
	t.outcomes.reset()
	*t = tally{outcomes: t.outcomes}
}

func (t *tally) add(s *replay.Session, outcome replay.Outcome) {
	t.sessions++
	t.verdicts += len(outcome.Results)
	t.expected += len(s.Expect)
	t.differences += outcome.Differences()
	for i := range outcome.Results {
		v := &outcome.Results[i].Verdict
		t.outcomes.add(outcomeKind{action: v.Action, code: v.Reply.Code, enhanced: v.Reply.Enhanced, check: v.Check, rule: v.Rule}, 1)
		for _, x := range v.Shadow {
			t.outcomes.add(outcomeKind{shadow: true, action: x.Action, code: x.Reply.Code, enhanced: x.Reply.Enhanced, check: x.Check, rule: x.Rule}, 1)
		}
	}
}

// merge adds what a block of sessions came to.
func (t *tally) merge(block *tally) {
	t.sessions += block.sessions
	t.verdicts += block.verdicts
	t.expected += block.expected
	t.differences += block.differences
	t.outcomes.merge(&block.outcomes)
}

func (k outcomeKind) compare(other outcomeKind) int {
	return cmp.Or(
		cmp.Compare(k.check, other.check), cmp.Compare(k.rule, other.rule), cmp.Compare(k.action, other.action),
		cmp.Compare(k.code, other.code), cmp.Compare(k.enhanced, other.enhanced), cmp.Compare(shadowText(k.shadow), shadowText(other.shadow)))
}

func shadowText(shadow bool) string {
	if shadow {
		return "shadow "
	}
	return ""
}

// String is a kind as the summary lists it: what was done, and what decided.
func (k outcomeKind) String() string {
	what := shadowText(k.shadow) + string(k.action)
	if k.code != 0 {
		what += fmt.Sprintf(" %d %s", k.code, k.enhanced)
	}
	return policy.Printable(strings.TrimSpace(fmt.Sprintf("%-28s %-13s %s", what, k.check, k.rule)))
}

// writeTable lists the verdicts by what decided them, the most frequent first.
func (t *tally) writeTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "more than %d sessions: only what differs is printed (-explain prints all, -session ID one)\n", mostPrinted)
	t.outcomes.list(&b)
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
