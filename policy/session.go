package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"milterd/policy/access"
)

// Session evaluates the transactions of one SMTP connection, in the order the
// MTA reports them: Helo, then for each message Mail, Rcpt for each recipient
// and EndOfMessage. It does no I/O and is not safe for concurrent use.
type Session struct {
	policy *Policy
	conn   Connection
	// answers gives the DNS answers.
	answers Answers
	port    Port
	helo    string
	tls     TLS
	// clientAddr is the client's address as sendmail writes it, made once.
	clientAddr string
	// client and entitled are worked out once a connection.
	client *keptLookup
	// clientByName: it was the name that was found.
	clientByName bool
	entitled     *entitlement
	// granted is GrantHeld once a relay grant has been seen.
	granted GrantState
	message message
	// untraced: verdicts have no Trace.
	untraced bool
}

// message is what is known about the current message.
type message struct {
	auth Auth
	mail Mail
	// sender is worked out once a message, senderOK is the entry that accepts it.
	sender   *keptLookup
	senderOK string
	// quarantine is the first verdict that asked for the quarantine queue.
	quarantine *Verdict
	// relayed: a recipient that is not ours was taken, as the client may relay.
	relayed bool
}

// NewSession begins the evaluation of one connection. Without an answers, every
// look-up is one that had no answer.
func (p *Policy) NewSession(c Connection, answers Answers) *Session {
	if answers == nil {
		answers = NoAnswers{}
	}
	return &Session{policy: p, conn: c, answers: answers, port: p.port(c), clientAddr: p.clientAddr(c)}
}

// LeaveOutTraces makes the verdicts from here on come without their Trace and its
// keys, which is most of the work where nobody looks at them. All else in them is
// the same.
func (s *Session) LeaveOutTraces() { s.untraced = true }

// clientAddr is the client's address as this sendmail writes it, and so as the
// keys of the access table do.
func (p *Policy) clientAddr(c Connection) string {
	if addr := c.Addr.Unmap(); p.Features.CompressedIPv6 && addr.Is6() {
		return "IPv6:" + addr.WithZone("").String()
	}
	return c.ClientAddr()
}

// port finds the rules of the listener that took a connection: what is said for
// the daemon's name and, where that says nothing, for the port number.
func (p *Policy) port(c Connection) Port {
	port := p.Ports[strconv.Itoa(int(c.DaemonPort))]
	named, ok := p.Ports[c.DaemonName]
	if !ok || c.DaemonName == "" {
		return port
	}
	if named.Auth != "" {
		port.Auth = named.Auth
	}
	if named.TLS != "" {
		port.TLS = named.TLS
	}
	if named.Relay != "" {
		port.Relay = named.Relay
	}
	if named.Received != "" {
		port.Received = named.Received
	}
	if len(named.Checks) > 0 {
		checks := maps.Clone(port.Checks)
		if checks == nil {
			checks = make(map[string]Mode)
		}
		maps.Copy(checks, named.Checks)
		port.Checks = checks
	}
	return port
}

// Helo tells the session the client's HELO name and the TLS state at that
// moment; it may come again after STARTTLS.
func (s *Session) Helo(name string, tls TLS) {
	s.helo, s.tls = name, tls
}

// Mail evaluates one MAIL command and begins a message.
func (s *Session) Mail(auth Auth, m Mail) Verdict {
	s.message = message{auth: auth, mail: m}
	e := s.evaluate(StageMail, m.From)
	if e.run("port", s.policy.Checks.Port.Mode, s.checkPort).refused {
		return e.done()
	}
	s.prepareAnswers()
	if s.policy.Features.DelayChecks {
		return e.done()
	}
	if e.run("client", s.policy.Checks.Client.Mode, s.checkClient).refused {
		return e.done()
	}
	if s.clientDNSChecks(e, false) {
		return e.done()
	}
	s.senderChecks(e)
	return e.done()
}

// prepareAnswers lets the look-ups about this message begin, unless the client is
// one that nobody asks about.
func (s *Session) prepareAnswers() {
	if s.trustedAuth() {
		return
	}
	needs := s.Needs()
	domain, names := "", []string(nil)
	if needs.SenderDomain {
		domain = s.senderDomain()
	}
	if needs.NameListings {
		names = s.listableNames()
	}
	if domain != "" || len(names) > 0 {
		s.answers.Prepare(domain, names)
	}
}

// senderChecks are the table's word on the sender and, where it has none, the
// DNS's on its domain (check_mail).
func (s *Session) senderChecks(e *evaluation) outcome {
	sender := e.run("sender", s.policy.Checks.Sender.Mode, s.checkSender)
	if sender.refused || sender.final {
		return sender
	}
	return e.run("sender_domain", s.policy.Checks.SenderDomain.Mode, s.checkSenderDomain)
}

// Rcpt evaluates one RCPT command of the current message.
func (s *Session) Rcpt(r Recipient) Verdict {
	e := s.evaluate(StageRcpt, r.To)
	e.recipient = &r
	e.to, e.toErr = s.policy.recipientAddress(&e.search, r.To)
	if s.policy.Features.BlocklistRecipients && e.run("recipient", s.policy.Checks.Recipient.Mode, s.checkRecipient).refused {
		return e.done()
	}
	relay := e.run("relay", s.policy.Checks.Relay.Mode, s.checkRelay)
	defer e.noteRelay()
	if relay.refused || e.verdict.Action == ActionQuarantine {
		return e.done()
	}
	if s.policy.Features.DelayChecks && !e.trusted() {
		if s.delayedChecks(e) {
			return e.done()
		}
	}
	s.clientDNSChecks(e, true)
	return e.done()
}

// clientDNSChecks are the checks on what the DNS says about the client. Without
// delay_checks they belong to MAIL, but one that spares postmaster has to wait
// for RCPT.
func (s *Session) clientDNSChecks(e *evaluation, atRcpt bool) (refused bool) {
	c := s.policy.Checks
	due := func(x Exempt) bool { return (s.policy.Features.DelayChecks || x.Postmaster) == atRcpt }
	if due(c.RDNS.Exempt) && e.run("rdns", c.RDNS.Mode, s.checkRDNS).refused {
		return true
	}
	asks := c.DNSBL.Addresses || c.DNSBL.Names
	return asks && due(c.DNSBL.Exempt) && e.run("dnsbl", c.DNSBL.Mode, s.checkDNSBL).refused
}

// delayedChecks are those on sender and client that FEATURE(delay_checks) moves
// to RCPT, in the order of its check_rcpt.
func (s *Session) delayedChecks(e *evaluation) (refused bool) {
	friend := e.run("friend", ModeEnforce, s.checkFriend)
	if friend.final {
		e.friend = friend.reason
		return false
	}
	sender := s.senderChecks(e)
	if sender.refused || sender.final {
		return sender.refused
	}
	return e.run("client", s.policy.Checks.Client.Mode, s.checkClient).refused
}

// EndOfMessage evaluates the current message as a whole, with the header that it
// came with, and ends it.
func (s *Session) EndOfMessage(fields []HeaderField) Verdict {
	v := Verdict{Stage: StageEOM, Action: ActionAccept}
	if q := s.message.quarantine; q != nil {
		v = *q
		v.Stage, v.Arg = StageEOM, ""
		v.Trace, v.Shadow = slices.Clip(v.Trace), slices.Clip(v.Shadow)
	}
	s.scrub(&v, fields)
	s.message = message{}
	return v
}

// Abort forgets the current message; the connection's facts stay.
func (s *Session) Abort() {
	s.message = message{}
}

// finding is what one check found.
type finding struct {
	// action is ActionAccept where the check has nothing against the command.
	action Action
	reply  Reply
	rule   string
	reason string
	// final spares the command the checks that follow, as sendmail's $# does.
	final bool
	// exempt says that the check did not apply.
	exempt bool
	// telling: the reason belongs into the verdict if everything is accepted.
	telling bool
}

// keptLookup is a search whose outcome is the same for later commands.
type keptLookup struct {
	match  access.Match
	probes []access.Probe
}

// lookUpOnce makes a search, or takes the outcome of the time before. Either way its
// keys are in the trace: what a verdict rests on does not depend on what came before.
func (e *evaluation) lookUpOnce(kept **keptLookup, search func(*access.Search) access.Match) access.Match {
	if *kept == nil {
		before := len(e.search.Probes)
		m := search(&e.search)
		*kept = &keptLookup{m, slices.Clone(e.search.Probes[before:])}
		return m
	}
	e.search.Probes = append(e.search.Probes, (*kept).probes...)
	return (*kept).match
}

func (f finding) refuses() bool { return f.action != ActionAccept }

func pass(reason string) finding { return finding{action: ActionAccept, reason: reason} }

// evaluation is the work on one command.
type evaluation struct {
	session   *Session
	search    access.Search
	verdict   Verdict
	recipient *Recipient
	// to is the recipient as the relay rules see it, valid unless toErr.
	to    address
	toErr error
	// entitled: the client may relay, and the recipient was taken for that.
	entitled bool
	// friend says why the recipient is spared the checks on the client.
	friend string
	// answers are the DNS answers that the check at work has used.
	answers []string
	// listing is what a reply of the dnsbl check may tell of.
	listing Listings
}

func (s *Session) evaluate(stage Stage, arg string) *evaluation {
	e := &evaluation{
		session: s,
		search:  access.Search{Table: s.policy.Access, Features: &s.policy.Features, Unnoted: s.untraced},
		verdict: Verdict{Stage: stage, Arg: arg, Action: ActionAccept},
	}
	if !s.untraced {
		e.verdict.Trace = make([]Step, 0, 6)
	}
	return e
}

// outcome is what became of one check.
type outcome struct {
	// refused: the verdict is given.
	refused bool
	// final: the checks that sendmail's $# skips are spared.
	final  bool
	reason string
}

// run carries one check out, notes it in the trace and, where it refuses and is
// enforced, takes its finding over into the verdict.
func (e *evaluation) run(name string, mode Mode, check func(*evaluation) finding) outcome {
	mode = e.session.mode(name, mode)
	if mode == ModeOff {
		return outcome{}
	}
	f := check(e)
	step := Step{Check: name, Result: "pass", Reason: f.reason, Probes: e.search.Probes, Answers: e.answers}
	e.search.Probes, e.answers = nil, nil
	out := outcome{final: f.final, reason: f.reason}
	if f.telling && e.verdict.Action == ActionAccept {
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
		out.refused = f.action != ActionQuarantine || name != "recipient"
	}
	e.trace(step)
	return out
}

func (e *evaluation) trace(step Step) {
	if !e.session.untraced {
		e.verdict.Trace = append(e.verdict.Trace, step)
	}
}

// refuse takes a finding over into the verdict. A refusal outranks a quarantine.
func (e *evaluation) refuse(name string, f finding) {
	v := &e.verdict
	v.Action, v.Reply, v.Check, v.Rule, v.Reason = f.action, f.reply, name, f.rule, f.reason
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
// check's own mode, and where every check is in shadow mode none is enforced.
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

// expand fills the placeholders of a configured reply in.
func (e *evaluation) expand(r Reply) Reply {
	if strings.IndexByte(r.Text, '{') < 0 {
		return r
	}
	s := e.session
	to := ""
	if e.recipient != nil {
		to = e.recipient.To
	}
	return r.expand(strings.NewReplacer(
		"{listed}", Printable(e.listing.Listed), "{zone}", Printable(e.listing.List), "{reason}", Printable(e.listing.Reason),
		"{addr}", s.clientAddr, "{name}", Printable(s.conn.Name), "{ptr}", Printable(s.conn.PTR), "{helo}", Printable(s.helo),
		"{sender}", Printable(s.message.mail.From), "{recipient}", Printable(to)))
}

// refusal makes a finding of a configured reply.
func (e *evaluation) refusal(r Reply, rule, reason string) finding {
	return refusing(e.expand(r), rule, reason)
}

// refusing makes a finding of a reply as it stands.
func refusing(r Reply, rule, reason string) finding {
	action := ActionReject
	if r.Temporary() {
		action = ActionTempfail
	}
	return finding{action: action, reply: r, rule: rule, reason: reason}
}

// outcome makes a finding of what is configured for a result.
func (e *evaluation) outcome(o Outcome, rule, reason string) finding {
	switch o.Action {
	case ActionReject, ActionTempfail:
		return e.refusal(o.Reply, rule, reason)
	case ActionDiscard:
		return finding{action: ActionDiscard, rule: rule, reason: reason}
	case ActionQuarantine:
		return finding{action: ActionQuarantine, reply: Reply{Text: e.expand(o.Reply).Text}, rule: rule, reason: reason}
	}
	return pass(reason + ", which is accepted")
}

// entry makes a finding of an access table entry that does not accept.
func (e *evaluation) entry(m access.Match, reject Reply, reason string) finding {
	rule := e.rule(m.Probe)
	switch m.Value.Kind {
	case access.KindReject:
		return e.refusal(reject, rule, reason)
	case access.KindDiscard:
		return finding{action: ActionDiscard, rule: rule, reason: reason}
	case access.KindQuarantine:
		return finding{action: ActionQuarantine, reply: Reply{Text: m.Value.Text}, rule: rule, reason: reason}
	case access.KindError:
		// The text is the administrator's; placeholders are for configured replies.
		return refusing(Reply{Code: m.Value.Reply.Code, Enhanced: m.Value.Reply.Enhanced, Text: m.Value.Text}, rule, reason)
	default:
		// A keyword with no meaning here is a reply text to sendmail's rules.
		return refusing(Reply{Code: 553, Enhanced: "5.3.0", Text: m.Probe.Value}, rule, reason)
	}
}

// rule names an access table entry: FILE:LINE: KEY VALUE.
func (e *evaluation) rule(p access.Probe) string {
	return e.session.policy.Access.Name() + ":" + strconv.Itoa(p.Line) + ": " + p.Name() + " " + p.Value
}
