package dryrun

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"milterd/policy"
	"milterd/policy/replay"
	"milterd/policy/replay/traffic"
)

// mostPrinted is how many sessions have all their verdicts printed without being
// asked for. Of more than these only what differs is of interest, and the sum.
const mostPrinted = 200

// garbagePercent is how much a dry run may allocate between two collections, in
// percent of what it needs. That is little, so that collecting would otherwise be
// a good part of the work.
const garbagePercent = 400

// block is what came of some sessions that were decided together.
type block struct {
	// text has every verdict, unless brief, or with Against every change; differences
	// has the verdicts that are not as expected.
	text, differences bytes.Buffer
	// complaints go to stderr.
	complaints bytes.Buffer
	cases      []replay.Case
	tally      tally
	// asked are the questions to other limits.
	asked asked
}

func newBlock() *block { return &block{tally: newTally()} }

func (b *block) reset() {
	b.text.Reset()
	b.differences.Reset()
	b.complaints.Reset()
	b.cases = b.cases[:0]
	b.tally.reset()
	b.asked = asked{}
}

type run struct {
	Options
	rules *Rules
	out   *bufio.Writer
	total tally
	// brief: there are so many sessions that only differences are printed.
	brief atomic.Bool
	// held is the report on the first sessions, until it is known that there are
	// few.
	held block
	// cases is nil unless a report on tests is asked for.
	cases caseReport
	// recount counts for other limits; nil unless they are.
	recount *recount
	// unwritten: results could not be written, which has been said.
	unwritten bool
}

// recorded decides the sessions of all files. A file that cannot be read does not
// keep the others from being decided.
func (r *run) recorded() int {
	if r.Against != nil {
		r.recount = newRecount(r.rules, r.Against)
	}
	err := r.stream()
	if r.recount != nil {
		defer r.recount.messages.close()
	}
	nothing := r.nothingDecided()
	if nothing != nil && r.cases != nil && err == nil {
		err = r.reportCases(nil, nothing)
	}
	if err == nil {
		err = r.finish()
	}
	switch {
	case err != nil:
		return r.cannotWrite(err)
	case r.total.unreadable:
		return BadInput
	case nothing != nil:
		Complain(r.Stderr, nothing)
		return BadInput
	case r.total.differences > 0:
		return Difference
	}
	return OK
}

// nothingDecided says why no session was. A report on tests without any must not look
// as if all were well.
func (r *run) nothingDecided() error {
	switch {
	case r.total.sessions > 0 || r.total.unreadable:
		return nil
	case r.Session != "":
		return fmt.Errorf("no session has the id %q", r.Session)
	}
	return errors.New("no session was there to decide")
}

// stream decides the sessions of all files, and complains of what cannot be read.
func (r *run) stream() error {
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	inputs, err := replay.Inputs(r.Sessions, r.Stdin)
	if err != nil {
		// A report on tests tells it too.
		if err := r.collect(newBlock(), err); err != nil {
			return err
		}
	}
	bar := newProgress(r.Format, r.out, r.Stderr, inputs)
	defer bar.erase()
	s := &replay.Stream[*block]{
		New: newBlock, Each: r.decide, Workers: runtime.GOMAXPROCS(0), Forms: []replay.Form{traffic.Form()},
	}
	s.Collect = func(b *block, readErr error) error {
		bar.erase()
		if gone := new(replay.GoneError); errors.As(readErr, &gone) {
			sayNote(r.Stderr, gone.Error())
			readErr = nil
		}
		err := r.collect(b, readErr)
		bar.draw(s.Read())
		return err
	}
	return s.Run(inputs)
}

func (r *run) decide(b *block, s *replay.Session) {
	if r.Session != "" && s.ID != r.Session {
		return
	}
	work := r.verdicts
	if r.Against != nil {
		work = r.compare
	}
	if err := work(b, s); err != nil {
		b.tally.unreadable = true
		Complain(&b.complaints, err)
		if r.cases != nil {
			b.cases = append(b.cases, replay.Broken(s.File, s.ID, err))
		}
	}
}

func (r *run) verdicts(b *block, s *replay.Session) error {
	answers, recorded, err := r.rules.frozen(s)
	if err != nil {
		return err
	}
	var outcome replay.Outcome
	if r.Explain || r.Format == JSON {
		outcome = replay.Run(r.rules.policy, s, answers)
	} else {
		outcome = replay.RunUntraced(r.rules.policy, s, answers, nil)
	}
	b.tally.add(s, outcome)
	if len(s.Expect) == 0 || outcome.Differences() > 0 {
		// A session that came to what is expected of it needed no more.
		b.tally.lacks.add(s, recorded)
	}
	// Writing into a buffer cannot fail.
	switch {
	case r.cases != nil:
		b.cases = append(b.cases, replay.NewCase(s, outcome))
	case r.Format == JSON:
		_ = replay.WriteJSON(&b.text, s, outcome)
		if outcome.Differences() > 0 {
			reportDifferences(&b.complaints, s, outcome)
		}
	case r.brief.Load():
		_ = replay.WriteDifferences(&b.differences, s, outcome)
	default:
		_ = replay.WriteText(&b.text, s, outcome, r.Explain)
		_ = replay.WriteDifferences(&b.differences, s, outcome)
	}
	return nil
}

func (r *run) collect(b *block, readErr error) error {
	defer b.reset()
	if readErr != nil {
		r.total.unreadable = true
		Complain(r.Stderr, readErr)
	}
	r.total.merge(&b.tally)
	_, err := r.Stderr.Write(b.complaints.Bytes())
	if r.recount != nil {
		err = errors.Join(err, r.recount.add(&b.asked))
	}
	if r.cases != nil {
		return errors.Join(err, r.reportCases(b.cases, readErr))
	}
	report := b.text.Bytes()
	if r.Against == nil && !r.Explain && r.Format != JSON {
		report = b.differences.Bytes()
		if !r.brief.Load() {
			r.held.text.Write(b.text.Bytes())
			r.held.differences.Write(b.differences.Bytes())
			if r.total.sessions <= mostPrinted {
				return err
			}
			r.brief.Store(true)
			report, r.held = r.held.differences.Bytes(), block{}
		}
	}
	_, writeErr := r.out.Write(report)
	return errors.Join(err, writeErr)
}

func (r *run) finish() error {
	if r.brief.Load() || r.Format != Text || r.Against != nil {
		sayNote(r.Stderr, r.total.note)
	}
	r.total.lacks.warn(r.Stderr, r.total.sessions)
	switch {
	case r.cases != nil:
		return r.cases.End()
	case r.Against != nil:
		return r.finishAgainst()
	case r.Format != Text || r.total.sessions == 0:
		return nil
	}
	// The error of a write is that of the flush at the end, too.
	_, _ = r.out.Write(r.held.text.Bytes())
	if r.brief.Load() {
		fmt.Fprintf(r.out, "more than %d sessions: only what differs is printed (-explain prints all, -session ID one)\n", mostPrinted)
		r.total.kinds.list(r.out)
	}
	fmt.Fprintln(r.out, &r.total)
	return nil
}

// sayNote says once what a report without the notes of each session rests on.
func sayNote(stderr io.Writer, note string) {
	if note != "" {
		fmt.Fprintf(stderr, "milterd: note: %s\n", policy.Printable(note))
	}
}

// reportDifferences says what -json objects have no field for.
func reportDifferences(w io.Writer, s *replay.Session, outcome replay.Outcome) {
	for _, r := range outcome.Results {
		for _, d := range r.Differences {
			fmt.Fprintf(w, "milterd: %s\n", policy.Printable(fmt.Sprintf("%s:%d: %s: %s, expected %s", s.File, s.Line, s.ID, r.Verdict, d)))
		}
	}
	for i := range outcome.Missing {
		fmt.Fprintf(w, "milterd: %s\n", policy.Printable(fmt.Sprintf("%s:%d: %s: no verdict, expected %s", s.File, s.Line, s.ID, &outcome.Missing[i])))
	}
}
