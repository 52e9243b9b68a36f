package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a configuration or with a file it names.
type Problem struct {
	File string `json:"file"`
	// Line is the line in File, 0 if the file as a whole is meant.
	Line int `json:"line,omitempty"`
	// Text says what is wrong and what was expected.
	Text string `json:"text"`
}

// String is the problem as FILE:LINE: TEXT.
func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Error is everything wrong with a configuration, in the order of its lines.
type Error struct {
	Problems []Problem
}

// maxTold is how many problems a message tells one by one.
const maxTold = 100

// Error has one problem a line.
func (e *Error) Error() string {
	lines := make([]string, 0, min(len(e.Problems), maxTold+1))
	for i, p := range e.Problems {
		if i == maxTold {
			lines = append(lines, fmt.Sprintf("and %d more problems", len(e.Problems)-i))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// problems collects the problems of a configuration.
type problems []Problem

func (p *problems) add(file string, line int, format string, args ...any) {
	*p = append(*p, Problem{File: file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// report collects the problems of a configuration and of the files it names.
type report struct {
	config *Config
	problems
}

// wrong reports a problem of a key.
func (r *report) wrong(key, format string, args ...any) {
	file, line := r.config.place(key)
	r.add(file, line, "%s: %s", key, fmt.Sprintf(format, args...))
}

// err is nil without problems. They are put in the order of their lines, file by
// file.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	order := make(map[string]int)
	for _, problem := range p {
		if _, ok := order[problem.File]; !ok {
			order[problem.File] = len(order)
		}
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return &Error{Problems: p}
}
