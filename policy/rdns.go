package policy

import (
	"strings"

	"milterd/policy/access"
)

// RDNSCheck acts on the client's reverse DNS.
type RDNSCheck struct {
	Mode               Mode
	Source             RDNSSource
	Temp, Fail, Forged Reaction
	// Generic is for a client whose confirmed names are all of the kind that providers
	// give to access lines (Source own only).
	Generic Reaction
	Exempt  Exempt
}

// RDNSSource says whose reverse look-up the rdns check acts on.
type RDNSSource string

const (
	RDNSSourceSendmail RDNSSource = "sendmail" // ${client_resolve}: sendmail looks at one PTR name
	RDNSSourceOwn      RDNSSource = "own"      // our own look-up of all names (RFC 8601 iprev)
)

// checkRDNS acts on the client's reverse DNS. It does not wait for the answers about an
// exempt client.
func (s *Session) checkRDNS(e *evaluation) finding {
	check := s.policy.Checks.RDNS
	own := check.Source == RDNSSourceOwn
	if s.clientAddr == "" {
		return pass("the client has no address")
	}
	if s.conn.Shared {
		return pass(sharedAddress)
	}
	if own || s.conn.Resolve != ResolveOK {
		if why := s.dnsExempt(e, check.Exempt); why != "" {
			return exempt(why)
		}
	}
	if own {
		return s.unlessExempt(e, check.Exempt, s.ownRDNS(e))
	}
	return s.unlessExempt(e, check.Exempt, s.sendmailRDNS(e))
}

// unlessExempt is f, unless a relay grant would lift it and that grant cannot be asked
// for now.
func (s *Session) unlessExempt(e *evaluation, x Exempt, f finding) finding {
	if !x.Relay {
		return f
	}
	return s.unlessGranted(e, f, s.lifts)
}

// ownRDNS acts on all names of the client.
func (s *Session) ownRDNS(e *evaluation) finding {
	check := s.policy.Checks.RDNS
	rev := s.answers.ReverseDNS()
	e.answers = append(e.answers, rev.Detail, "sendmail says "+string(s.conn.Resolve))
	switch rev.Status {
	case RDNSPass:
		if rev.Generic != "" {
			return e.configured(check.Generic, "checks.rdns.generic", "the client has a generic name only: "+rev.Generic)
		}
		return pass("the client's name is confirmed: " + strings.Join(rev.Names, " "))
	case RDNSMismatch:
		return e.configured(check.Forged, "checks.rdns.forged", "no PTR name resolves back to the client's address")
	case RDNSNone:
		return e.configured(check.Fail, "checks.rdns.fail", "the client's address has no PTR record")
	}
	return e.configured(check.Temp, "checks.rdns.temp", "the reverse look-up had no answer")
}

// sendmailRDNS acts on ${client_resolve}.
func (s *Session) sendmailRDNS(e *evaluation) finding {
	check := s.policy.Checks.RDNS
	switch s.conn.Resolve {
	case ResolveTemp:
		return e.configured(check.Temp, "checks.rdns.temp", "the PTR look-up had no answer")
	case ResolveFail:
		return e.configured(check.Fail, "checks.rdns.fail", "the client's address has no PTR record")
	case ResolveForged:
		return e.configured(check.Forged, "checks.rdns.forged", "the PTR name does not resolve back to the client's address")
	case ResolveOK:
		return pass("the client's name is confirmed")
	}
	return pass("the MTA did not say whether the client's name resolves")
}

// dnsExempt says why a check that asks the DNS does not apply, or nothing. A
// sender with From: OK is always exempt, as in sendmail's check_rcpt.
func (s *Session) dnsExempt(e *evaluation, x Exempt) string {
	// The steps of relay and client have these keys; what exempts names its entry.
	defer e.unnoted()()
	if x.Authenticated {
		if why := s.trustedClient(e); why != "" {
			return why
		}
	}
	// An address that clients share entitles none of them.
	if x.Relay && !s.conn.Shared {
		if why := s.entitlement(e); why != "" {
			return "it may relay: " + why
		}
		if s.lifts() == GrantHeld {
			return "it holds a relay grant"
		}
	}
	if x.Friend && e.friend != "" {
		return "the recipient is " + e.friend
	}
	if ok := s.message.senderOK; ok != "" {
		return "the sender is accepted: " + ok
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
	if local := access.Fold(e.to.local[0]); local != "postmaster" && local != "abuse" {
		return false
	}
	return s.deliveredHere(e)
}
