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
	// line is where the session begins that is being put together; 0 until its first
	// command is there.
	line int
	// kept is what all connections keep, size is this one's part in it.
	kept *int
	size int
	// beheaded: the log, or what is known of it, begins within the connection.
	beheaded bool

	client client
	// rumour is what a greeting says of the client that may be a line of a message: it
	// counts only where sendmail's answer to EHLO agrees.
	rumour client
	helo   string
	tls    bool
	// auth is the mechanism, empty where it is not known although authenticated is
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

	// open is the message of the transaction that is going on; nil for none.
	open     *replay.Message
	messages []*replay.Message
	expect   []replay.Expect
	facts    facts

	// ready are sessions that are complete but for the client.
	ready []*replay.Session
	ended bool
	// next is another connection that has turned out to go on in its place.
	next *connection
}

// keep counts octets that are kept.
func (c *connection) keep(n int) {
	c.size += n
	*c.kept += n
}

// release counts them out.
func (c *connection) release() { c.keep(-c.size) }

// greeting takes the first line.
func (c *connection) greeting(line string) {
	if peer, ok := parseGreeting(line); ok {
		c.client = peer
	}
}

// awaits reports whether the next reply is to a command of this verb.
func (c *connection) awaits(v verb) bool { return len(c.pending) > 0 && c.pending[0].verb == v }

// hear takes a line from the client.
func (c *connection) hear(e entry) {
	switch {
	case c.inData:
		c.keep(c.header.add(e.text, e.cut))
	case c.inAuth:
		// Not even looked at: it may be a password.
		c.inAuth = false
		c.push(command{verb: verbAuth, line: e.line, arg: c.mech})
	case e.cut || len(e.text) >= maxCommand:
	default:
		c.push(parseCommand(string(e.text), e.line))
	}
}

// push adds a command that waits for its reply.
func (c *connection) push(cmd command) {
	if len(c.pending) == maxPending {
		c.pop(reply{})
	}
	c.pending = append(c.pending, cmd)
	c.keep(cmd.size())
}

// pop answers the oldest command.
func (c *connection) pop(r reply) {
	cmd := c.pending[0]
	c.pending = c.pending[1:]
	c.keep(-cmd.size())
	c.answer(&cmd, r)
}

// say takes a line of a reply.
func (c *connection) say(r reply) {
	// 050 and the like tell what sendmail is about to do (VERB).
	if !r.ok || r.code < 200 {
		return
	}
	if !c.replying || r.code != c.first.code {
		c.first = r.whole()
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

// finish ends the connection.
func (c *connection) finish() {
	for len(c.pending) > 0 {
		c.pop(reply{})
	}
	c.endSession()
}

// answer notes what became of a command. A reply that is not there has code 0.
func (c *connection) answer(cmd *command, r reply) {
	switch cmd.verb {
	case verbHello:
		c.hello(cmd, r)
	case verbMail:
		c.mail(cmd, r)
	case verbRcpt:
		c.rcpt(cmd, r)
	case verbData:
		if r.code == 354 {
			c.inData, c.header = true, header{}
			end := command{verb: verbEndOfData, line: cmd.line}
			c.pending = append([]command{end}, c.pending...)
			c.keep(end.size())
		}
	case verbEndOfData:
		c.endOfData(r)
	case verbStartTLS:
		if r.code == 220 {
			c.endSession()
			c.tls = true
		}
	case verbAuth:
		c.authenticate(cmd, r)
	case verbReset:
		if r.accepted() {
			c.open = nil
		}
	case verbQuit:
		c.ended = r.code == 221
	case verbOther:
		if r.code == 235 {
			// The end of an AUTH dialogue whose beginning is not there.
			c.authenticate(&command{}, r)
		}
	}
}

// hello takes EHLO or HELO and sendmail's answer, which names the client.
func (c *connection) hello(cmd *command, r reply) {
	if r.code != 250 {
		return
	}
	peer, ok := parseHello(r.text)
	if ok && c.client.known && peer.addr != c.client.addr {
		// The end of the one connection and the beginning of the other are missing.
		c.next = &connection{line: cmd.line, kept: c.kept, client: peer, helo: cmd.arg, beheaded: true}
		return
	}
	if ok {
		earlier := c.client
		if !earlier.known && c.rumour.known && c.rumour.addr == peer.addr {
			earlier, c.beheaded = c.rumour, false
		}
		if peer.resolve == "" {
			peer.resolve = earlier.resolve
		}
		c.client = peer
	}
	c.open = nil
	if c.helo != cmd.arg {
		c.endSession()
		c.helo = cmd.arg
	}
}

// authenticate takes a step of AUTH.
func (c *connection) authenticate(cmd *command, r reply) {
	switch r.code {
	case 334:
		c.inAuth, c.mech = true, cmd.arg
	case 235:
		c.endSession()
		c.auth, c.authenticated = cmd.arg, true
	}
}

// mail begins a message.
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
	m := &replay.Message{Mail: replay.Mail{From: cmd.arg, Args: cmd.args}}
	c.messages = append(c.messages, m)
	c.keep(cmd.size())
	c.expected(r, policy.StageMail, cmd.arg)
	c.open = m
	if r.refused() {
		c.open = nil
	}
	c.facts.message = 0
}

// rcpt adds a recipient to the open message.
func (c *connection) rcpt(cmd *command, r reply) {
	if c.open == nil || !cmd.ok || r.unreadable() {
		return
	}
	if c.facts.message += cmd.size(); c.facts.message > maxMessage {
		c.facts.recipients++
		return
	}
	c.open.Rcpt = append(c.open.Rcpt, replay.Rcpt{To: cmd.arg, Args: cmd.args})
	c.keep(cmd.size())
	c.expected(r, policy.StageRcpt, cmd.arg)
}

// endOfData ends a message.
func (c *connection) endOfData(r reply) {
	c.inData = false
	fields, size, cut := c.header.fields, c.header.size, c.header.cut
	c.header = header{}
	if c.open == nil {
		// DATA was accepted in a transaction that the log does not tell of.
		c.keep(-size)
		return
	}
	c.open.Headers = fields
	c.facts.headerCut = c.facts.headerCut || cut
	c.expected(r, policy.StageEOM, "")
	c.open = nil
}

// expected notes what the verdict on a command should be.
func (c *connection) expected(r reply, stage policy.Stage, arg string) {
	x, ok := r.expectation(string(stage), arg)
	if ok {
		c.expect = append(c.expect, x)
		c.keep(len(x.Arg) + len(x.Reply) + 100)
		return
	}
	c.facts.uncompared(r)
}

// endSession puts the messages up to now into a session: what follows has other facts,
// or would be too much.
func (c *connection) endSession() {
	messages := c.messages
	c.messages, c.open = nil, nil
	if len(messages) == 0 {
		return
	}
	s := &replay.Session{Line: c.line, HELO: c.helo, Auth: replay.Auth{Type: c.auth}, Expect: c.expect, Notes: c.notes()}
	if c.tls {
		s.TLS.Version = "TLS"
	}
	for _, m := range messages {
		s.Messages = append(s.Messages, *m)
	}
	c.ready = append(c.ready, s)
	c.line, c.expect, c.facts = 0, nil, facts{}
	c.release()
	for i := range c.pending {
		c.keep(c.pending[i].size())
	}
}

// facts are what the notes of a session say of it in particular.
type facts struct {
	// message is how many octets of the open message's recipients have come.
	message int
	// own counts replies of sendmail itself, ownReply has the codes of the first one; silent counts
	// commands whose reply is not there.
	own, silent int
	ownReply    string
	// recipients counts those that are left out.
	recipients int
	headerCut  bool
}

// uncompared notes a reply that is not compared.
func (f *facts) uncompared(r reply) {
	if r.code == 0 {
		f.silent++
		return
	}
	if f.own++; f.own == 1 {
		f.ownReply = r.codes()
	}
}

// notes say what the log does not tell of a session.
func (c *connection) notes() []string {
	notes := []string{"from a traffic log, which has no listener, delivery agents, relay grants or DNS answers: no rules of a port apply, recipients are local by their domain alone, nobody holds a grant, and look-ups time out"}
	add := func(when bool, format string, args ...any) {
		if when {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	f := &c.facts
	add(c.tls, "TLS was begun, but its version, cipher and certificate are not in the log")
	add(c.auth != "", "authenticated with %s, but the log does not say as whom", c.auth)
	add(c.authenticated && c.auth == "", "authenticated, but the log does not say with which mechanism, so the verdicts are those of a client that is not")
	add(c.beheaded, "the connection's beginning is missing, so TLS and AUTH may have been there before")
	add(f.own > 0, "not compared, as they are sendmail's own replies: %d (%s)", f.own, f.ownReply)
	add(f.silent > 0, "commands whose replies are not in the log: %d", f.silent)
	add(f.recipients > 0, "recipients of very large messages that are left out: %d", f.recipients)
	add(f.headerCut, "a header of more than %d octets is cut", maxHeader)
	return notes
}
