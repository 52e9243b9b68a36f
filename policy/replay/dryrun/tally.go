package dryrun

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"milterd/dnscheck"
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

// mostKinds bounds the kinds that are counted apart: an access table may have any
// number of lines. mostListed is how many of them are shown.
const (
	mostKinds  = 10_000
	mostListed = 40
)

// counts are numbers of results by kind; others are those beyond mostKinds.
type counts struct {
	kinds  map[kind]int
	others int
}

func newCounts() counts { return counts{kinds: make(map[kind]int)} }

func (c *counts) reset() {
	clear(c.kinds)
	c.others = 0
}

func (c *counts) add(k kind, n int) {
	if _, known := c.kinds[k]; !known && len(c.kinds) >= mostKinds {
		c.others += n
		return
	}
	c.kinds[k] += n
}

// merge adds the counts of a block of sessions. Blocks come in their order, so the
// kinds that are counted apart are always the same.
func (c *counts) merge(block *counts) {
	c.others += block.others
	for _, k := range slices.SortedFunc(maps.Keys(block.kinds), kind.compare) {
		c.add(k, block.kinds[k])
	}
}

// list writes a line for each kind, the most frequent first.
func (c *counts) list(w io.Writer) {
	kinds := slices.SortedFunc(maps.Keys(c.kinds), func(x, y kind) int {
		return cmp.Or(cmp.Compare(c.kinds[y], c.kinds[x]), x.compare(y))
	})
	rest := c.others
	for i, k := range kinds {
		if i >= mostListed {
			rest += c.kinds[k]
			continue
		}
		fmt.Fprintf(w, "%10d  %s\n", c.kinds[k], k)
	}
	if rest > 0 {
		fmt.Fprintf(w, "%10d  of other kinds\n", rest)
	}
}

// lacking counts sessions that ask the DNS what their recording does not hold, as a
// configuration does that asks more than the one in force at the time. Such a
// question gets no answer, so what these sessions come to may not be what happens.
type lacking struct {
	sessions int
	// first is the first such question, with the session's place.
	first string
}

// add counts a session that has asked a question without an answer, and gives the
// question; empty if there is none.
func (l *lacking) add(s *replay.Session, asked *dnscheck.Frozen) (question string) {
	if _, question = asked.Missing(); question != "" {
		l.sessions++
		l.first = cmp.Or(l.first, fmt.Sprintf("%s in %s:%d", question, s.File, s.Line))
	}
	return question
}

// addMore does so if a configuration asks more than the one before it. Questions
// that the recording does not hold for either were given up when it was made, as the
// verdict did not need them any more.
func (l *lacking) addMore(s *replay.Session, before, after *dnscheck.Frozen) (question string) {
	had, _ := before.Missing()
	if now, _ := after.Missing(); now <= had {
		return ""
	}
	return l.add(s, after)
}

func (l *lacking) merge(block lacking) {
	l.sessions += block.sessions
	l.first = cmp.Or(l.first, block.first)
}

func (l *lacking) warn(stderr io.Writer, sessions int) {
	if l.sessions == 0 {
		return
	}
	fmt.Fprintf(stderr, "milterd: warning: %d of %d sessions ask the DNS what their recording does not hold, first %s; such a question counts as one without an answer, so what these sessions come to is not certain\n",
		l.sessions, sessions, policy.Printable(l.first))
}
