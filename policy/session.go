package policy

import (
	"slices"

	"milterd/policy/access"
)

// Evaluator judges the transactions of one SMTP connection, in the order that the MTA
// reports them: Helo, then for each message Mail, Rcpt for each recipient and
// EndOfMessage. A Session is one; a recorder stands before it.
type Evaluator interface {
	// Helo takes the client's HELO name and the TLS state at that moment. It may come
	// again after STARTTLS, and ends a message that has begun (RFC 5321 section 4.1.4).
	Helo(name string, tls TLS)
	// SetQueueID names the current message as the MTA does. The decision does not
	// depend on it.
	SetQueueID(id string)
	// Mail begins a message.
	Mail(auth Auth, m Mail) Verdict
	Rcpt(r Recipient) Verdict
	// Visibility says what becomes of the client's traces in the header of the current
	// message, as far as its recipients up to now tell.
	Visibility() Visibility
	// EndOfMessage evaluates the current message as a whole, with the header that it
	// came with, and ends it.
	EndOfMessage(fields []HeaderField) Verdict
	// Abort forgets the current message; the connection's facts stay.
	Abort()
	// Close ends the connection and its look-ups.
	Close()
	// LeaveOutTraces makes the verdicts from here on come without their Trace. All else
	// in them is the same.
	LeaveOutTraces()
}

var _ Evaluator = (*Session)(nil)

// Session is an Evaluator that decides by a Policy. It does no I/O of its own and is
// not safe for concurrent use.
type Session struct {
	policy     *Policy
	conn       Connection
	answers    Answers
	port       Port
	helo       string
	tls        TLS
	clientAddr string // as sendmail writes it
	// client (by its name if clientByName) and entitled are worked out once a connection.
	client       *kept[access.Match]
	clientByName bool
	entitled     *kept[string]
	granted      GrantState // GrantHeld once a relay grant has been seen
	message      message
	untraced     bool         // verdicts have no Trace
	queries      []LimitQuery // room for the questions to the limits
}

// message is what is known about the current message.
type message struct {
	auth       Auth
	mail       Mail
	sender     *kept[access.Match]
	senderOK   string   // the entry that accepts the sender
	quarantine *Verdict // the first that asked for the quarantine queue
	relayed    bool     // a recipient that is not ours was taken, as the client may relay
	counted    bool     // a recipient was taken, and with it the message under all limits
}

// NewSession begins the evaluation of one connection, and the look-ups about its client.
// Without an answers, every look-up is one that had no answer.
func (p *Policy) NewSession(c Connection, answers Answers) *Session {
	s := p.newSession(&c, answers)
	s.answers.Begin(s.needs())
	return s
}

func (p *Policy) newSession(c *Connection, answers Answers) *Session {
	if answers == nil {
		answers = NoAnswers{}
	}
	s := &Session{policy: p, conn: *c, answers: answers}
	s.clientAddr = p.clientAddr(&s.conn)
	s.findPort()
	return s
}

// LeaveOutTraces implements Evaluator. It saves a replay a quarter of its time.
func (s *Session) LeaveOutTraces() { s.untraced = true }

// clientAddr is the client's address as this sendmail writes it, and so as the
// keys of the access table do.
func (p *Policy) clientAddr(c *Connection) string {
	if addr := c.Addr.Unmap(); p.Features.CompressedIPv6 && addr.Is6() {
		return "IPv6:" + addr.WithZone("").String()
	}
	return c.ClientAddr()
}

func (s *Session) Helo(name string, tls TLS) {
	s.Abort()
	s.helo, s.tls = name, tls
}

func (s *Session) SetQueueID(string) {}

func (s *Session) Mail(auth Auth, m Mail) Verdict {
	s.Abort()
	s.message = message{auth: auth, mail: m}
	e := s.evaluate(StageMail, m.From)
	if e.run("port", s.policy.Checks.Port.Mode, s.checkPort).refused {
		return e.done()
	}
	s.prepareAnswers()
	if s.policy.Features.DelayChecks {
		return e.done()
	}
	if !e.run("client", s.policy.Checks.Client.Mode, s.checkClient).refused && !s.clientDNSChecks(e, false) {
		s.senderChecks(e)
	}
	return e.done()
}

// prepareAnswers begins the look-ups about this message. A client with a trusted mechanism
// is spared that of its sender's domain.
func (s *Session) prepareAnswers() {
	n := MessageNeeds{Clients: s.listClients()}
	if !s.trustedAuth() && s.mode("sender_domain", s.policy.Checks.SenderDomain.Mode) != ModeOff {
		n.SenderDomain = s.senderDomain()
	}
	if lists := &s.policy.Checks.DNSBL; s.asksLists() {
		n.Listings = n.Clients != ListStrangers && lists.Addresses.of(n.Clients)
		if lists.Names.of(n.Clients) {
			n.Names = s.listableNames()
		}
	}
	if n.SenderDomain != "" || n.Listings || len(n.Names) > 0 {
		s.answers.Prepare(n)
	}
}

// senderChecks look for the sender in the access table, and for its domain in the DNS if
// the table has no entry (check_mail).
func (s *Session) senderChecks(e *evaluation) passage {
	sender := e.run("sender", s.policy.Checks.Sender.Mode, s.checkSender)
	if sender.refused || sender.final {
		return sender
	}
	return e.run("sender_domain", s.policy.Checks.SenderDomain.Mode, s.checkSenderDomain)
}

func (s *Session) Rcpt(r Recipient) Verdict {
	e := s.evaluateRecipient(&r)
	s.recipientChecks(e)
	s.checkLimits(e)
	verdict := e.done()
	e.noteRelay()
	return verdict
}

// recipientChecks are all the checks at RCPT but the limits.
func (s *Session) recipientChecks(e *evaluation) {
	if s.policy.Features.BlocklistRecipients && e.run("recipient", s.policy.Checks.Recipient.Mode, s.checkRecipient).refused {
		return
	}
	relay := e.run("relay", s.policy.Checks.Relay.Mode, s.checkRelay)
	e.verdict.Destination = e.destination
	if relay.refused || e.verdict.Action == ActionQuarantine {
		return
	}
	if s.senderRights(e) || s.policy.Features.DelayChecks && !e.trusted() && s.delayedChecks(e) {
		return
	}
	s.clientDNSChecks(e, true)
}

// senderRights are the checks on whether the client may send as that sender.
func (s *Session) senderRights(e *evaluation) (refused bool) {
	c := &s.policy.Checks
	return c.SenderLogin.set() && e.run("sender_login", c.SenderLogin.Mode, s.checkSenderLogin).refused ||
		!c.OwnSender.Domains.Empty() && e.run("own_sender", c.OwnSender.Mode, s.checkOwnSender).refused
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
	asks := c.DNSBL.Addresses.any() || c.DNSBL.Names.any()
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

func (s *Session) EndOfMessage(fields []HeaderField) Verdict {
	v := Verdict{Stage: StageEOM, Action: ActionAccept}
	if q := s.message.quarantine; q != nil {
		v = *q
		v.Stage, v.Arg = StageEOM, ""
		v.Trace, v.Shadow = slices.Clip(v.Trace), slices.Clip(v.Shadow)
	}
	s.scrub(&v, fields)
	s.Abort()
	return v
}

func (s *Session) Abort() {
	s.answers.EndMessage()
	s.message = message{}
}

func (s *Session) Close() { s.answers.Close() }
