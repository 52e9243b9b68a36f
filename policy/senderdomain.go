package policy

import "strings"

// SenderDomainCheck acts on what the DNS says about the sender's domain, if the table has
// no entry for it.
type SenderDomainCheck struct {
	Mode                              Mode
	Missing, NullMX, Temporary, BadMX Reaction
}

// checkSenderDomain asks whether mail could be sent back to the sender's domain
// (the rest of sendmail's check_mail).
func (s *Session) checkSenderDomain(e *evaluation) finding {
	name := s.senderDomain()
	if name == "" {
		return pass("the sender has no domain to look up")
	}
	// A mistake in the DNS must not keep our own hosts from sending, or a stranger from
	// reaching postmaster.
	if why := s.dnsExempt(e, Exempt{Relay: true, Postmaster: true}); why != "" {
		return exempt(why)
	}
	return s.unlessGranted(e, s.findSenderDomain(e, name), s.lifts)
}

func (s *Session) findSenderDomain(e *evaluation, name string) finding {
	domain := s.answers.SenderDomain(name)
	e.answers = append(e.answers, domain.Detail)
	check := s.policy.Checks.SenderDomain
	name = Printable(name)
	switch domain.Status {
	case DomainOK:
		return pass(name + " takes mail")
	case DomainMissing:
		return e.configured(check.Missing, "checks.sender_domain.missing", name+" does not exist, or has no mail host")
	case DomainNullMX:
		return e.configured(check.NullMX, "checks.sender_domain.null_mx", name+" says that it takes no mail (RFC 7505)")
	case DomainBadMX:
		return e.configured(check.BadMX, "checks.sender_domain.bad_mx", "the mail hosts of "+name+" have no address that mail could be sent to")
	}
	return e.configured(check.Temporary, "checks.sender_domain.temporary", "the look-up of "+name+" had no answer")
}

// senderDomain is the domain to look up, empty for the null sender, for one of
// our own domains and for an address without a domain name.
func (s *Session) senderDomain() string {
	if s.message.mail.From == "" {
		return ""
	}
	a, err := s.policy.canonical(s.message.mail.From)
	if err != nil || s.policy.Local.Has(a.domain) || strings.HasPrefix(a.domain, "[") {
		return ""
	}
	return a.domain
}
