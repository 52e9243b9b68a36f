// Package dryrun decides sessions without a mail server: recorded ones, with the DNS
// answers that they hold, or one that is typed on the command line, with what the DNS
// says now. It reports the verdicts, what differs from the expected ones, or what
// another configuration would change. It is what milterd -check does.
package dryrun

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"milterd/policy"
)

// Exit statuses of a run.
const (
	// OK: everything is as expected, with another configuration nothing changes, a
	// typed session is accepted.
	OK = 0
	// Difference: a verdict is not the expected one, or would change.
	Difference = 1
	// BadInput: something could not be read, or the results not be written. It counts
	// more than a difference.
	BadInput = 2
	// Of a typed session that is not accepted: EX_TEMPFAIL and EX_NOPERM of
	// sysexits.h. A refusal for good counts more than one for now.
	Tempfail = 75
	Reject   = 77
)

// Format is the form of a report.
type Format string

// The forms of a report. TAP and JUnit report on the expectations of sessions.
const (
	Text  Format = "text"
	JSON  Format = "json"
	TAP   Format = "tap"
	JUnit Format = "junit"
)

// Options are what to decide, and how to report on it.
type Options struct {
	// Explain has the trace of each verdict printed.
	Explain bool
	Format  Format
	// Sessions are files of sessions, directories of such files, or "-" for Stdin. If
	// there are none, and no Typed, the configuration is described.
	Sessions []string
	// Session is the id of the only session that counts, empty for all.
	Session string
	// Against are other rules, whose verdicts are compared.
	Against *Rules
	// Places: a configuration that is described is also held against the directories
	// and groups of this machine, as the user of this process.
	Places bool
	// Typed is a session to decide in place of recorded ones.
	Typed *Typed
	Stdin io.Reader
	// Results go to Stdout, complaints to Stderr.
	Stdout, Stderr io.Writer
}

// Run does what the options say with these rules, and returns the exit status.
func Run(rules *Rules, o Options) int {
	r := newRun(rules, o)
	var status int
	switch {
	case o.Typed != nil:
		status = r.typed()
	case len(o.Sessions) > 0:
		status = r.recorded()
	default:
		status = r.describe()
	}
	if err := r.out.Flush(); err != nil {
		return r.cannotWrite(err)
	}
	return status
}

func newRun(rules *Rules, o Options) *run {
	r := &run{Options: o, rules: rules, out: bufio.NewWriterSize(o.Stdout, 64<<10), total: newTally()}
	r.cases = newCaseReport(o.Format, r.out)
	return r
}

// Complain prints the lines of an error: a bad configuration has one for each problem.
func Complain(stderr io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "milterd: %s\n", policy.Printable(line))
	}
}

// cannotWrite ends a run whose results are not all there.
func (r *run) cannotWrite(err error) int {
	if !r.unwritten {
		r.unwritten = true
		fmt.Fprintf(r.Stderr, "milterd: write results: %v\n", err)
	}
	return BadInput
}
