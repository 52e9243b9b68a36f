package dryrun

import (
	"errors"
	"io"
	"regexp"
	"strings"

	"milterd/policy/replay"
)

// caseReport is a report on tests, in TAP or JUnit's XML.
type caseReport interface {
	Case(*replay.Case) error
	End() error
}

// caseWriter feeds a report on tests.
type caseWriter struct {
	report caseReport
	// err is what went wrong at the report's beginning.
	err error
}

// newCaseWriter begins a report on tests; nil if another form was asked for.
func newCaseWriter(format Format, out io.Writer) *caseWriter {
	switch format {
	case TAP:
		return &caseWriter{report: replay.NewTAP(out)}
	case JUnit:
		report, err := replay.NewJUnit(out)
		return &caseWriter{report, err}
	}
	return nil
}

// add reports on the sessions of a block. What could not be read fails as well: a
// suite must not pass for want of its tests.
func (w *caseWriter) add(cases []replay.Case, readErr error) error {
	errs := []error{w.err}
	for i := range cases {
		errs = append(errs, w.report.Case(&cases[i]))
	}
	if readErr != nil {
		for line := range strings.SplitSeq(readErr.Error(), "\n") {
			broken := replay.Broken(fileOf(line), "", errors.New(line))
			errs = append(errs, w.report.Case(&broken))
		}
	}
	return errors.Join(errs...)
}

func (w *caseWriter) end() error { return errors.Join(w.err, w.report.End()) }

var filePlace = regexp.MustCompile(`^(.+?):(?:[0-9]+: | [0-9]+ more lines? cannot be read$)`)

// fileOf is the file that a complaint is about, if it says so.
func fileOf(complaint string) string {
	if m := filePlace.FindStringSubmatch(complaint); m != nil {
		return m[1]
	}
	return "sessions"
}
