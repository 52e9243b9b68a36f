package policy

import (
	"regexp"
	"strconv"
)

// refusedMailer is the delivery agent ({rcpt_mailer}) of a recipient that the MTA refuses
// itself.
const refusedMailer = "error"

// Refused reports whether the MTA has refused the recipient itself, and only tells: filters
// can ask for that. Then {rcpt_host} is the enhanced code. Without one it is a recipient as
// any other: Postfix has this transport for those in virtual_alias_domains, before it knows
// where they lead.
func (r *Recipient) Refused() bool {
	return r.Mailer == refusedMailer && enhancedCode.MatchString(r.Host)
}

var enhancedCode = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}$`)

// checkLimits asks the limits for room, and refuses what is over one. It comes after all
// other checks, and counts what they have made of the recipient.
func (s *Session) checkLimits(e *evaluation) {
	limits := &s.policy.Limits
	if !limits.Blocks && len(limits.Rules) == 0 {
		return
	}
	refused := e.verdict.Action == ActionReject || e.recipient.Refused()
	taken := e.verdict.Action.Accepts() && !refused
	if !refused && !taken {
		return
	}
	login := s.policy.LoginOf(s.message.auth)
	queries := s.limitQueries(e, login, taken)
	if !taken || !limits.Blocks {
		login = "" // it is not asked whether it is blocked
	}
	if login == "" && len(queries) == 0 {
		return
	}
	blocked := s.answers.Count(login, queries)
	if taken {
		s.judgeLimits(e, blocked, queries)
		s.message.counted = s.message.counted || e.verdict.Action.Accepts()
	}
}

// limitQueries are the questions about one recipient. The slice is used again for the
// next.
func (s *Session) limitQueries(e *evaluation, login string, taken bool) []LimitQuery {
	if s.queries == nil {
		s.queries = make([]LimitQuery, 0, len(s.policy.Limits.Rules))
	}
	queries := s.queries[:0]
	for i := range s.policy.Limits.Rules {
		l := &s.policy.Limits.Rules[i]
		mode := s.mode("limits", l.Mode)
		n := 1
		switch {
		case mode == ModeOff,
			taken && l.Count == CountMessages && s.message.counted,
			!taken && l.Count != CountRefused:
			continue
		case taken && l.Count == CountRefused:
			n = 0
		}
		key, invented := s.limitKey(e, l.By, login)
		if key == "" || !s.limited(e, l, login) {
			continue
		}
		if rates := l.RatesOf(login); len(rates) > 0 {
			queries = append(queries, LimitQuery{Limit: l, Key: key, Invented: invented, Rates: rates, N: n, Enforced: mode == ModeEnforce})
		}
	}
	s.queries = queries
	return queries
}

// judgeLimits makes the verdict of the answers.
func (s *Session) judgeLimits(e *evaluation, blocked bool, queries []LimitQuery) {
	if blocked {
		// A block by hand is a command, not a rule on trial: it holds in every mode.
		f := e.refusal(s.policy.Limits.Blocked, "limits.blocked", "the login has been blocked by hand (milterd -block)")
		e.refuse("limits", f)
		s.trace(&e.verdict, Step{Check: "limits", Result: string(f.action), Reason: f.reason})
		return
	}
	over := false
	for i := range queries {
		q := &queries[i]
		if q.Answer.Wait <= 0 {
			continue
		}
		over = true
		if e.run("limits", q.Limit.Mode, func(e *evaluation) finding { return e.overLimit(q) }).refused {
			return
		}
	}
	if over || s.untraced {
		return
	}
	if used := limitsUsed(queries); used != "" {
		s.trace(&e.verdict, Step{Check: "limits", Result: "pass", Reason: used})
	}
}

// limitsUsed tells how much of each limit was used: "logins 37 of 100/1h, day 120 of
// 1000/24h". Those that were not asked, as at the map door, are left out.
func limitsUsed(queries []LimitQuery) string {
	var room [256]byte
	used := room[:0]
	for i := range queries {
		q := &queries[i]
		if q.Answer.Rate.Burst <= 0 {
			continue
		}
		if len(used) > 0 {
			used = append(used, ", "...)
		}
		used = strconv.AppendInt(append(append(used, q.Limit.Name...), ' '), int64(q.Answer.Used), 10)
		used = strconv.AppendInt(append(used, " of "...), int64(q.Answer.Rate.Burst), 10)
	}
	return string(used)
}

// overLimit refuses a recipient for which a limit has no room.
func (e *evaluation) overLimit(q *LimitQuery) finding {
	e.limit, e.wait = q.Answer.Rate.String(), waitText(q.Answer.Wait)
	return e.refusal(q.Limit.Reply, "limits.rules."+q.Limit.Name,
		"this "+string(q.Limit.By)+" has used all of "+e.limit+" "+string(q.Limit.Count)+"; room again in "+e.wait)
}

// waitText is a number of seconds in one unit, rounded up: "36 seconds", "30 minutes", "2
// hours".
func waitText(seconds int) string {
	unit, name := 1, "second"
	switch {
	case seconds > 2*60*60:
		unit, name = 60*60, "hour"
	case seconds > 2*60:
		unit, name = 60, "minute"
	}
	n := (seconds + unit - 1) / unit
	if n != 1 {
		name += "s"
	}
	return strconv.Itoa(n) + " " + name
}
