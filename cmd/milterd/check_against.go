package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"milterd/policy"
	"milterd/policy/replay"
)

// comparison decides sessions with two configurations.
type comparison struct {
	*checker
	new    *rules
	totals changeTotals
	failed bool
	note   string
	lacks  lacking
}

// compared is what came of a block of sessions.
type compared struct {
	text, complaints bytes.Buffer
	totals           changeTotals
	unreadable       bool
	note             string
	lacks            lacking
}

// compare decides sessions with the configuration in force (-config) and with
// another (-against), and prints what would change.
func (c *checker) compare() int {
	other, err := loadRules(place{flag: c.against}, c.stderr)
	if err != nil {
		return complain(c.stderr, err)
	}
	run := &comparison{checker: c, new: other, totals: newChangeTotals()}
	unreadable, err := stream(c, &replay.Stream[*compared]{
		New:     func() *compared { return &compared{totals: newChangeTotals()} },
		Each:    run.decide,
		Collect: run.collect,
	})
	sayNote(c.stderr, run.note)
	run.lacks.warn(c.stderr, run.totals.sessions)
	if err == nil && c.format == formatText && run.totals.sessions > 0 {
		err = run.totals.write(c.out)
	}
	if err != nil {
		return c.cannotWrite(err)
	}
	switch {
	case unreadable || run.failed:
		return exitUsage
	case c.session != "" && run.totals.sessions == 0:
		return complain(c.stderr, fmt.Errorf("no session has the id %q", c.session))
	case run.totals.changed > 0:
		return exitDifference
	}
	return exitOK
}

// decide replays one session with both.
func (r *comparison) decide(d *compared, s *replay.Session) {
	if r.session != "" && s.ID != r.session {
		return
	}
	before, recorded, err := r.rules.frozen(s)
	after, newRecorded, newErr := r.new.frozen(s)
	if err = cmp.Or(err, newErr); err != nil {
		d.unreadable = true
		complain(&d.complaints, err)
		return
	}
	old := replay.RunUntraced(r.rules.policy, s, before)
	changes := replay.Compare(old, replay.RunUntraced(r.new.policy, s, after))
	d.totals.add(old, changes)
	d.note = cmp.Or(d.note, firstNote(s))
	lacks := d.lacks.addMore(s, recorded, newRecorded)
	// Writing into a buffer cannot fail.
	if r.format == formatJSON {
		_ = replay.WriteChangesJSON(&d.text, s, changes)
	} else {
		_ = replay.WriteChanges(&d.text, s, changes, lacks)
	}
}

func (r *comparison) collect(d *compared, _ error) error {
	r.totals.merge(&d.totals)
	r.failed = r.failed || d.unreadable
	r.note = cmp.Or(r.note, d.note)
	r.lacks.merge(d.lacks)
	_, complaintErr := r.stderr.Write(d.complaints.Bytes())
	_, err := r.out.Write(d.text.Bytes())
	d.text.Reset()
	d.complaints.Reset()
	d.totals.reset()
	d.unreadable, d.note, d.lacks = false, "", lacking{}
	return errors.Join(complaintErr, err)
}

// changeTotals counts what changes.
type changeTotals struct {
	sessions, verdicts int
	// changed is how many sessions have a change, changes how many verdicts do.
	changed, changes int
	kinds            counts[changeKind]
}

// changeKind is what a change is counted under: what was done and what would be,
// and the check and rule that make it so.
type changeKind struct{ old, new, check, rule string }

func newChangeTotals() changeTotals { return changeTotals{kinds: newCounts[changeKind]()} }

func (t *changeTotals) reset() {
	t.kinds.reset()
	*t = changeTotals{kinds: t.kinds}
}

func (t *changeTotals) add(old replay.Outcome, changes []replay.Change) {
	t.sessions++
	t.verdicts += len(old.Results)
	if len(changes) > 0 {
		t.changed++
	}
	for _, c := range changes {
		t.changes++
		kind := changeKind{old: actionOf(c.Old), new: actionOf(c.New)}
		// What refuses now is why; where nothing does, what refused before.
		for _, v := range []*policy.Verdict{c.Old, c.New} {
			if v != nil && v.Check != "" {
				kind.check, kind.rule = v.Check, v.Rule
			}
		}
		t.kinds.add(kind, 1)
	}
}

func actionOf(v *policy.Verdict) string {
	if v == nil {
		return "not reached"
	}
	return string(v.Action)
}

func (t *changeTotals) merge(block *changeTotals) {
	t.sessions += block.sessions
	t.verdicts += block.verdicts
	t.changed += block.changed
	t.changes += block.changes
	t.kinds.merge(&block.kinds)
}

// String is a kind as the summary lists it: what was done and would be, and why.
func (k changeKind) String() string {
	return policy.Printable(strings.TrimSpace(fmt.Sprintf("%-26s %-13s %s", k.old+" -> "+k.new, k.check, k.rule)))
}

func (k changeKind) compare(other changeKind) int {
	return cmp.Or(cmp.Compare(k.check, other.check), cmp.Compare(k.rule, other.rule), cmp.Compare(k.old, other.old), cmp.Compare(k.new, other.new))
}

// write lists the changes by what they are and what makes them, the most frequent
// first, and sums up.
func (t *changeTotals) write(w io.Writer) error {
	var b strings.Builder
	t.kinds.list(&b)
	text := fmt.Sprintf("%s, %s: ", count(t.sessions, "session"), count(t.verdicts, "verdict"))
	if t.changes == 0 {
		text += "nothing changes"
	} else {
		text += fmt.Sprintf("%s in %s", count(t.changes, "change"), count(t.changed, "session"))
	}
	fmt.Fprintln(&b, text)
	_, err := io.WriteString(w, b.String())
	return err
}
