package milter

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	gomilter "github.com/d--j/go-milter"

	"milterd/header"
	"milterd/milter/door"
	"milterd/policy"
)

// session answers the callbacks of one filter connection: one SMTP connection
// with any number of messages. If the MTA sends QUIT_NC, several SMTP connections come
// one after the other.
//
// The library calls from one goroutine. A callback never returns an error,
// which would drop the filter connection and leave the rest of the SMTP
// connection without a filter; what goes wrong is answered with a temporary
// failure instead.
type session struct {
	// Data, Headers, BodyChunk and Unknown, which come only from an MTA that cannot leave
	// them out, are answered CONTINUE.
	gomilter.NoOpMilter
	server *Server
	ctx    context.Context // ends with the filter connection
	cancel context.CancelFunc
	// scrubs: the MTA sends header fields, and lets them be changed.
	scrubs bool
	kept   *kept

	// One SMTP connection.
	current door.Snapshot
	client  policy.Connection
	helo    string
	tls     policy.TLS
	// evaluator is nil before CONNECT, and for the rest of the SMTP connection
	// when its facts could not be taken in: every MAIL is then refused for now.
	evaluator policy.Evaluator

	message
}

// message is the one that is under way.
type message struct {
	inMessage bool
	from      string
	auth      policy.Auth
	queueID   string
	told      door.Message
	// accepted are the mailboxes of the accepted recipients; muddle is why the MTA may
	// send the message to others than those, nil if it does not.
	accepted []mailbox
	muddle   *muddle
}

// newSession makes the session on a connection; nil is one that is closed.
func newSession(s *Server, c *guardedConn, scrubs, quiet bool) *session {
	ctx, cancel := context.WithCancel(context.Background())
	if c == nil {
		c = new(guardedConn)
	}
	c.kept.wanted, c.kept.quiet = scrubs, quiet
	return &session{server: s, ctx: ctx, cancel: cancel, scrubs: scrubs, kept: &c.kept}
}

// NewConnection begins an SMTP connection. It comes again on QUIT_NC, without
// a Cleanup before it, so nothing of the connection before may stay.
func (s *session) NewConnection(gomilter.Modifier) error {
	defer s.tempfailOnPanic("new connection", nil)
	s.endConnection()
	s.current = door.Snapshot{}
	s.client, s.helo, s.tls = policy.Connection{}, "", policy.TLS{}
	s.endMessage()
	s.current = s.server.config.Current()
	return nil
}

// Connect takes the client's address and names. Nothing is refused here: the
// client would not see the reason, and has had no chance to authenticate.
func (s *session) Connect(host, family string, port uint16, addr string, _ gomilter.Modifier) (response *gomilter.Response, err error) {
	defer s.tempfailOnPanic("connect", &response)
	s.endMessage()
	s.endConnection()
	known := connection(&s.client, host, family, port, addr, &s.kept.macros)
	if s.current.Policy == nil || !known {
		return gomilter.RespContinue, nil
	}
	s.client.Shared = s.current.NAT.Seen(s.client.Addr)
	s.evaluate(s.answers())
	return gomilter.RespContinue, nil
}

// answers and evaluate are functions of their own as each copies the client's facts: in
// one with their caller, the stack of every idle session would be twice as large.
func (s *session) answers() policy.Answers {
	client := s.client.Addr
	return s.current.Answers(s.ctx, s.client, func(value any) { s.server.recovered("look-up", value, "client", door.ClientText(client)) })
}

func (s *session) evaluate(answers policy.Answers) {
	s.evaluator = s.server.config.NewEvaluator(s.current.Policy, s.client, answers)
	if !s.server.logger.Enabled(s.ctx, slog.LevelDebug) {
		s.evaluator.LeaveOutTraces()
	}
}

// Helo takes the client's name and the state of its TLS. It mostly comes again
// after STARTTLS.
func (s *session) Helo(name string, _ gomilter.Modifier) (response *gomilter.Response, err error) {
	defer s.tempfailAllOnPanic("helo", &response)
	s.endMessage()
	s.helo, s.tls = name, tlsState(&s.kept.macros)
	if s.evaluator != nil {
		s.evaluator.Helo(name, s.tls)
	}
	return gomilter.RespContinue, nil
}

// deepen has the stack grow to what a verdict needs while there is little on it: what is on
// it is copied. Before the first MAIL a connection may be idle for long, with a small one.
//
//go:noinline
func deepen(n int) byte {
	var room [5 << 10]byte
	return room[n%len(room)]
}

// MailFrom begins a message. What the macros say of AUTH counts for this
// message only, and is taken anew for the next.
func (s *session) MailFrom(from, args string, _ gomilter.Modifier) (response *gomilter.Response, err error) {
	defer s.tempfailOnPanic("mail", &response)
	defer s.server.counter.mail.took(time.Now())
	deepen(len(from))
	s.endMessage()
	s.noteQueueID()
	s.from, s.auth = from, authState(&s.kept.macros)
	if s.evaluator == nil {
		return s.unjudged(policy.StageMail, from, "the facts of this connection are not known"), nil
	}
	if tls := tlsState(&s.kept.macros); tls.Version != "" && tls != s.tls {
		// A client need not say EHLO again after STARTTLS.
		s.tls = tls
		s.evaluator.Helo(s.helo, tls)
	}
	verdict := s.evaluator.Mail(s.auth, policy.Mail{
		From:   from,
		Args:   strings.Fields(args),
		Mailer: s.kept.macros.Get(gomilter.MacroMailMailer),
		Host:   s.kept.macros.Get(gomilter.MacroMailHost),
		Addr:   s.kept.macros.Get(gomilter.MacroMailAddr),
	})
	response = s.give(&verdict)
	s.inMessage = response.Continue()
	return response, nil
}

// RcptTo judges one recipient.
func (s *session) RcptTo(to, args string, _ gomilter.Modifier) (response *gomilter.Response, err error) {
	recipient := policy.Recipient{
		To:     to,
		Args:   strings.Fields(args),
		Mailer: s.kept.macros.Get(gomilter.MacroRcptMailer),
		Host:   s.kept.macros.Get(gomilter.MacroRcptHost),
		Addr:   s.kept.macros.Get(gomilter.MacroRcptAddr),
	}
	defer s.noteRecipient(&recipient, &response)
	defer s.tempfailOnPanic("rcpt", &response)
	defer s.server.counter.rcpt.took(time.Now())
	s.noteQueueID()
	if !s.inMessage {
		return s.unjudged(policy.StageRcpt, to, "no MAIL before it"), nil
	}
	if s.told.Recipients() >= s.server.config.Limits.Recipients {
		return s.tooMany(to), nil
	}
	verdict := s.evaluator.Rcpt(recipient)
	if recipient.Refused() {
		// The MTA has refused it, and only tells.
		return gomilter.RespContinue, nil
	}
	response = s.give(&verdict)
	if verdict.Action == policy.ActionDiscard {
		// The one answer to RCPT that ends the whole message.
		s.inMessage = false
	}
	return response, nil
}

// Header keeps a field for the end of the message, if anything needs it; the
// guard has bounded their number and size. It comes only from an MTA that wants an answer.
func (s *session) Header(name, value string, _ gomilter.Modifier) (*gomilter.Response, error) {
	if s.inMessage && s.scrubs {
		s.kept.fields = append(s.kept.fields, policy.HeaderField{Name: name, Value: value})
	}
	return gomilter.RespContinue, nil
}

// EndOfMessage judges the message as a whole. It is the only stage at which an
// MTA takes the order to quarantine.
func (s *session) EndOfMessage(m gomilter.Modifier) (response *gomilter.Response, err error) {
	defer s.tempfailOnPanic("end of message", &response)
	defer s.server.counter.eom.took(time.Now())
	s.noteQueueID()
	if !s.inMessage {
		return s.unjudged(policy.StageEOM, "", "no MAIL before it"), nil
	}
	s.inMessage = false
	if m := s.muddle; m != nil {
		return s.give(&policy.Verdict{Stage: policy.StageEOM, Action: policy.ActionTempfail, Reply: m.reply, Reason: m.reason}), nil
	}
	if !s.scrubs && s.evaluator.Visibility() == policy.ClientHidden {
		// The policy has begun to scrub since the filter connection was made.
		return s.unjudged(policy.StageEOM, "", "the header has to be scrubbed, but was not asked for when this connection began"), nil
	}
	verdict := s.evaluator.EndOfMessage(s.kept.fields)
	if err := change(m, verdict.Edits); err != nil {
		return s.fail(&verdict, "the MTA does not change the header: "+err.Error()), nil
	}
	if verdict.Action == policy.ActionQuarantine {
		reason := replyText(verdict.Reply.Text, maxReplyLine)
		if err := m.Quarantine(reason); err != nil {
			// An MTA that cannot hold the message must not deliver it either.
			return s.fail(&verdict, "the MTA does not quarantine: "+err.Error()), nil
		}
	}
	return s.give(&verdict), nil
}

func change(m gomilter.Modifier, edits []header.Edit) error {
	for _, e := range edits {
		value := e.Value
		if e.Delete {
			value = ""
		}
		if err := m.ChangeHeader(e.Index, e.Name, value); err != nil {
			return fmt.Errorf("%s %d: %w", e.Name, e.Index, err)
		}
	}
	return nil
}

// Abort ends a message early. It also comes after the end of a message, and
// the library makes one up when the MTA goes back to an earlier stage.
func (s *session) Abort(gomilter.Modifier) error {
	defer s.tempfailAllOnPanic("abort", nil)
	s.endMessage()
	if s.evaluator != nil {
		s.evaluator.Abort()
	}
	return nil
}

// Cleanup ends the filter connection.
func (s *session) Cleanup(gomilter.Modifier) {
	defer s.cancel()
	defer s.tempfailAllOnPanic("cleanup", nil)
	s.endConnection()
}

func (s *session) endConnection() {
	evaluator := s.evaluator
	s.evaluator = nil
	if evaluator != nil {
		evaluator.Close()
	}
}

func (s *session) endMessage() {
	s.message = message{}
	s.kept.fields = nil
}

// noteQueueID keeps the queue id for the log. sendmail has it from the
// beginning, Postfix only later in the message.
func (s *session) noteQueueID() {
	id := s.kept.macros.Get(gomilter.MacroQueueId)
	if id == "" || id == s.queueID {
		return
	}
	s.queueID = id
	if s.evaluator != nil {
		s.evaluator.SetQueueID(id)
	}
}

func (s *session) give(v *policy.Verdict) *gomilter.Response {
	response, ok := responseTo(v)
	if !ok {
		return s.fail(v, "the verdict cannot be given: "+string(v.Action)+" "+v.Reply.String())
	}
	s.server.counter.verdict(v)
	s.log(v)
	return response
}

func (s *session) tooMany(to string) *gomilter.Response {
	return s.give(&policy.Verdict{
		Stage: policy.StageRcpt, Arg: to, Action: policy.ActionTempfail, Reply: tooManyRecipients,
		Reason: "this message has as many recipients as it may have",
	})
}

func (s *session) unjudged(stage policy.Stage, arg, reason string) *gomilter.Response {
	return s.fail(&policy.Verdict{Stage: stage, Arg: arg}, reason)
}

func (s *session) fail(v *policy.Verdict, reason string) *gomilter.Response {
	v.Action, v.Reply, v.Reason, v.Edits = policy.ActionTempfail, failureReply, reason, nil
	return s.give(v)
}

// tempfailOnPanic, deferred, turns a panic into a temporary failure of this command.
func (s *session) tempfailOnPanic(callback string, response **gomilter.Response) {
	if s.recovered(callback, recover()) && response != nil {
		*response = failure()
	}
}

// tempfailAllOnPanic does the same if the panic may have lost facts that later commands
// need: the rest of the SMTP connection gets temporary failures only.
func (s *session) tempfailAllOnPanic(callback string, response **gomilter.Response) {
	if !s.recovered(callback, recover()) {
		return
	}
	s.evaluator = nil
	s.inMessage = false
	if response != nil {
		*response = failure()
	}
}

func (s *session) recovered(callback string, value any) bool {
	return value != nil && s.server.recovered(callback, value, "queue", s.queueID, "client", door.ClientText(s.client.Addr))
}
