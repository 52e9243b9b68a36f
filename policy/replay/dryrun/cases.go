package dryrun

import (
	"errors"
	"io"
	"regexp"
	"strings"

	"milterd/policy/replay"
)

type caseReport interface {
	Case(*replay.Case) error
	End() error
}

// newCaseReport begins a report on tests; nil if another form was asked for.
func newCaseReport(format Format, out io.Writer) caseReport {
	switch format {
	case TAP:
		return replay.NewTAP(out)
	case JUnit:
		return replay.NewJUnit(out)
	}
	return nil
}

// reportCases reports on the sessions of a block. What could not be read fails as well: a
// suite must not pass for want of its tests.
func (r *run) reportCases(cases []replay.Case, readErr error) error {
	if readErr != nil {
		for line := range strings.SplitSeq(readErr.Error(), "\n") {
			cases = append(cases, replay.Broken(fileOf(line), "", errors.New(line)))
		}
	}
	for i := range cases {
		if err := r.cases.Case(&cases[i]); err != nil {
			return err
		}
	}
	return nil
}

var filePlace = regexp.MustCompile(`^(.+?):(?:[0-9]+: | [0-9]+ more lines? cannot be read$)`)

func fileOf(complaint string) string {
	if m := filePlace.FindStringSubmatch(complaint); m != nil {
		return m[1]
	}
	return "sessions"
}
