package policy

import (
	"fmt"
	"strings"
)

// checkSenderDomain asks whether mail could be sent back to the sender's domain
// (the rest of sendmail's check_mail).
func (s *Session) checkSenderDomain(e *evaluation) finding {
	from := s.message.mail.From
	if from == "" {
		return pass("the null sender has no domain")
	}
	a, err := s.policy.canonical(from)
	if err != nil || a.domain == "" {
		return pass("no domain to look up")
	}
	if s.policy.Local.Has(a.domain) || strings.HasPrefix(a.domain, "[") {
		return pass("nothing to look up: " + printable(a.domain))
	}
	domain := s.answers.SenderDomain(a.domain)
	e.answers = append(e.answers, domain.Detail)
	check := s.policy.Checks.SenderDomain
	switch domain.Status {
	case DomainOK:
		return pass(fmt.Sprintf("%s takes mail", a.domain))
	case DomainMissing:
		return e.outcome(check.Missing, "checks.sender_domain.missing", a.domain+" does not exist, or takes no mail")
	case DomainNullMX:
		return e.outcome(check.NullMX, "checks.sender_domain.null_mx", a.domain+" says that it takes no mail (RFC 7505)")
	case DomainBadMX:
		return e.outcome(check.BadMX, "checks.sender_domain.bad_mx", "the mail hosts of "+a.domain+" have no address that mail could be sent to")
	}
	return e.outcome(check.Temporary, "checks.sender_domain.temporary", "the look-up of "+a.domain+" had no answer")
}
