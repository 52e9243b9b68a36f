package policy

import "strings"

// checkRDNS acts on the client's reverse DNS as sendmail found it.
func (s *Session) checkRDNS(e *evaluation) finding {
	check := s.policy.Checks.RDNS
	var outcome Outcome
	var rule, reason string
	switch s.conn.Resolve {
	case ResolveTemp:
		outcome, rule, reason = check.Temp, "checks.rdns.temp", "the PTR look-up had no answer"
	case ResolveFail:
		outcome, rule, reason = check.Fail, "checks.rdns.fail", "the client's address has no PTR record"
	case ResolveForged:
		outcome, rule, reason = check.Forged, "checks.rdns.forged", "the PTR name does not resolve back to the client's address"
	case ResolveOK:
		return pass("the client's name is confirmed")
	default:
		return pass("the MTA did not say whether the client's name resolves")
	}
	if why := s.rdnsExempt(e, check.Exempt); why != "" {
		return finding{action: ActionAccept, exempt: true, reason: reason + ", but " + why}
	}
	switch outcome.Action {
	case ActionReject, ActionTempfail:
		return e.refusal(outcome.Reply, rule, reason)
	case ActionDiscard:
		return finding{action: ActionDiscard, rule: rule, reason: reason}
	case ActionQuarantine:
		return finding{action: ActionQuarantine, reply: Reply{Text: e.expand(outcome.Reply).Text}, rule: rule, reason: reason}
	}
	return pass(reason + ", which is accepted")
}

// rdnsExempt says why the check does not apply, or nothing. A sender with From:
// OK is always exempt, as in sendmail's check_rcpt.
func (s *Session) rdnsExempt(e *evaluation, x Exempt) string {
	if x.Authenticated {
		if why := s.trustedClient(e); why != "" {
			return why
		}
	}
	if x.Relay {
		if granted := s.entitlement(e); granted.ok {
			return "it may relay: " + granted.reason
		}
	}
	if x.Friend && e.friend != "" {
		return "the recipient is " + e.friend
	}
	if sender := s.message.sender; sender != nil && sender.final {
		return "the sender is accepted: " + sender.reason
	}
	if x.ConnectOK {
		if client := s.checkClient(e); client.final {
			return "the client is accepted: " + client.reason
		}
	}
	if x.Postmaster && e.recipient != nil && s.ownPostmaster(e) {
		return "mail to postmaster and abuse is always taken (RFC 5321 section 4.5.1)"
	}
	return ""
}

// ownPostmaster reports whether the recipient is postmaster or abuse here.
func (s *Session) ownPostmaster(e *evaluation) bool {
	if e.toErr != nil || len(e.to.local) != 1 {
		return false
	}
	if local := e.to.local[0]; !strings.EqualFold(local, "postmaster") && !strings.EqualFold(local, "abuse") {
		return false
	}
	return e.to.domain == "" || s.policy.Local.Has(e.to.domain) || s.localMailer(e.recipient.Mailer)
}
