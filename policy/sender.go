package policy

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"milterd/policy/access"
)

// checkSender looks the sender up under From: and untagged (check_mail).
func (s *Session) checkSender(e *evaluation) finding {
	from := s.message.mail.From
	if from == "" {
		return pass("the null sender is always accepted")
	}
	a, err := s.canonicalSender()
	if err != nil {
		// What cannot be looked up must not slip past the table.
		return finding{action: ActionReject, reply: senderSyntax, rule: "checks.sender", reason: "the address is written in a way that cannot be looked up"}
	}
	m := once(e, &s.message.sender, func(e *evaluation) access.Match {
		if a.domain == "" {
			return e.search.List(access.From, a.user())
		}
		return e.search.List(access.From, a.full(), a.user(), a.domainItem())
	})
	switch {
	case !m.Found():
		return pass("no entry for this sender")
	case m.Value.Accepts():
		s.message.senderOK = e.rule(m.Probe)
		return accept(s.message.senderOK)
	}
	return e.entry(m, s.policy.Checks.Sender.Reject, "the access table has an entry for this sender")
}

// canonicalSender is the sender as it can be looked up: by its own notation, or as the MTA
// has read it.
func (s *Session) canonicalSender() (address, error) {
	a, err := s.policy.canonical(s.message.mail.From)
	if err != nil && s.message.mail.Addr != "" {
		a, err = s.policy.canonical(s.message.mail.Addr)
	}
	a.domain = asciiDomain(a.domain)
	return a, err
}

// asciiDomain is a sender's domain in the form that the DNS has (RFC 5891): entries and
// classes do. Postfix hands out what the client wrote (RFC 6531). What cannot be mapped is
// left as it is.
func asciiDomain(domain string) string {
	if !strings.ContainsFunc(domain, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return domain
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return domain
	}
	return ascii
}
