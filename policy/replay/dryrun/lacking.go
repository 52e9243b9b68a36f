package dryrun

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

// add counts a session that has asked a question without an answer, and gives the
// question; empty if there is none.
func (l *lacking) add(s *replay.Session, asked *dnscheck.Frozen) (question string) {
	_, question = asked.Missing()
	if question == "" {
		return ""
	}
	if l.sessions++; l.sessions == 1 {
		l.first = fmt.Sprintf("%s in %s:%d", question, s.File, s.Line)
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
