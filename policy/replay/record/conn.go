package record

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"milterd/header"
	"milterd/policy"
	"milterd/policy/replay"
)

// Bounds of what is kept of one connection.
const (
	// maxMessages: a client that sends more is an exception, or takes the room of others.
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
// answer or a header field does.
const (
	overhead     = 256
	lineOverhead = 32
)

// NewSession begins the evaluation of a connection of the filter door by a policy, and
// notes it if it is in the sample.
func (r *Recorder) NewSession(p *policy.Policy, facts policy.Connection, answers policy.Answers) policy.Evaluator {
	r.filtering.Store(true)
	return r.sampled(p, facts, answers)
}

func (r *Recorder) sampled(p *policy.Policy, facts policy.Connection, answers policy.Answers) policy.Evaluator {
	if r.config.Sample < 1 && r.random() >= r.config.Sample {
		return p.NewSession(facts, answers)
	}
	c := &conn{recorder: r, dns: answers.Record(nil), origin: origin{
		facts: facts, began: r.config.Now(), number: r.number.Add(1), written: new(atomic.Int64),
	}}
	c.Evaluator = p.NewSession(facts, &notedAnswers{answers, &c.grant, &c.counted})
	return c
}

// conn notes one SMTP connection and hands everything on. It is used by one goroutine.
type conn struct {
	policy.Evaluator
	origin
	recorder *Recorder
	// dns has the DNS answers so far.
	dns policy.Recording

	helo string
	tls  policy.TLS
	// grant is the answer that the current command has had, held that the last one
	// was GrantHeld: the policy need not ask again then.
	grant grantAnswer
	held  bool
	// counted are the answers of the limits to the current command.
	counted []string
	// inMessage: commands belong to the last of messages.
	inMessage bool
	messages  []message
	// transaction is what the map door tells of the current message, nil without any, and
	// transactionID the MTA's id for it. messageID is the last id that the MTA has named.
	transaction              *transaction
	transactionID, messageID string
	// count is the number of messages so far, commands and size are about messages.
	count, commands, size int
}

var _ policy.Evaluator = (*conn)(nil)

type origin struct {
	facts   policy.Connection
	began   time.Time
	number  uint64
	queueID string
	// written is how many octets have been written of the connection, or made for that.
	written *atomic.Int64
}

// overLimit reports whether nothing more of the connection is written.
func (o *origin) overLimit() bool { return o.written.Load() >= maxOctets }

// mayWrite reports whether so many octets more may be written. If they may not, nothing
// may from then on.
func (o *origin) mayWrite(octets int) bool { return o.written.Add(int64(octets)) <= maxOctets }

type part struct {
	origin
	dns      []string
	messages []message
	size     int
}

// grantAnswer is a policy.GrantState plus 1, or 0 if the policy has not asked.
type grantAnswer uint8

func grantAnswerOf(g policy.GrantState) grantAnswer { return grantAnswer(g) + 1 }

// said is what a session of the schema has once: the HELO name, TLS and AUTH.
type said struct {
	helo string
	tls  policy.TLS
	auth policy.Auth
}

type message struct {
	replay.Message
	// number counts the connection's messages from 1.
	number int
	said   said
	// verdicts are those on MAIL and on each recipient.
	verdicts []verdict
	headers  []policy.HeaderField
	edits    []header.Edit
	// end is the verdict on the whole message, if ended.
	end   verdict
	ended bool
	// cut: there was more of it.
	cut bool
	// unreached: it has recipients that the policy takes, and sendmail's own rules do not.
	// Its end rests on the others.
	unreached bool
	size      int
}

// verdict is what of a verdict is expected of a replay. Traces are not kept alive.
type verdict struct {
	action policy.Action
	reply  policy.Reply
	// tableText: the text of reply stands in the access table.
	tableText bool
	grant     grantAnswer
	// limits are the answers of the limits.
	limits []string
}

// notedAnswers are answers whose relay grant is noted: it is asked for once in a command.
type notedAnswers struct {
	policy.Answers
	grant *grantAnswer
	// counted is for the answers of the limits.
	counted *[]string
}

func (n *notedAnswers) Grant() policy.GrantState {
	if *n.grant == 0 {
		*n.grant = grantAnswerOf(n.Answers.Grant())
	}
	return policy.GrantState(*n.grant - 1)
}

func (n *notedAnswers) Count(login string, queries []policy.LimitQuery) (blocked bool) {
	blocked = n.Answers.Count(login, queries)
	*n.counted = replay.LimitLines(blocked, queries)
	return blocked
}

// SetQueueID adds the MTA's first queue id to the id of the session, so that it can be
// found by what the MTA logs.
func (c *conn) SetQueueID(id string) {
	if c.queueID == "" {
		c.queueID = id
	}
	c.messageID = id
	c.Evaluator.SetQueueID(id)
}

// Helo ends a message.
func (c *conn) Helo(name string, tls policy.TLS) {
	c.leave()
	c.helo, c.tls = name, tls
	c.Evaluator.Helo(name, tls)
}

func (c *conn) Mail(auth policy.Auth, m policy.Mail) policy.Verdict {
	c.leave()
	if c.commands >= maxPartCommands || c.size >= maxPartBytes {
		c.queueMessages()
	}
	c.grant = 0
	v := c.Evaluator.Mail(auth, m)
	judged := c.judged(&v)
	size := 2*overhead + lengths(m.From, m.Mailer, m.Host, m.Addr, auth.Type, auth.Authen, auth.Author, v.Reply.Text, c.helo) + lengths(m.Args...) +
		lengths(c.tls.Version, c.tls.Cipher, c.tls.Verify, c.tls.CertSubject, c.tls.CertIssuer)
	if v.Action.Accepts() && c.messageID != "" {
		c.transactionID, c.transaction = c.messageID, &transaction{client: c.facts.Addr.Unmap(), dns: c.dns}
		c.recorder.transactions.Store(c.transactionID, c.transaction)
	}
	if c.count++; c.count > maxMessages || size > maxMessageBytes {
		c.recorder.cut.Add(1)
		return v
	}
	c.messages = append(c.messages, message{
		Message: replay.Message{Mail: replay.Mail(m), At: c.recorder.config.Now().UTC().Format(messageTime)}, number: c.count, said: said{c.helo, c.tls, auth}, verdicts: append(make([]verdict, 0, 4), judged),
	})
	c.inMessage = true
	c.fits(&c.messages[len(c.messages)-1], size)
	return v
}

func (c *conn) Rcpt(r policy.Recipient) policy.Verdict {
	c.catchUp(r.To)
	c.grant, c.counted = 0, nil
	v := c.Evaluator.Rcpt(r)
	judged := c.judged(&v)
	judged.limits = c.counted
	size := rcptSize(&r, &v) + lengths(c.counted...)
	if m := c.message(); m != nil && len(m.Rcpt) < maxRecipients && c.fits(m, size) {
		m.Rcpt, m.verdicts = append(m.Rcpt, replay.Rcpt(r)), append(m.verdicts, judged)
	} else if m != nil {
		c.cut(m)
	}
	return v
}

func rcptSize(r *policy.Recipient, v *policy.Verdict) int {
	return overhead + lengths(r.To, r.Mailer, r.Host, r.Addr, r.Domain, v.Reply.Text) + lengths(r.Args...)
}

func (c *conn) EndOfMessage(headers []policy.HeaderField) policy.Verdict {
	c.grant = 0
	v := c.Evaluator.EndOfMessage(headers)
	judged := c.judged(&v)
	c.catchUp("")
	m := c.message()
	defer c.leave()
	if m == nil {
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
	return v
}

// Visibility may tell the policy of a grant.
func (c *conn) Visibility() policy.Visibility {
	c.grant = 0
	v := c.Evaluator.Visibility()
	c.learn()
	return v
}

// Abort says that a message is given up, or that it is over.
func (c *conn) Abort() {
	c.leave()
	c.Evaluator.Abort()
}

// Close hands the connection over to be written. It does not wait.
func (c *conn) Close() {
	c.queueMessages()
	c.Evaluator.Close()
}

func (c *conn) queueMessages() {
	c.leave()
	if len(c.messages) == 0 {
		return
	}
	p := &part{origin: c.origin, messages: c.messages, size: c.size}
	c.messages, c.commands, c.size = nil, 0, 0
	if p.overLimit() {
		c.recorder.cut.Add(uint64(len(p.messages)))
		return
	}
	if lines, ok := c.dnsLines(); ok {
		p.dns = lines
		p.size += lengths(lines...) + lineOverhead*len(lines)
		c.recorder.take(p)
	}
}

// dnsLines are the DNS answers so far. A mistake in what gives them must not end the
// mail session.
func (c *conn) dnsLines() (lines []string, ok bool) {
	defer func() {
		if value := recover(); value != nil {
			c.recorder.lost.Add(1)
			c.recorder.config.Logger.Error("a session cannot be recorded", slog.String("panic", fmt.Sprint(value)))
			lines, ok = nil, false
		}
	}()
	return c.dns.Lines(), true
}

func (c *conn) judged(v *policy.Verdict) verdict {
	c.learn()
	if c.grant == 0 && c.held {
		c.grant = grantAnswerOf(policy.GrantHeld)
	}
	return verdictOf(v, c.grant)
}

func verdictOf(v *policy.Verdict, grant grantAnswer) verdict {
	return verdict{action: v.Action, reply: v.Reply, tableText: v.TableText, grant: grant}
}

// learn notes what the policy knows of the grant from now on.
func (c *conn) learn() {
	if c.grant != 0 {
		c.held = c.grant == grantAnswerOf(policy.GrantHeld)
	}
}

// message is the one that the current command belongs to, if it is kept.
func (c *conn) message() *message {
	if !c.inMessage || c.messages[len(c.messages)-1].cut {
		return nil
	}
	return &c.messages[len(c.messages)-1]
}

// fits adds a command to a message, if there is room.
func (c *conn) fits(m *message, size int) bool {
	if m.size+size > maxMessageBytes {
		return false
	}
	m.size += size
	c.size += size
	c.commands++
	return true
}

func (c *conn) cut(m *message) {
	m.cut = true
	c.recorder.cut.Add(1)
}

func (r *Recorder) wanted(fields []policy.HeaderField) (kept []policy.HeaderField, size int) {
	for _, f := range fields {
		if r.config.AllHeaders || slices.ContainsFunc(r.config.Headers, func(name string) bool { return strings.EqualFold(name, f.Name) }) {
			kept = append(kept, f)
			size += len(f.Name) + len(f.Value) + lineOverhead
		}
	}
	return kept, size
}

func lengths(texts ...string) int {
	n := 0
	for _, t := range texts {
		n += len(t)
	}
	return n
}
