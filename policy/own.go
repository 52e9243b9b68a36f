package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// OwnSenderCheck refuses our own domains as the sender of mail from strangers. Who has
// logged in, may relay or submits on this host is none.
type OwnSenderCheck struct {
	Mode Mode
	// Domains are our own.
	Domains Domains
	// Networks and Hosts are clients that send in our name all the same, such as the
	// hosts of a mailing list; a host by its confirmed name, or a domain that is in.
	Networks []netip.Prefix
	Hosts    Class
	Reply    Reply
}

// Domains are the names of class w, the domains of class R, and further names, each for
// itself without what is below it.
type Domains struct {
	Local, Relay bool
	Names        Class
}

// Empty reports whether there is none.
func (d *Domains) Empty() bool { return !d.Local && !d.Relay && d.Names.Len() == 0 }

func (s *Session) checkOwnSender(e *evaluation) finding {
	if s.message.mail.From == "" {
		return pass("the null sender has no domain")
	}
	why, err := s.ownDomain(&s.message.mail)
	if err == nil && why == "" {
		return pass("the sender's domain is not our own")
	}
	if why := s.sendsInOurName(e); why != "" {
		return exempt(why)
	}
	if err != nil {
		// What cannot be read must not slip past.
		return s.unlessGranted(e, refusing(senderSyntax, "checks.own_sender", "the address is written in a way that does not tell whether it is our own"), s.grant)
	}
	return s.unlessGranted(e, e.refusal(s.policy.Checks.OwnSender.Reply, "checks.own_sender", why+", and the client is a stranger"), s.grant)
}

// ownDomain says why a sender is at one of our own domains, or nothing. A domain of the
// client's that is an alias in the DNS for ours is ours as well: the MTA writes that one.
func (s *Session) ownDomain(mail *Mail) (why string, err error) {
	own := &s.policy.Checks.OwnSender.Domains
	domains, err := s.policy.senderDomains(mail.From)
	if err != nil {
		return "", err
	}
	if at := strings.LastIndexByte(mail.Addr, '@'); at >= 0 {
		domains = append(domains, asciiDomain(mail.Addr[at+1:]))
	}
	for _, domain := range domains {
		switch {
		case own.Local && domain == "":
			return "a sender without a domain is our own", nil
		case own.Local && s.policy.Local.Has(domain):
			return fmt.Sprintf("the sender's domain %s is our own (class w)", Printable(domain)), nil
		case own.Names.Has(domain):
			return fmt.Sprintf("the sender's domain %s is our own (checks.own_sender.domains)", Printable(domain)), nil
		}
		if entry, ok := s.policy.inRelayClass(domain); ok && own.Relay {
			return fmt.Sprintf("the sender's domain %s is one we relay for (class R: %s)", Printable(domain), entry), nil
		}
	}
	if own.Local && s.localMailer(mail.Mailer) {
		return fmt.Sprintf("mail to the sender is delivered on this host (%s)", mail.Mailer), nil
	}
	return "", nil
}

// senderDomains are the domain of an address as it stands, and the one that is left once
// every host of our own is taken off (a%b@us).
func (p *Policy) senderDomains(from string) ([]string, error) {
	inner, err := p.canonical(from)
	if err != nil {
		return nil, err
	}
	tokens, err := read(from)
	if err != nil {
		return nil, err
	}
	_, outer, err := focus(tokens)
	if err != nil || len(outer) == 0 {
		return []string{asciiDomain(inner.domain)}, err
	}
	name, err := p.domainName(outer)
	return []string{asciiDomain(name), asciiDomain(inner.domain)}, err
}

// sendsInOurName says why a client is no stranger, or nothing.
func (s *Session) sendsInOurName(e *evaluation) string {
	// The step of relay has these keys; what exempts names its entry.
	defer e.unnoted()()
	if s.message.auth.authenticated() {
		return "the client has " + s.message.auth.String()
	}
	if why := s.certificate(e); why != "" {
		return why
	}
	if s.clientAddr == "" {
		return "the mail originates on this host"
	}
	// An address that clients share makes none of them known.
	if s.conn.Shared {
		return ""
	}
	check := &s.policy.Checks.OwnSender
	for _, network := range check.Networks {
		if network.Contains(s.conn.Addr.Unmap().WithZone("")) {
			return "the client may send in our name (checks.own_sender.hosts: " + network.String() + ")"
		}
	}
	if entry, ok := check.Hosts.Suffix(s.confirmedName()); ok {
		return "the client may send in our name (checks.own_sender.hosts: " + entry + ")"
	}
	if why := s.addressOrGrant(e); why != "" {
		return why
	}
	return s.nameEntitles(e)
}

// confirmedName is the client's name if the DNS confirms it, or nothing.
func (s *Session) confirmedName() string {
	if s.conn.Resolve != ResolveOK {
		return ""
	}
	return strings.TrimSuffix(s.conn.Name, ".")
}
