package policy

import (
	"slices"

	"milterd/policy/access"
)

// recipientAddress is sendmail's ParseRecipient: the recipient with every host
// taken off that we relay for, so that user%host@us is judged by host.
func (p *Policy) recipientAddress(search *access.Search, to string) (address, error) {
	if a, ok := p.plain(to); ok {
		return a, nil
	}
	tokens, err := read(to)
	if err != nil {
		return address{}, err
	}
	for range maxAddressDepth {
		a, err := p.canonicalTokens(tokens, 0)
		if err != nil || a.domain == "" {
			return a, err
		}
		if a.local, err = dequote(a.local); err != nil {
			return address{}, err
		}
		// Outside quotes no colon has come this far. Some MTAs take it for an operator.
		a.quotedHost = quotedOperator(a.local) || slices.Contains(a.local, ":")
		if !hostOperator(a.local) || !p.relaysThrough(search, a.domain) {
			return a, nil
		}
		tokens = a.local
	}
	return address{}, errAddress
}

// relaysThrough reports whether we relay for a domain, so that the host behind
// it counts.
func (p *Policy) relaysThrough(search *access.Search, domain string) bool {
	_, inClass := p.inRelayClass(domain)
	return inClass || p.inOwnDomain(domain) || p.relayTo(search, domain).Value.Kind == access.KindRelay
}

// inOwnDomain is FEATURE(relay_entire_domain): $* $=m.
func (p *Policy) inOwnDomain(name string) bool {
	if !p.Features.RelayEntireDomain {
		return false
	}
	_, ok := p.OwnDomains.Suffix(name)
	return ok
}

// inRelayClass looks a name up in class R: as a host with relay_hosts_only, else
// as a domain.
func (p *Policy) inRelayClass(name string) (entry string, ok bool) {
	if p.Features.RelayHostsOnly {
		return access.Fold(name), p.Relay.Has(name)
	}
	return p.Relay.Suffix(name)
}

func (p *Policy) relayTo(search *access.Search, domain string) access.Match {
	if p.Features.RelayHostsOnly {
		return search.Exact(access.To, domain)
	}
	return search.Domain(access.To, domain)
}

// Replies to addresses that are not ones by RFC 5321 section 4.1.2, and that
// sendmail takes all the same.
var (
	recipientSyntax = Reply{Code: 553, Enhanced: "5.1.3", Text: "Recipient address syntax is not supported"}
	senderSyntax    = Reply{Code: 553, Enhanced: "5.1.7", Text: "Sender address syntax is not supported"}
)

// checkRecipient is FEATURE(blocklist_recipients): To: and untagged entries.
func (s *Session) checkRecipient(e *evaluation) finding {
	if e.toErr != nil {
		// sendmail takes some addresses that no standard allows; what cannot be
		// looked up must not slip past the table.
		return finding{action: ActionReject, reply: recipientSyntax, rule: "checks.recipient", reason: "the address is written in a way that cannot be looked up"}
	}
	var m access.Match
	switch {
	case e.to.domain == "":
		m = e.search.List(access.To, e.to.user())
	case s.policy.Local.Has(e.to.domain):
		m = e.search.List(access.To, e.to.full(), e.to.user(), e.to.domainItem())
	default:
		m = e.search.List(access.To, e.to.full(), e.to.domainItem())
	}
	switch {
	case !m.Found():
		return pass("no entry for this recipient")
	case m.Value.Accepts(), m.Value.Kind == access.KindSkip && s.policy.Features.Skip:
		return pass(e.rule(m.Probe))
	}
	return e.entry(m, s.policy.Checks.Recipient.Reject, "the access table has an entry for this recipient")
}

// checkFriend is the argument of FEATURE(delay_checks): recipients who want to
// be spared the checks that follow, or the only ones who want them.
func (s *Session) checkFriend(e *evaluation) finding {
	f := s.policy.Features
	if !f.Friend && !f.Hater {
		return pass("neither friend nor hater is in force")
	}
	a, err := s.policy.canonical(e.recipient.To)
	if err != nil || e.toErr != nil {
		return pass("not an address that is looked up")
	}
	if a.domain == "" {
		a.domain = s.policy.Hostname
	}
	items := []access.Item{a.full(), a.domainItem()}
	if s.policy.Local.Has(a.domain) || a.domain == s.policy.Hostname {
		items = append(items, a.user())
	}
	m := e.search.List(access.SpamOnly, items...)
	switch {
	case f.Friend && m.Value.Kind == access.KindFriend:
		return accept("a friend: " + e.rule(m.Probe))
	case f.Hater && m.Value.Kind != access.KindHater:
		return accept("not a hater, so spared the checks on sender and client")
	}
	return pass("the checks on sender and client apply to this recipient")
}
