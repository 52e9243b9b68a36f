package replay

import (
	"strings"

	"milterd/policy"
)

// Result is one verdict of a replayed session.
type Result struct {
	// Message counts the session's messages from 1.
	Message int
	// Step is the verdict's place in the message: 0 for MAIL, then each recipient,
	// then the end.
	Step    int
	Verdict policy.Verdict
	// Differences list all that is not as expected.
	Differences []Difference
}

// Difference is one thing that is not as a session expects it.
type Difference struct {
	// Place is the command or the field: "rcpt <a@b.example>", "eom header Received".
	Place string
	// Want and Got are what was expected, and what there is.
	Want, Got string
	// header: it is about a header field.
	header bool
}

// String is the difference as -check prints it behind "expects". The verdict that
// there is instead stands above it, the fields do not.
func (d Difference) String() string {
	if !d.header {
		return d.Place + ": " + d.Want
	}
	return d.Place + ": " + d.Want + "; got " + d.Got
}

// Outcome is what came of one session.
type Outcome struct {
	Results []Result
	// Missing are expectations that no verdict was given for.
	Missing []Expect
}

// Differences counts verdicts that are not as expected, and missing ones.
func (o Outcome) Differences() int {
	n := len(o.Missing)
	for _, r := range o.Results {
		if len(r.Differences) > 0 {
			n++
		}
	}
	return n
}

// Run replays one session. What a client cannot do is not done: no recipients
// after a refused MAIL, no message without an accepted recipient, and nothing
// more of a message that is discarded. answers gives the session's DNS answers;
// nil stands for none.
func Run(p *policy.Policy, s *Session, answers func(policy.Connection) policy.Answers) Outcome {
	return run(p, s, answers, true, nil)
}

// RunUntraced is Run with verdicts that have no traces, in half the time. asked, if it is
// not nil, is for a caller who counts for the limits itself, over many sessions: it hears of
// all questions. In a message that says when it began, limits that the session does not
// tell of have room then.
func RunUntraced(p *policy.Policy, s *Session, answers func(policy.Connection) policy.Answers, asked Asked) Outcome {
	return run(p, s, answers, false, asked)
}

func run(p *policy.Policy, s *Session, answers func(policy.Connection) policy.Answers, traced bool, asked Asked) Outcome {
	conn := s.Connection()
	given := policy.Answers(policy.NoAnswers{})
	if answers != nil {
		given = answers(conn)
	}
	r := runner{session: s, answers: &recorded{Answers: given, grant: s.grant(), asked: asked}, met: make([]bool, len(s.Expect))}
	r.policy = p.NewSession(conn, r.answers)
	if !traced {
		r.policy.LeaveOutTraces()
	}
	r.policy.Helo(s.HELO, s.TLS)
	if len(s.Expect) > fewExpectations {
		r.waiting = make(map[command][]int)
		for i, x := range s.Expect {
			r.waiting[command{x.Stage, x.Arg}] = append(r.waiting[command{x.Stage, x.Arg}], i)
		}
	}
	r.results = make([]Result, 0, s.commands()+len(s.Messages))
	for i := range s.Messages {
		r.message(i+1, &s.Messages[i])
	}
	outcome := Outcome{Results: r.results}
	for i, met := range r.met {
		if !met {
			outcome.Missing = append(outcome.Missing, s.Expect[i])
		}
	}
	return outcome
}

type runner struct {
	session *Session
	policy  *policy.Session
	answers *recorded
	results []Result
	// met are the session's expectations that a verdict has been compared with.
	met []bool
	// waiting has the expectations of each command, if there are more than a few.
	waiting map[command][]int
}

type command struct{ stage, arg string }

// fewExpectations are so few that looking through them is faster than a map.
const fewExpectations = 32

// expectation is the first one for a command that is not met; -1 for none.
func (r *runner) expectation(stage policy.Stage, arg string) int {
	if r.waiting == nil {
		for i := range r.met {
			if x := &r.session.Expect[i]; !r.met[i] && x.Stage == string(stage) && x.Arg == arg {
				return i
			}
		}
		return -1
	}
	c := command{string(stage), arg}
	for len(r.waiting[c]) > 0 && r.met[r.waiting[c][0]] {
		r.waiting[c] = r.waiting[c][1:]
	}
	if len(r.waiting[c]) == 0 {
		return -1
	}
	return r.waiting[c][0]
}

func (r *runner) message(number int, m *Message) {
	mail := r.policy.Mail(r.session.Auth, m.Mail)
	r.add(number, 0, mail, nil)
	if !mail.Action.Accepts() {
		r.policy.Abort()
		if mail.Action == policy.ActionDiscard {
			r.seemsTaken(m.Rcpt)
		}
		return
	}
	accepted := false
	r.answers.begin(m)
	for i, rcpt := range m.Rcpt {
		r.answers.recipient = i + 1
		v := r.policy.Rcpt(rcpt)
		r.add(number, i+1, v, nil)
		if v.Action == policy.ActionDiscard {
			r.policy.Abort()
			r.seemsTaken(m.Rcpt[i+1:])
			return
		}
		accepted = accepted || v.Action.Accepts()
	}
	if !accepted {
		r.policy.Abort()
		return
	}
	fields := m.fields()
	r.add(number, len(m.Rcpt)+1, r.policy.EndOfMessage(fields), fields)
}

// seemsTaken meets the acceptances that are expected of the rest of a discarded
// message: its client cannot tell.
func (r *runner) seemsTaken(rest []Rcpt) {
	for i := range rest {
		r.meet(policy.StageRcpt, rest[i].To)
	}
	r.meet(policy.StageEOM, "")
}

// meet meets the first expectation for a command, if it is mere acceptance.
func (r *runner) meet(stage policy.Stage, arg string) {
	if i := r.expectation(stage, arg); i >= 0 {
		x := &r.session.Expect[i]
		r.met[i] = x.Action == "" && len(x.Headers) == 0 && strings.HasPrefix(x.Reply, "250")
	}
}

// add notes a verdict and compares it, and the header that the message leaves with,
// with the first expectation for it.
func (r *runner) add(number, step int, v policy.Verdict, fields []policy.HeaderField) {
	result := Result{Message: number, Step: step, Verdict: v}
	if i := r.expectation(v.Stage, v.Arg); i >= 0 {
		result.Differences = r.session.Expect[i].differences(v, fields)
		r.met[i] = true
	}
	r.results = append(r.results, result)
}

func (x *Expect) differences(v policy.Verdict, fields []policy.HeaderField) []Difference {
	differences := x.headerDifferences(fields, v.Edits)
	if x.matches(v) {
		return differences
	}
	got := strings.TrimSpace(string(v.Action) + " " + v.Reply.String())
	return append([]Difference{{Place: x.place(), Want: x.want(), Got: got}}, differences...)
}

func (x *Expect) matches(v policy.Verdict) bool {
	if x.Action != "" && x.Action != string(v.Action) {
		return false
	}
	if strings.HasPrefix(x.Reply, "250") {
		return v.Action.Accepts() || v.Action == policy.ActionDiscard
	}
	return x.Reply == "" || x.Reply == v.Reply.String()
}

func (x *Expect) place() string { return x.Stage + " <" + x.Arg + ">" }

func (x *Expect) want() string {
	if x.Action == "" && x.Reply == "" {
		return "a verdict"
	}
	return strings.TrimSpace(x.Action + " " + x.Reply)
}

// String is the expectation as -check prints it.
func (x *Expect) String() string { return x.place() + ": " + x.want() }
