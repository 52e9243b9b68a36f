package main

import (
	"cmp"
	"fmt"
	"io"

	"milterd/dnscheck"
	"milterd/policy"
	"milterd/policy/replay"
)

// lacking counts sessions that ask the DNS what their recording does not hold, as a
// configuration does that asks more than the one in force at the time. Such a
// question gets no answer, so what these sessions come to may not be what happens.
type lacking struct {
	sessions int
	// first is the first such question, with the session's place.
	first string
}

// add looks at what a session has asked, with one configuration or with two, and
// gives the first question that has no answer; empty where all have.
func (l *lacking) add(s *replay.Session, asked ...*dnscheck.Frozen) (question string) {
	for _, f := range asked {
		_, first := f.Missing()
		question = cmp.Or(question, first)
	}
	if question == "" {
		return ""
	}
	if l.sessions++; l.sessions == 1 {
		l.first = fmt.Sprintf("%s in %s:%d", question, s.File, s.Line)
	}
	return question
}

// merge adds the sessions of a block that comes behind the others.
func (l *lacking) merge(block lacking) {
	l.sessions += block.sessions
	l.first = cmp.Or(l.first, block.first)
}

// warn says so, of so many sessions.
func (l *lacking) warn(stderr io.Writer, sessions int) {
	if l.sessions == 0 {
		return
	}
	fmt.Fprintf(stderr, "milterd: warning: %d of %d sessions ask the DNS what their recording does not hold, first %s; such a question counts as one without an answer, so what these sessions come to is not certain\n",
		l.sessions, sessions, policy.Printable(l.first))
}
