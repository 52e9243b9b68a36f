package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"milterd/policy"
	"milterd/policy/replay"
	trafficlog "milterd/policy/replay/traffic"
)

// mostPrinted is how many sessions have all their verdicts printed without being
// asked for. Of more than these only what differs is of interest, and the sum.
const mostPrinted = 200

// garbagePercent is how much a dry run may allocate between two collections, in
// percent of what it needs. That is little, so that collecting would otherwise be
// a good part of the work.
const garbagePercent = 400

// decided is what came of a block of sessions.
type decided struct {
	// text has every verdict, unless brief; differences has those that are not as
	// expected.
	text, differences bytes.Buffer
	// complaints go to stderr.
	complaints bytes.Buffer
	cases      []replay.Case
	tally      tally
	unreadable bool
	// note is what a session's source does not tell, and so nor do those of the others
	// in it.
	note  string
	lacks lacking
}

func newDecided() *decided { return &decided{tally: newTally()} }

func (d *decided) reset() {
	d.text.Reset()
	d.differences.Reset()
	d.complaints.Reset()
	d.cases = d.cases[:0]
	d.tally.reset()
	d.unreadable = false
	d.note, d.lacks = "", lacking{}
}

// dryRun decides sessions and reports on them.
type dryRun struct {
	*checker
	// brief: there are so many sessions that only differences are printed.
	brief atomic.Bool
	// held is the report on the first sessions, until it is known that there are
	// few.
	held       decided
	tally      tally
	unreadable bool
	note       string
	lacks      lacking
	cases      *caseWriter
}

// replay decides the sessions of all files. A file that cannot be read does not
// keep the others from being run.
func (c *checker) replay() int {
	run := &dryRun{checker: c, tally: newTally(), cases: c.caseWriter()}
	unreadable, err := stream(c, &replay.Stream[*decided]{New: newDecided, Each: run.decide, Collect: run.collect})
	nothing := run.nothingDecided(unreadable)
	if nothing != nil && run.cases != nil && err == nil {
		err = run.cases.add(nil, nothing)
	}
	if err == nil {
		err = run.finish()
	}
	if err != nil {
		return c.cannotWrite(err)
	}
	switch {
	case unreadable || run.unreadable:
		return exitUsage
	case nothing != nil:
		return complain(c.stderr, nothing)
	case run.tally.differences > 0:
		return exitDifference
	}
	return exitOK
}

// nothingDecided says why no session was. A report on tests without any must not look
// as if all were well.
func (r *dryRun) nothingDecided(unreadable bool) error {
	switch {
	case r.tally.sessions > 0 || unreadable || r.unreadable:
		return nil
	case r.session != "":
		return fmt.Errorf("no session has the id %q", r.session)
	case r.cases != nil:
		return errors.New("no session was there to decide")
	}
	return nil
}

// decide replays one session.
func (r *dryRun) decide(d *decided, s *replay.Session) {
	if r.session != "" && s.ID != r.session {
		return
	}
	answers, recorded, err := r.rules.frozen(s)
	if err != nil {
		d.unreadable = true
		complain(&d.complaints, err)
		if r.cases != nil {
			d.cases = append(d.cases, replay.Broken(s.File, s.ID, err))
		}
		return
	}
	decide := replay.RunUntraced
	if r.explain || r.format == formatJSON {
		decide = replay.Run
	}
	outcome := decide(r.rules.policy, s, answers)
	d.tally.add(s, outcome)
	d.note = cmp.Or(d.note, firstNote(s))
	if len(s.Expect) == 0 || outcome.Differences() > 0 {
		// A session that came to what is expected of it needed no more.
		d.lacks.add(s, recorded)
	}
	// Writing into a buffer cannot fail.
	switch {
	case r.cases != nil:
		d.cases = append(d.cases, replay.NewCase(s, outcome))
	case r.format == formatJSON:
		_ = replay.WriteJSON(&d.text, s, outcome)
		if outcome.Differences() > 0 {
			reportDifferences(&d.complaints, s, outcome)
		}
	case r.brief.Load():
		_ = replay.WriteDifferences(&d.differences, s, outcome)
	default:
		_ = replay.WriteText(&d.text, s, outcome, r.explain)
		_ = replay.WriteDifferences(&d.differences, s, outcome)
	}
}

// collect reports on a block of sessions.
func (r *dryRun) collect(d *decided, readErr error) error {
	defer d.reset()
	r.tally.merge(&d.tally)
	r.unreadable = r.unreadable || d.unreadable
	r.note = cmp.Or(r.note, d.note)
	r.lacks.merge(d.lacks)
	_, err := r.stderr.Write(d.complaints.Bytes())
	if r.cases != nil {
		return errors.Join(err, r.cases.add(d.cases, readErr))
	}
	if r.explain || r.format == formatJSON {
		_, writeErr := r.out.Write(d.text.Bytes())
		return errors.Join(err, writeErr)
	}
	if !r.brief.Load() && r.tally.sessions <= mostPrinted {
		r.held.text.Write(d.text.Bytes())
		r.held.differences.Write(d.differences.Bytes())
		return err
	}
	if !r.brief.Swap(true) {
		_, writeErr := r.out.Write(r.held.differences.Bytes())
		err = errors.Join(err, writeErr)
		r.held = decided{}
	}
	_, writeErr := r.out.Write(d.differences.Bytes())
	return errors.Join(err, writeErr)
}

// finish writes what comes behind the last session.
func (r *dryRun) finish() error {
	if r.brief.Load() || r.format != formatText {
		sayNote(r.stderr, r.note)
	}
	r.lacks.warn(r.stderr, r.tally.sessions)
	if r.cases != nil {
		return r.cases.end()
	}
	if r.format != formatText || r.tally.sessions == 0 {
		return nil
	}
	if _, err := r.out.Write(r.held.text.Bytes()); err != nil {
		return err
	}
	if r.brief.Load() {
		if err := r.tally.writeTable(r.out); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(r.out, &r.tally)
	return err
}

// firstNote is what the source of a session does not tell.
func firstNote(s *replay.Session) string {
	if len(s.Notes) == 0 {
		return ""
	}
	return s.Notes[0]
}

// sayNote says once what a report without the notes of each session rests on.
func sayNote(stderr io.Writer, note string) {
	if note != "" {
		fmt.Fprintf(stderr, "milterd: note: %s\n", policy.Printable(note))
	}
}

// stream runs work on the sessions of all files, and complains of what cannot be
// read.
func stream[R any](c *checker, s *replay.Stream[R]) (unreadable bool, err error) {
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	inputs, inputErr := replay.Inputs(c.sessions, c.stdin)
	if inputErr != nil {
		unreadable = true
		complain(c.stderr, inputErr)
		// A report on tests tells it too.
		if err := s.Collect(s.New(), inputErr); err != nil {
			return unreadable, err
		}
	}
	bar := newProgress(c.options, c.out, c.stderr, inputs)
	defer bar.erase()
	collect := s.Collect
	s.Workers = runtime.GOMAXPROCS(0)
	s.Forms = []replay.Form{trafficlog.Form()}
	s.Collect = func(result R, readErr error) error {
		bar.erase()
		if gone := new(replay.GoneError); errors.As(readErr, &gone) {
			sayNote(c.stderr, gone.Error())
			readErr = nil
		}
		if readErr != nil {
			unreadable = true
			complain(c.stderr, readErr)
		}
		err := collect(result, readErr)
		bar.draw(s.Read())
		return err
	}
	err = s.Run(inputs)
	return unreadable, err
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
