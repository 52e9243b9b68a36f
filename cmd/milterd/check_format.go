package main

import (
	"errors"
	"regexp"

	"milterd/policy/replay"
)

// The forms of -format.
const (
	formatText  = "text"
	formatJSON  = "json"
	formatTAP   = "tap"
	formatJUnit = "junit"
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

// caseWriter begins a report on tests; nil where another form was asked for.
func (c *checker) caseWriter() *caseWriter {
	switch c.format {
	case formatTAP:
		return &caseWriter{report: replay.NewTAP(c.out)}
	case formatJUnit:
		report, err := replay.NewJUnit(c.out)
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
		for _, line := range complaints(readErr) {
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
