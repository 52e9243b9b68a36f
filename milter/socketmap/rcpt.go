package socketmap

import (
	"cmp"
	"context"
	"log/slog"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/printable"
)

// Rcpt answers the one question that milterd.m4 asks about each recipient: what the
// policy says of it, and whether the Received: field that this sendmail adds is to show
// the client. The package comment has the words of question and answer.
//
// It is the policy of the filter door, asked with the same facts in the same order, and
// so it refuses what the filter door would. Only here can a client be let relay: a
// filter is asked when sendmail's own rules have already refused.
//
// What it refuses the filter door never hears of. So it is logged and counted here, and
// NewEvaluator can have it recorded.
type Rcpt struct {
	// Noted, if it is not nil, is told of each line about a refusal, whatever the level
	// of the log is.
	Noted func(*door.Line)
	// NewEvaluator begins the evaluation of a question about a message, which the MTA
	// calls id. Default: the policy's own NewSession.
	NewEvaluator func(id string, p *policy.Policy, c policy.Connection, answers policy.Answers) policy.Evaluator

	current  func() door.Snapshot
	logger   *slog.Logger
	panics   door.PanicLog
	verdicts *prometheus.CounterVec
}

// NewRcpt makes the map. current is asked at each question; logger may be nil.
func NewRcpt(current func() door.Snapshot, logger *slog.Logger) *Rcpt {
	r := &Rcpt{current: current, logger: cmp.Or(logger, slog.New(slog.DiscardHandler)), verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "milterd_map_verdicts_total", Help: "Answers to the question that sendmail asks about each recipient, by the check that decided (none: all passed).",
	}, []string{"check", "action"})}
	r.NewEvaluator = func(_ string, p *policy.Policy, c policy.Connection, answers policy.Answers) policy.Evaluator {
		return p.NewSession(c, answers)
	}
	// The usual one is on the page from the start.
	r.verdicts.WithLabelValues("none", string(policy.ActionAccept))
	return r
}

// Lookup answers one question.
func (r *Rcpt) Lookup(ctx context.Context, key string) Answer {
	now := r.current()
	if now.Policy == nil {
		return notLoaded
	}
	q, err := parseQuestion(key)
	if err != nil {
		r.noteUnread(key, err)
		return Answer{Temp, err.Error()}
	}
	memoryOf(ctx).question = &q
	shared := now.NAT.Shared()
	q.client.Shared = shared.IsValid() && shared == q.client.Addr.Unmap()
	now.Limits = door.OnlyRefused(now.Limits)
	client := door.ClientText(q.client.Addr)
	answers := now.Answers(ctx, q.client, func(value any) {
		r.panics.Log(r.logger, "look-up panicked", value, "client", client)
	})
	evaluator := r.NewEvaluator(q.queueID, now.Policy, q.client, answers)
	defer evaluator.Close()
	if !r.logger.Enabled(ctx, slog.LevelDebug) {
		evaluator.LeaveOutTraces()
	}
	verdict, visibility := judge(evaluator, &q)
	answer := answerTo(&verdict, visibility, q.version)
	r.note(&q, &verdict, answer)
	door.LogTrace(ctx, r.logger, "map", q.queueID, &q.client, &verdict)
	return answer
}

// judge takes an evaluator through the dialogue up to the recipient. A message that is
// put in quarantine at MAIL goes on.
func judge(e policy.Evaluator, q *question) (policy.Verdict, policy.Visibility) {
	e.Helo(q.helo, q.tls)
	e.SetQueueID(q.queueID)
	mail := e.Mail(q.auth, q.mail)
	if !mail.Action.Accepts() {
		return mail, policy.ClientShown
	}
	verdict := e.Rcpt(q.recipient)
	if mail.Action == policy.ActionQuarantine && verdict.Action == policy.ActionAccept {
		mail.Stage, mail.Arg, mail.Relay, mail.Destination = verdict.Stage, verdict.Arg, verdict.Relay, verdict.Destination
		verdict = mail
	}
	return verdict, e.Visibility()
}

// note counts a verdict, and logs it if the filter door will not: the recipient does not
// get that far.
func (r *Rcpt) note(q *question, v *policy.Verdict, given Answer) {
	line := q.line()
	line.Action, line.Check, line.Rule, line.Reply, line.Reason = v.Action, v.Check, v.Rule, v.Reply.String(), v.Reason
	line.Shadow = v.Shadow
	if given.Status == Temp {
		line.Action, line.Reply, line.Reason = policy.ActionTempfail, "", given.Value
	}
	r.verdicts.WithLabelValues(cmp.Or(v.Check, "none"), string(line.Action)).Inc()
	if !line.Action.Accepts() {
		r.tell(&line)
	}
}

func (r *Rcpt) noteUnread(key string, err error) {
	line := door.Line{Door: "map", Action: policy.ActionTempfail, Stage: policy.StageRcpt, Reason: err.Error()}
	line.Queue, line.Client.Addr = whoseQuestion(key)
	r.verdicts.WithLabelValues("none", string(line.Action)).Inc()
	r.tell(&line)
}

func (r *Rcpt) tell(line *door.Line) {
	line.Log(context.Background(), r.logger)
	if r.Noted != nil {
		r.Noted(line)
	}
}

// answerTo puts a verdict into the words that milterd.m4 understands.
func answerTo(v *policy.Verdict, visibility policy.Visibility, version string) Answer {
	words := "SHOW "
	if visibility == policy.ClientHidden {
		words = "HIDE "
	}
	switch v.Action {
	case policy.ActionAccept, policy.ActionQuarantine:
		if visibility == policy.VisibilityUnknown {
			return grantUnknown
		}
	}
	switch v.Action {
	case policy.ActionAccept:
		switch {
		case v.Destination != policy.DestinationRelayed:
			return Answer{OK, words + "NONE"}
		case v.Spared && version != questionVersion1:
			return Answer{OK, words + "TRUSTED"}
		}
		return Answer{OK, words + "RELAY"}
	case policy.ActionDiscard:
		return Answer{OK, words + "DISCARD"}
	case policy.ActionQuarantine:
		if v.Destination == policy.DestinationDenied {
			// Held or not, sendmail's own rules have to let it pass.
			return Answer{OK, words + "NONE"}
		}
		return Answer{OK, words + "QUARANTINE " + quoted(v.Reply.Text)}
	case policy.ActionReject, policy.ActionTempfail:
		if code, ok := enhancedCode(v.Reply); ok {
			return Answer{OK, words + "REFUSE " + code + " " + quoted(strconv.Itoa(v.Reply.Code)+" "+v.Reply.Text)}
		}
	}
	return Answer{Temp, "a verdict that cannot be given"}
}

// enhancedCode is that of a reply, or the one that says nothing (RFC 3463) in the class
// of its code; ok is false if sendmail would make another class of the reply.
func enhancedCode(r policy.Reply) (code string, ok bool) {
	if r.Code < 400 || r.Code > 599 {
		return "", false
	}
	class := strconv.Itoa(r.Code / 100)
	if r.Enhanced == "" {
		return class + ".0.0", true
	}
	return r.Enhanced, strings.HasPrefix(r.Enhanced, class+".")
}

// The bounds of a text in an answer: sendmail has room for 255 octets in a token, and
// for 512 in a line of an SMTP reply.
const (
	maxToken = 200
	maxText  = 480
)

// quoted is a text as one or more quoted tokens, which sendmail joins. Nothing in it can
// end a token early, or stand for an argument of the look-up (%1).
func quoted(text string) string {
	text = strings.NewReplacer(`"`, `'`, `\`, `/`).Replace(printable.ASCII(text))
	text = text[:min(len(text), maxText)]
	if text == "" {
		text = " "
	}
	var tokens []string
	for len(text) > 0 {
		n := min(len(text), maxToken)
		tokens = append(tokens, `"`+strings.ReplaceAll(text[:n], "%", "%%")+`"`)
		text = text[n:]
	}
	return strings.Join(tokens, " ")
}

// Register has a registry read what was answered.
func (r *Rcpt) Register(to prometheus.Registerer) { to.MustRegister(r.verdicts) }
