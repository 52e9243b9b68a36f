package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"milterd/policy"
	"milterd/policy/replay"
)

// tally counts what a dry run did.
type tally struct {
	sessions, verdicts, expected, differences int
	// outcomes counts the verdicts by what decided them, others those beyond
	// mostOutcomes kinds.
	outcomes map[outcomeKind]int
	others   int
}

// mostOutcomes bounds the kinds that are counted apart: an access table may have
// any number of lines. mostListed is how many of them are shown.
const (
	mostOutcomes = 10_000
	mostListed   = 40
)

// outcomeKind is what a verdict is counted under. Its text would often name the
// client; what decided does not.
type outcomeKind struct {
	shadow      bool
	action      policy.Action
	code        int
	enhanced    string
	check, rule string
}

func newTally() tally { return tally{outcomes: make(map[outcomeKind]int)} }

func (t *tally) reset() {
	clear(t.outcomes)
	*t = tally{outcomes: t.outcomes}
}

func (t *tally) add(s *replay.Session, outcome replay.Outcome) {
	t.sessions++
	t.verdicts += len(outcome.Results)
	t.expected += len(s.Expect)
	t.differences += outcome.Differences()
	for i := range outcome.Results {
		v := &outcome.Results[i].Verdict
		t.count(outcomeKind{action: v.Action, code: v.Reply.Code, enhanced: v.Reply.Enhanced, check: v.Check, rule: v.Rule}, 1)
		for _, x := range v.Shadow {
			t.count(outcomeKind{shadow: true, action: x.Action, code: x.Reply.Code, enhanced: x.Reply.Enhanced, check: x.Check, rule: x.Rule}, 1)
		}
	}
}

func (t *tally) count(kind outcomeKind, n int) {
	if _, known := t.outcomes[kind]; !known && len(t.outcomes) >= mostOutcomes {
		t.others += n
		return
	}
	t.outcomes[kind] += n
}

// merge adds the counts of a block of sessions. Blocks come in their order, so the
// kinds that are counted are always the same.
func (t *tally) merge(block *tally) {
	t.sessions += block.sessions
	t.verdicts += block.verdicts
	t.expected += block.expected
	t.differences += block.differences
	t.others += block.others
	for _, kind := range slices.SortedFunc(maps.Keys(block.outcomes), outcomeKind.compare) {
		t.count(kind, block.outcomes[kind])
	}
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
	kinds := slices.SortedFunc(maps.Keys(t.outcomes), func(a, b outcomeKind) int {
		return cmp.Or(cmp.Compare(t.outcomes[b], t.outcomes[a]), a.compare(b))
	})
	var b strings.Builder
	fmt.Fprintf(&b, "more than %d sessions: only what differs is printed (-explain prints all, -session ID one)\n", mostPrinted)
	rest := t.others
	for i, kind := range kinds {
		if i >= mostListed {
			rest += t.outcomes[kind]
			continue
		}
		fmt.Fprintf(&b, "%10d  %s\n", t.outcomes[kind], kind)
	}
	if rest > 0 {
		fmt.Fprintf(&b, "%10d  of other kinds\n", rest)
	}
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
