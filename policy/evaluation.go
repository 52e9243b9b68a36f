package policy

import (
	"slices"
	"strconv"
	"strings"

	"milterd/policy/access"
)

// finding is what one check found.
type finding struct {
	action       Action // ActionAccept if the check has nothing against the command
	reply        Reply
	rule, reason string
	final        bool // spares the command the checks that follow, as sendmail's $# does
	exempt       bool // the check did not apply
	explains     bool // the reason goes into the verdict even if everything is accepted
	tableText    bool // the text of reply stands in the access table
}

// kept is what a search of the table has found, which is the same for later commands.
type kept[T any] struct {
	found  T
	probes []access.Probe
}

// once makes a search, or takes what was found the time before. Either way its keys
// are in the trace, so that a trace does not depend on earlier commands.
func once[T any](e *evaluation, before **kept[T], search func(*evaluation) T) T {
	if *before == nil {
		first := len(e.search.Probes)
		*before = &kept[T]{found: search(e)}
		(*before).probes = slices.Clone(e.search.Probes[first:])
	} else {
		e.search.Probes = append(e.search.Probes, (*before).probes...)
	}
	return (*before).found
}

// unnoted has the keys left out that are tried until the function it returns is called:
// another step of the trace has them.
func (e *evaluation) unnoted() (end func()) {
	before := len(e.search.Probes)
	return func() { e.search.Probes = e.search.Probes[:before] }
}

func (f finding) refuses() bool { return f.action != ActionAccept }

func pass(reason string) finding { return finding{action: ActionAccept, reason: reason} }

func accept(reason string) finding {
	return finding{action: ActionAccept, final: true, reason: reason}
}

func exempt(reason string) finding {
	return finding{action: ActionAccept, exempt: true, reason: reason}
}

// evaluation is the work on one command.
type evaluation struct {
	session   *Session
	search    access.Search
	verdict   Verdict
	recipient *Recipient
	// to is the recipient as the relay rules see it, valid unless toErr.
	to    address
	toErr error
	// destination is what the relay check has made of the recipient.
	destination Destination
	friend      string   // why the recipient is spared the checks on the client
	answers     []string // DNS answers that the check at work has used
	// listing, limit and wait are what a reply of the dnsbl check or of the limits may tell.
	listing     Listings
	limit, wait string
}

func (s *Session) evaluate(stage Stage, arg string) *evaluation {
	return &evaluation{
		session: s,
		search:  access.Search{Table: s.policy.Access, Features: &s.policy.Features, Unnoted: s.untraced},
		verdict: Verdict{Stage: stage, Arg: arg, Action: ActionAccept},
	}
}

func (s *Session) evaluateRecipient(r *Recipient) *evaluation {
	e := s.evaluate(StageRcpt, r.To)
	e.recipient = r
	e.to, e.toErr = s.policy.recipientAddress(&e.search, r.To)
	e.to.strayed = r.Domain != "" && !strings.EqualFold(e.to.domain, r.Domain)
	return e
}

// passage is how a command came through one check: refused, so that the verdict is given, or
// spared the checks that sendmail's $# skips.
type passage struct {
	refused, final bool
	reason         string
}

// run carries one check out and notes it in the trace. If the check is enforced and
// refuses, its finding becomes the verdict.
func (e *evaluation) run(name string, mode Mode, check func(*evaluation) finding) passage {
	mode = e.session.mode(name, mode)
	if mode == ModeOff {
		return passage{}
	}
	f := check(e)
	step := Step{Check: name, Result: "pass", Reason: f.reason, Probes: e.search.Probes, Answers: e.answers}
	e.search.Probes, e.answers = nil, nil
	through := passage{final: f.final, reason: f.reason}
	if f.explains && e.verdict.Action == ActionAccept {
		e.verdict.Reason = f.reason
	}
	switch {
	case f.exempt:
		step.Result = "exempt"
	case f.final:
		step.Result = "accept"
	case !f.refuses():
	case mode == ModeShadow:
		step.Result = "shadow " + string(f.action)
		e.verdict.Shadow = append(e.verdict.Shadow, Shadow{Action: f.action, Reply: f.reply, Check: name, Rule: f.rule, Reason: f.reason})
	default:
		step.Result = string(f.action)
		e.refuse(name, f)
		// A quarantined recipient must still be one that we may send to.
		through.refused = f.action != ActionQuarantine || name != "recipient"
	}
	e.session.trace(&e.verdict, step)
	return through
}

// trace adds a step to a verdict, unless traces are left out.
func (s *Session) trace(v *Verdict, step Step) {
	switch {
	case s.untraced:
		return
	case v.Trace == nil:
		v.Trace = make([]Step, 0, 6)
	}
	v.Trace = append(v.Trace, step)
}

// refuse takes a finding over into the verdict. A refusal outranks a quarantine.
func (e *evaluation) refuse(name string, f finding) {
	v := &e.verdict
	v.Action, v.Reply, v.Check, v.Rule, v.Reason, v.TableText = f.action, f.reply, name, f.rule, f.reason, f.tableText
}

// done ends the evaluation and remembers a quarantine for the message's end.
func (e *evaluation) done() Verdict {
	if e.verdict.Action == ActionQuarantine && e.session.message.quarantine == nil {
		q := e.verdict
		e.session.message.quarantine = &q
	}
	return e.verdict
}

// mode is the mode of a check on this port. The port's override wins over the
// check's own mode. If every check is in shadow mode, none is enforced.
func (s *Session) mode(name string, mode Mode) Mode {
	if override, ok := s.port.Checks[name]; ok {
		mode = override
	}
	if mode == "" {
		mode = ModeEnforce
	}
	if s.policy.Shadow && mode == ModeEnforce && name != "friend" {
		return ModeShadow
	}
	return mode
}

// expand puts values in the place of a configured reply's placeholders.
func (e *evaluation) expand(r Reply) Reply {
	if strings.IndexByte(r.Text, '{') < 0 {
		return r
	}
	s := e.session
	to := ""
	if e.recipient != nil {
		to = e.recipient.To
	}
	r.Text = strings.NewReplacer(
		"{listed}", Printable(e.listing.Listed), "{zone}", Printable(e.listing.List), "{reason}", Printable(e.listing.Reason),
		"{limit}", e.limit, "{wait}", e.wait,
		"{addr}", s.clientAddr, "{name}", Printable(s.conn.Name), "{ptr}", Printable(s.conn.PTR), "{helo}", Printable(s.helo),
		"{sender}", Printable(s.message.mail.From), "{recipient}", Printable(to)).Replace(r.Text)
	return r
}

// refusal makes a finding of a configured reply, refusing one of a reply as it stands.
func (e *evaluation) refusal(r Reply, rule, reason string) finding {
	return refusing(e.expand(r), rule, reason)
}

func refusing(r Reply, rule, reason string) finding {
	action := ActionReject
	if r.Temporary() {
		action = ActionTempfail
	}
	return finding{action: action, reply: r, rule: rule, reason: reason}
}

func (e *evaluation) configured(to Reaction, rule, reason string) finding {
	switch to.Action {
	case ActionReject, ActionTempfail:
		return e.refusal(to.Reply, rule, reason)
	case ActionDiscard:
		return finding{action: ActionDiscard, rule: rule, reason: reason}
	case ActionQuarantine:
		return finding{action: ActionQuarantine, reply: Reply{Text: e.expand(to.Reply).Text}, rule: rule, reason: reason}
	}
	return pass(reason + ", which is accepted")
}

// entry makes a finding of an access table entry that does not accept.
func (e *evaluation) entry(m access.Match, reject Reply, reason string) finding {
	rule := e.rule(m.Probe)
	var f finding
	switch m.Value.Kind {
	case access.KindReject:
		return e.refusal(reject, rule, reason)
	case access.KindDiscard:
		return finding{action: ActionDiscard, rule: rule, reason: reason}
	case access.KindQuarantine:
		f = finding{action: ActionQuarantine, reply: Reply{Text: m.Value.Text}, rule: rule, reason: reason}
	case access.KindError:
		// The text is the administrator's; placeholders are for configured replies.
		f = refusing(Reply{Code: m.Value.Reply.Code, Enhanced: m.Value.Reply.Enhanced, Text: m.Value.Text}, rule, reason)
	default:
		// A keyword with no meaning here is a reply text to sendmail's rules.
		f = refusing(Reply{Code: 553, Enhanced: "5.3.0", Text: m.Probe.Value}, rule, reason)
	}
	f.tableText = true
	return f
}

// rule names an access table entry: FILE:LINE: KEY VALUE.
func (e *evaluation) rule(p access.Probe) string {
	return e.session.policy.Access.Name() + ":" + strconv.Itoa(p.Line) + ": " + p.Name() + " " + p.Value
}
