package traffic

import (
	"fmt"

	"milterd/policy"
	"milterd/policy/replay"
)

// Bounds of what is kept of one connection.
const (
	// maxPending is how many commands may wait for their replies. In a log of
	// sendmail there is never more than one.
	maxPending = 64
	// maxCommand is where a command is longer than sendmail's buffer (MAXINPLINE).
	// sendmail then writes it in pieces, the reply to the first behind it, on its line.
	maxCommand = 12287
	// maxMessage is how many octets of one message's recipients and parameters are
	// kept.
	maxMessage = 256 << 10
	// maxSession is how many octets of messages make a session; those that follow
	// make another one.
	maxSession = 256 << 10
)

// connection is one SMTP connection, as far as the log has told.
type connection struct {
	// line is where the session begins; 0 until its first command is there.
	line int
	// kept is what all connections keep, size is this one's part in it.
	kept *int
	size int
	// beginningMissing: the log, or what is known of it, begins within the connection.
	beginningMissing bool

	// client is nil while it is not known.
	client *replay.Connect
	// unconfirmed is what a greeting says of the client that may be a line of a message: it
	// counts only if sendmail's answer to EHLO agrees.
	unconfirmed *replay.Connect
	helo        string
	tls         bool
	// auth is the mechanism, empty if it is not known although authenticated is
	// set.
	auth          string
	authenticated bool

	// pending are the commands without a reply, the oldest first.
	pending []command
	// replying: a line of a reply, whose first one is first, has come, and not the
	// last.
	replying bool
	first    reply
	// inAuth: the next line is part of an AUTH dialogue with this mechanism.
	inAuth bool
	mech   string
	// inData: lines are those of a message.
	inData bool
	header header

	// session is the one that is being put together, inMessage says that the last of its
	// messages goes on.
	session   replay.Session
	inMessage bool
	missing   missing

	// ready are sessions that are complete but for the client.
	ready []*replay.Session
	ended bool
	// next is another connection that has turned out to go on in its place.
	next *connection
}

func (c *connection) keep(n int) {
	c.size += n
	*c.kept += n
}

func (c *connection) release() { c.keep(-c.size) }

func (c *connection) awaits(verb string) bool { return len(c.pending) > 0 && c.pending[0].verb == verb }

func (c *connection) hear(e entry) {
	switch {
	case c.inData:
		c.keep(c.header.add(e.text, e.cut))
	case c.inAuth:
		// Not even looked at: it may be a password.
		c.inAuth = false
		c.push(command{verb: "AUTH", line: e.line, arg: c.mech})
	case e.cut || len(e.text) >= maxCommand:
	default:
		c.push(parseCommand(string(e.text), e.line))
	}
}

func (c *connection) push(cmd command) {
	if len(c.pending) == maxPending {
		c.pop(reply{})
	}
	c.pending = append(c.pending, cmd)
	c.keep(cmd.size())
}

func (c *connection) pop(r reply) {
	cmd := c.pending[0]
	c.pending = c.pending[1:]
	c.keep(-cmd.size())
	c.answer(&cmd, r)
}

func (c *connection) say(r reply) {
	// 050 and the like tell what sendmail is about to do (VERB).
	if !r.ok || r.code < 200 {
		return
	}
	if !c.replying || r.code != c.first.code {
		c.first = r
	}
	c.replying = !r.last
	if c.replying {
		return
	}
	if len(c.pending) > 0 {
		c.pop(c.first)
	}
	c.first.text = ""
	if r.code == 421 {
		c.ended = true
	}
}

// interrupt notes that sendmail delivers the message before it answers for it.
func (c *connection) interrupt() {
	c.replying = false
	if c.inData {
		c.pop(reply{})
	}
}

func (c *connection) finish() {
	for len(c.pending) > 0 {
		c.pop(reply{})
	}
	c.endSession()
}

// answer notes what became of a command. A reply that is not there has code 0.
func (c *connection) answer(cmd *command, r reply) {
	switch cmd.verb {
	case "HELO":
		c.hello(cmd, r)
	case "MAIL":
		c.mail(cmd, r)
	case "RCPT":
		c.rcpt(cmd, r)
	case "DATA":
		if r.code == 354 {
			c.inData, c.header = true, header{}
			end := command{verb: endOfData, line: cmd.line}
			c.pending = append([]command{end}, c.pending...)
			c.keep(end.size())
		}
	case endOfData:
		c.endOfData(r)
	case "STARTTLS":
		if r.code == 220 {
			c.endSession()
			c.tls = true
		}
	case "AUTH":
		c.authenticate(cmd, r)
	case "RSET":
		if r.accepted() {
			c.inMessage = false
		}
	case "QUIT":
		c.ended = r.code == 221
	default:
		if r.code == 235 {
			// The end of an AUTH dialogue whose beginning is not there.
			c.authenticate(&command{}, r)
		}
	}
}

func (c *connection) hello(cmd *command, r reply) {
	if r.code != 250 {
		return
	}
	peer := parseHello(r.text)
	if peer != nil && c.client != nil && peer.Addr != c.client.Addr {
		// The end of the one connection and the beginning of the other are missing.
		c.next = &connection{line: cmd.line, kept: c.kept, client: peer, helo: cmd.arg, beginningMissing: true}
		return
	}
	if peer != nil {
		earlier := c.client
		if earlier == nil && c.unconfirmed != nil && c.unconfirmed.Addr == peer.Addr {
			earlier, c.beginningMissing = c.unconfirmed, false
		}
		if peer.Resolve == "" && earlier != nil {
			peer.Resolve = earlier.Resolve
		}
		c.client = peer
	}
	c.inMessage = false
	if c.helo != cmd.arg {
		c.endSession()
		c.helo = cmd.arg
	}
}

func (c *connection) authenticate(cmd *command, r reply) {
	switch r.code {
	case 334:
		c.inAuth, c.mech = true, cmd.arg
	case 235:
		c.endSession()
		c.auth, c.authenticated = cmd.arg, true
	}
}

func (c *connection) mail(cmd *command, r reply) {
	if !cmd.ok || r.unreadable() {
		return
	}
	if c.size > maxSession {
		c.endSession()
	}
	if c.line == 0 {
		c.line = cmd.line
	}
	c.session.Messages = append(c.session.Messages, replay.Message{Mail: replay.Mail{From: cmd.arg, Args: cmd.args}})
	c.keep(cmd.size())
	c.expected(r, policy.StageMail, cmd.arg)
	c.inMessage = !r.refused()
	c.missing.message = 0
}

func (c *connection) message() *replay.Message {
	return &c.session.Messages[len(c.session.Messages)-1]
}

func (c *connection) rcpt(cmd *command, r reply) {
	if !c.inMessage || !cmd.ok || r.unreadable() {
		return
	}
	if c.missing.message += cmd.size(); c.missing.message > maxMessage {
		c.missing.recipients++
		return
	}
	c.message().Rcpt = append(c.message().Rcpt, replay.Rcpt{To: cmd.arg, Args: cmd.args})
	c.keep(cmd.size())
	c.expected(r, policy.StageRcpt, cmd.arg)
}

func (c *connection) endOfData(r reply) {
	c.inData = false
	fields, size, cut := c.header.fields, c.header.size, c.header.cut
	c.header = header{}
	if !c.inMessage {
		// DATA was accepted in a transaction that the log does not tell of.
		c.keep(-size)
		return
	}
	c.message().Headers = fields
	c.missing.headerCut = c.missing.headerCut || cut
	c.expected(r, policy.StageEOM, "")
	c.inMessage = false
}

func (c *connection) expected(r reply, stage policy.Stage, arg string) {
	x, ok := r.expectation(string(stage), arg)
	switch {
	case ok:
		c.session.Expect = append(c.session.Expect, x)
		c.keep(len(x.Arg) + len(x.Reply) + 100)
	case r.code == 0:
		c.missing.replies++
	default:
		if c.missing.own++; c.missing.own == 1 {
			c.missing.ownReply = r.codes()
		}
	}
}

// endSession ends the session: what follows has other facts, or would be too much.
func (c *connection) endSession() {
	c.inMessage = false
	if len(c.session.Messages) == 0 {
		return
	}
	s := c.session
	s.Line, s.HELO, s.Auth.Type, s.Notes = c.line, c.helo, c.auth, c.notes()
	if c.tls {
		s.TLS.Version = "TLS"
	}
	c.ready = append(c.ready, &s)
	c.line, c.session, c.missing = 0, replay.Session{}, missing{}
	c.release()
	for i := range c.pending {
		c.keep(c.pending[i].size())
	}
}

// missing is what a session lacks that other sessions of a log have.
type missing struct {
	// message is how many octets of the open message's recipients have come,
	// recipients counts those that are left out.
	message, recipients int
	// own counts replies of sendmail itself, ownReply has the codes of the first one;
	// replies counts commands whose reply is not there.
	own, replies int
	ownReply     string
	headerCut    bool
}

func (c *connection) notes() []string {
	notes := []string{"from a traffic log, which has no listener, delivery agents, relay grants or DNS answers: no rules of a port apply, recipients are local by their domain alone, nobody holds a grant, and look-ups time out"}
	add := func(when bool, format string, args ...any) {
		if when {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	m := &c.missing
	add(c.tls, "TLS was begun, but its version, cipher and certificate are not in the log")
	add(c.auth != "", "authenticated with %s, but the log does not say as whom", c.auth)
	add(c.authenticated && c.auth == "", "authenticated, but the log does not say with which mechanism, so the verdicts are those of a client that is not")
	add(c.beginningMissing, "the connection's beginning is missing, so TLS and AUTH may have been there before")
	add(m.own > 0, "not compared, as they are sendmail's own replies: %d (%s)", m.own, m.ownReply)
	add(m.replies > 0, "commands whose replies are not in the log: %d", m.replies)
	add(m.recipients > 0, "recipients of very large messages that are left out: %d", m.recipients)
	add(m.headerCut, "a header of more than %d octets is cut", maxHeader)
	return notes
}
