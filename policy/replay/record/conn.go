package record

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"milterd/header"
	"milterd/policy"
)

// Bounds of what is kept of one connection.
const (
	// maxMessages: a client that sends more is an exception, or crowds the others
	// out.
	maxMessages = 10_000
	// maxOctets is how much may be written of a connection. Every object has the DNS
	// answers of all of it, so its octets grow faster than its messages.
	maxOctets = 4 << 20
	// maxRecipients and maxMessageBytes are for one message.
	maxRecipients   = 1000
	maxMessageBytes = 256 << 10
	// A connection with so many commands or octets hands over what it has.
	maxPartCommands = 256
	maxPartBytes    = 128 << 10
)

// overhead is about what a command takes beside its texts, lineOverhead what a DNS
// answer does.
const (
	overhead     = 256
	lineOverhead = 32
)

// NewSession begins the evaluation of a connection by a policy, and records it if it
// is in the sample.
func (r *Recorder) NewSession(p *policy.Policy, facts policy.Connection, answers policy.Answers) policy.Evaluator {
	c := r.connect(facts)
	if c == nil {
		return p.NewSession(facts, answers)
	}
	c.dns = answers.Record()
	c.inner = p.NewSession(facts, &noted{answers, c})
	return c
}

// conn notes one SMTP connection on its way to inner.
type conn struct {
	recorder *Recorder
	inner    policy.Evaluator
	facts    policy.Connection
	began    time.Time
	number   uint64
	queueID  string
	dns      func() []string
	share    *share

	hello *greeting
	// grant is the answer that the current command has had, held that the last one
	// was GrantHeld: the policy need not ask again then.
	grant grantMark
	held  bool
	// inMessage: commands belong to the last of messages.
	inMessage bool
	messages  []message
	// count is the number of messages so far, commands and size are about messages.
	count, commands, size int
}

// greeting is what a client said of itself, and the encryption it said it in.
type greeting struct {
	helo string
	tls  policy.TLS
}

func (g *greeting) size() int {
	if g == nil {
		return 0
	}
	return len(g.helo) + len(g.tls.Version) + len(g.tls.Cipher) + len(g.tls.Verify) + len(g.tls.CertSubject) + len(g.tls.CertIssuer)
}

// grantMark is a policy.GrantState plus 1, or 0 where nobody asked.
type grantMark uint8

func markOf(g policy.GrantState) grantMark { return grantMark(g) + 1 }

// message is one mail transaction as it went.
type message struct {
	// number counts the connection's messages from 1.
	number  int
	hello   *greeting
	auth    policy.Auth
	mail    policy.Mail
	verdict verdict
	rcpts   []recipient
	headers []policy.HeaderField
	edits   []header.Edit
	// end is the verdict on the whole message, if ended.
	end   verdict
	ended bool
	// cut: there was more of it.
	cut  bool
	size int
}

type recipient struct {
	facts   policy.Recipient
	verdict verdict
}

// verdict is what of a verdict is expected of a replay. Traces are not kept alive.
type verdict struct {
	action policy.Action
	reply  policy.Reply
	grant  grantMark
}

// part is what a connection hands over.
type part struct {
	facts    policy.Connection
	began    time.Time
	number   uint64
	queueID  string
	dns      []string
	share    *share
	messages []message
	size     int
}

// share is what has been written of a connection, or made for that. Its parts have it
// in common.
type share struct{ octets atomic.Int64 }

// spent reports whether nothing more of the connection is written.
func (s *share) spent() bool { return s.octets.Load() >= maxOctets }

// take reports whether so many octets more may be written. Where they may not,
// nothing may from then on.
func (s *share) take(octets int) bool { return s.octets.Add(int64(octets)) <= maxOctets }

// noted are answers whose relay grant is noted. Within one command it is asked for once.
type noted struct {
	policy.Answers
	conn *conn
}

func (n *noted) Grant() policy.GrantState {
	if n.conn.grant == 0 {
		n.conn.grant = markOf(n.Answers.Grant())
	}
	return policy.GrantState(n.conn.grant - 1)
}

var _ policy.Evaluator = (*conn)(nil)

// SetQueueID adds the MTA's first queue id to the id of the session, so that it can be
// found by what the MTA logs.
func (c *conn) SetQueueID(id string) {
	if c.queueID == "" {
		c.queueID = id
	}
	c.inner.SetQueueID(id)
}

// Helo notes a client's name and the state of its TLS. It ends a message.
func (c *conn) Helo(name string, tls policy.TLS) {
	c.inMessage = false
	c.hello = &greeting{name, tls}
	c.inner.Helo(name, tls)
}

// Mail notes the beginning of a message.
func (c *conn) Mail(auth policy.Auth, m policy.Mail) policy.Verdict {
	c.inMessage = false
	if c.commands >= maxPartCommands || c.size >= maxPartBytes {
		c.handOver()
	}
	c.grant = 0
	v := c.inner.Mail(auth, m)
	judged := c.judged(&v)
	size := 2*overhead + len(m.From) + lengths(m.Args) + len(m.Mailer) + len(m.Host) + len(m.Addr) +
		len(auth.Type) + len(auth.Authen) + len(auth.Author) + len(v.Reply.Text) + c.hello.size()
	if c.count++; c.count > maxMessages || size > maxMessageBytes {
		c.recorder.cut.Add(1)
		return v
	}
	c.messages = append(c.messages, message{
		number: c.count, hello: c.hello, auth: auth, mail: m, verdict: judged, size: size,
	})
	c.inMessage = true
	c.note(size)
	return v
}

// Rcpt notes a recipient.
func (c *conn) Rcpt(r policy.Recipient) policy.Verdict {
	c.grant = 0
	v := c.inner.Rcpt(r)
	judged := c.judged(&v)
	m := c.message()
	if m == nil || m.cut {
		return v
	}
	size := overhead + len(r.To) + lengths(r.Args) + len(r.Mailer) + len(r.Host) + len(r.Addr) + len(v.Reply.Text)
	if !c.fits(m, size) || len(m.rcpts) >= maxRecipients {
		c.cut(m)
		return v
	}
	m.rcpts = append(m.rcpts, recipient{r, judged})
	c.note(size)
	return v
}

// EndOfMessage notes the end of a message.
func (c *conn) EndOfMessage(headers []policy.HeaderField) policy.Verdict {
	c.grant = 0
	v := c.inner.EndOfMessage(headers)
	judged := c.judged(&v)
	m := c.message()
	c.inMessage = false
	if m == nil || m.cut {
		return v
	}
	kept, size := c.recorder.wanted(headers)
	if !c.fits(m, size) {
		c.cut(m)
		return v
	}
	m.headers, m.end, m.ended = kept, judged, true
	if c.recorder.config.AllHeaders {
		m.edits = v.Edits
	}
	c.note(size)
	return v
}

// Visibility hands the question on. The policy may learn of a grant by it.
func (c *conn) Visibility() policy.Visibility {
	c.grant = 0
	v := c.inner.Visibility()
	c.learn()
	return v
}

// Abort notes that a message is given up, or that it is over.
func (c *conn) Abort() {
	c.inMessage = false
	c.inner.Abort()
}

// Close hands the connection over to be written. It does not wait.
func (c *conn) Close() {
	c.handOver()
	c.inner.Close()
}

// handOver queues the messages so far.
func (c *conn) handOver() {
	c.inMessage = false
	if len(c.messages) == 0 {
		return
	}
	p := &part{
		facts: c.facts, began: c.began, number: c.number, queueID: c.queueID, share: c.share,
		messages: c.messages, size: c.size,
	}
	c.messages, c.commands, c.size = nil, 0, 0
	if p.share.spent() {
		c.recorder.cut.Add(uint64(len(p.messages)))
		return
	}
	if lines, ok := c.answers(); ok {
		p.dns = lines
		p.size += lengths(lines) + lineOverhead*len(lines)
		c.recorder.take(p)
	}
}

// answers are the DNS answers so far. A mistake in what gives them must not end the
// mail session.
func (c *conn) answers() (lines []string, ok bool) {
	defer func() {
		if value := recover(); value != nil {
			c.recorder.lost.Add(1)
			c.recorder.config.Logger.Error("a session cannot be recorded", slog.String("panic", fmt.Sprint(value)))
			lines, ok = nil, false
		}
	}()
	return c.dns(), true
}

// judged is what is kept of a verdict.
func (c *conn) judged(v *policy.Verdict) verdict {
	c.learn()
	if c.grant == 0 && c.held {
		c.grant = markOf(policy.GrantHeld)
	}
	return verdict{action: v.Action, reply: v.Reply, grant: c.grant}
}

// learn notes what the policy knows of the grant from now on.
func (c *conn) learn() {
	if c.grant != 0 {
		c.held = c.grant == markOf(policy.GrantHeld)
	}
}

// message is the one that the current command belongs to, if it is kept.
func (c *conn) message() *message {
	if !c.inMessage {
		return nil
	}
	return &c.messages[len(c.messages)-1]
}

func (c *conn) note(size int) {
	c.commands++
	c.size += size
}

// fits adds to the size of a message, if there is room.
func (c *conn) fits(m *message, size int) bool {
	if m.size+size > maxMessageBytes {
		return false
	}
	m.size += size
	return true
}

// cut ends what is kept of a message.
func (c *conn) cut(m *message) {
	m.cut = true
	c.recorder.cut.Add(1)
}

// wanted are the header fields that are stored, and their size.
func (r *Recorder) wanted(fields []policy.HeaderField) (kept []policy.HeaderField, size int) {
	if !r.config.AllHeaders && len(r.config.Headers) == 0 {
		return nil, 0
	}
	for _, f := range fields {
		if r.config.AllHeaders || r.named(f.Name) {
			kept = append(kept, f)
			size += len(f.Name) + len(f.Value) + 32
		}
	}
	return kept, size
}

func (r *Recorder) named(name string) bool {
	for _, n := range r.config.Headers {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func lengths(texts []string) int {
	n := 0
	for _, t := range texts {
		n += len(t)
	}
	return n
}
