package record

import (
	"net/netip"
	"sync"

	"milterd/policy"
	"milterd/policy/replay"
)

// transaction takes in what the map door is asked about the recipients of a message that
// the filter door has begun and that is recorded, until the filter door hears of the message
// again. It never hears of the recipients that are refused at the map door.
type transaction struct {
	client netip.Addr
	dns    policy.Recording

	mu    sync.Mutex
	asked []askedRecipient
	size  int
	// more: there was no room for all.
	more bool
}

// askedRecipient is a recipient with what the map door was told of it.
type askedRecipient struct {
	replay.Rcpt
	verdict
	size int
}

// transaction is that of a client with an id, nil if there is none. Two MTAs may have the
// same id for messages of two clients.
func (r *Recorder) transaction(id string, client netip.Addr) *transaction {
	if found, ok := r.transactions.Load(id); ok && found.(*transaction).client == client.Unmap() {
		return found.(*transaction)
	}
	return nil
}

func (t *transaction) add(r askedRecipient) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.more = t.more || len(t.asked) >= maxRecipients || t.size+r.size > maxMessageBytes; !t.more {
		t.asked, t.size = append(t.asked, r), t.size+r.size
	}
}

// take gives what was asked since the last time.
func (t *transaction) take() (asked []askedRecipient, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked, t.asked, t.size = t.asked, nil, 0
	return asked, t.more
}

// NewQuestion begins the evaluation of what the map door is asked about a recipient of
// the message that the MTA calls id. If the message is recorded, its answers come from
// the recording as far as they are there, and go into it. If the filter door does not know
// of the message, the question is a session of its own. A message that is not in the sample
// looks the same, so with a sample this is done only while no filter door is in use.
func (r *Recorder) NewQuestion(id string, p *policy.Policy, facts policy.Connection, answers policy.Answers) policy.Evaluator {
	of := r.transaction(id, facts.Addr)
	switch {
	case of != nil:
	case r.config.Sample == 1 || !r.filtering.Load():
		return r.sampled(p, facts, answers)
	default:
		return p.NewSession(facts, answers)
	}
	answers.Record(of.dns)
	q := &question{of: of}
	q.Evaluator = p.NewSession(facts, &notedAnswers{answers, &q.grant, new([]string)})
	return q
}

type question struct {
	policy.Evaluator
	of    *transaction
	grant grantAnswer
}

var _ policy.Evaluator = (*question)(nil)

func (q *question) Rcpt(r policy.Recipient) policy.Verdict {
	v := q.Evaluator.Rcpt(r)
	q.of.add(askedRecipient{replay.Rcpt(r), verdictOf(&v, q.grant), rcptSize(&r, &v)})
	return v
}

// catchUp takes over what the map door was asked since the last command. to is the
// recipient of the filter door's command, if that is what has come: it was asked about
// last, and what counts of it is what the filter door says.
func (c *conn) catchUp(to string) {
	if c.transaction == nil {
		return
	}
	asked, more := c.transaction.take()
	if last := len(asked) - 1; last >= 0 && asked[last].action.Accepts() && asked[last].To == to {
		asked = asked[:last]
	}
	for _, r := range asked {
		m := c.message()
		if m == nil {
			return
		}
		if len(m.Rcpt) >= maxRecipients || !c.fits(m, r.size) {
			more = true
			break
		}
		m.Rcpt, m.verdicts = append(m.Rcpt, r.Rcpt), append(m.verdicts, r.verdict)
		// sendmail's own rules have refused it.
		m.unreached = m.unreached || r.action.Accepts()
	}
	if m := c.message(); m != nil && more {
		c.cut(m)
	}
}

// leave ends the current message, if there is one.
func (c *conn) leave() {
	if c.transaction != nil {
		// Another MTA may have begun one of the same id by now.
		c.recorder.transactions.CompareAndDelete(c.transactionID, c.transaction)
		c.catchUp("")
		c.transaction = nil
	}
	c.inMessage = false
}
