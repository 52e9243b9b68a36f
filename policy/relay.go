package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"milterd/policy/access"
)

// RelayCheck decides who may send to recipients that are not ours.
type RelayCheck struct {
	Mode Mode
	// Deny refuses a client that nothing entitles; DenyAuth does the same
	// if authentication would have helped.
	Deny, DenyAuth Reply
	// Temp, Fail and Forged refuse a client that nothing entitles and whose
	// name could not be confirmed (sendmail's Relay_ok).
	Temp, Fail, Forged Reply
	// GrantTemp refuses a client that nothing else entitles, while it cannot be asked
	// whether the client holds a relay grant.
	GrantTemp Reply
	// TrustAuthMech lists the SASL mechanisms whose users may relay.
	TrustAuthMech []string
	// LocalMailers lists the delivery agents ({rcpt_mailer}) that deliver on this host.
	// What goes to another one is local if its domain is in class w.
	LocalMailers []string
}

// checkRelay decides whether this client may send to this recipient: the relay
// half of Rcpt_ok, then Relay_ok.
func (s *Session) checkRelay(e *evaluation) finding {
	f := s.findRelay(e)
	// An administrator may want to know why mail was taken, too.
	f.explains = !f.refuses()
	return f
}

func (s *Session) findRelay(e *evaluation) finding {
	if why := s.trustedClient(e); why != "" && s.port.Relay != RelayNone {
		e.verdict.Relay, e.verdict.Spared, e.destination = why, true, DestinationRelayed
		return accept(why)
	}
	if why := s.recipientTaken(e); why != "" {
		e.destination = DestinationRelayed
		if s.deliveredHere(e) {
			e.destination = DestinationLocal
		}
		return pass(why)
	}
	if e.toErr != nil {
		return s.relayDenied(e, "the address is written in a way that nothing is relayed for")
	}
	denied := func() finding {
		return s.relayDenied(e, e.to.domain+" is not ours, and nothing entitles this client to relay")
	}
	if !s.port.entitles() {
		return denied()
	}
	byAddress := s.addressOrGrant(e)
	if byAddress != "" && !s.conn.Shared {
		e.verdict.Spared = byAddress == holdsGrant
		return relaying(e, byAddress)
	}
	if why := s.senderEntitles(e); why != "" {
		return relaying(e, why)
	}
	if byAddress != "" {
		return sharedMayNotRelay(e, byAddress)
	}
	if f, refused := s.unconfirmedName(e); refused {
		return s.unlessGranted(e, f, s.grant)
	}
	switch why := s.nameEntitles(e); {
	case why == "":
		return s.unlessGranted(e, denied(), s.grant)
	case s.conn.Shared:
		return sharedMayNotRelay(e, why)
	default:
		return relaying(e, why)
	}
}

// relaying takes a recipient that is not ours from a client that may relay.
func relaying(e *evaluation, why string) finding {
	e.verdict.Relay, e.destination = why, DestinationRelayed
	return pass(why)
}

// EnforcesRelay reports whether the relay check is acted on, as far as that does not depend
// on the port.
func (p *Policy) EnforcesRelay() bool {
	return !p.Shadow && (p.Checks.Relay.Mode == "" || p.Checks.Relay.Mode == ModeEnforce)
}

// sharedAddress is why nothing is concluded from a client's address.
const sharedAddress = "nearly all clients have this address, which hides their own (nat_guard)"

// sharedReply puts off what an address would be entitled to, were it the client's own. An
// administrator who means it can say so in time.
var sharedReply = Reply{Code: 451, Enhanced: "4.7.1", Text: "Relaying temporarily denied. Your own address is not known"}

// sharedMayNotRelay puts off a recipient that is not ours: why would entitle the client,
// but for anyone could come with its address.
func sharedMayNotRelay(e *evaluation, why string) finding {
	return e.refusal(sharedReply, "nat_guard", why+", but "+sharedAddress)
}

const holdsGrant = "the client's address holds a relay grant"

// addressOrGrant says why this client may relay by its address or a grant, or nothing.
func (s *Session) addressOrGrant(e *evaluation) string {
	if why := s.entitlement(e); why != "" {
		return why
	}
	if s.grant() == GrantHeld {
		return holdsGrant
	}
	return ""
}

// noteRelay remembers that the message is relayed for an entitled client. The relay
// check of a trusted client ends before it looks at the recipient, so it is done here.
func (e *evaluation) noteRelay() {
	s := e.session
	if s.message.relayed || !s.policy.Received.Relayed || !e.verdict.Action.Accepts() {
		return
	}
	defer e.unnoted()()
	if s.mode("relay", s.policy.Checks.Relay.Mode) == ModeOff {
		// The check has not run.
		_ = s.findRelay(e)
	}
	s.message.relayed = e.verdict.Relay != "" && s.recipientTaken(e) == ""
}

// trustedClient is what ends the checks in Rcpt_ok ($# RELAY): a client
// certificate with RELAY, or a trusted mechanism.
func (s *Session) trustedClient(e *evaluation) string {
	if s.port.entitles() {
		if why := s.certificate(e); why != "" {
			return why
		}
	}
	if s.trustedAuth() {
		return s.message.auth.String() + ", which is trusted"
	}
	return ""
}

// trusted reports whether the client is one that sendmail's check_rcpt spares the
// checks on sender and client. It holds with the relay check off, too.
func (e *evaluation) trusted() bool {
	defer e.unnoted()()
	return e.session.trustedClient(e) != ""
}

// trustedAuth reports whether the client used a mechanism of TRUST_AUTH_MECH.
func (s *Session) trustedAuth() bool {
	return s.message.auth.Type != "" && slices.ContainsFunc(s.policy.Checks.Relay.TrustAuthMech, func(mech string) bool {
		return strings.EqualFold(mech, s.message.auth.Type)
	})
}

// certificate is sendmail's RelayTLS: CertIssuer: and CertSubject: entries.
func (s *Session) certificate(e *evaluation) string {
	if s.tls.Verify != "OK" && s.tls.Verify != "TRUSTED" || s.tls.CertIssuer == "" {
		return ""
	}
	m := e.search.Exact(access.Tag{Name: "certissuer", Only: true}, s.tls.CertIssuer)
	if strings.EqualFold(m.Probe.Value, "SUBJECT") && s.tls.CertSubject != "" {
		m = e.search.Exact(access.Tag{Name: "certsubject", Only: true}, s.tls.CertSubject)
	}
	if m.Value.Kind != access.KindRelay {
		return ""
	}
	return "a client certificate may relay: " + e.rule(m.Probe)
}

// recipientTaken says why mail to this recipient is taken from anyone, or
// nothing.
func (s *Session) recipientTaken(e *evaluation) string {
	if s.localMailer(e.recipient.Mailer) {
		return fmt.Sprintf("delivered on this host (%s)", e.recipient.Mailer)
	}
	if e.toErr != nil {
		return ""
	}
	domain := e.to.domain
	switch {
	case domain == "":
		return "an address without a domain is local"
	case e.to.quotedHost && !s.policy.Local.Has(domain):
		return ""
	case s.policy.inOwnDomain(domain) && !e.to.strayed:
		return fmt.Sprintf("%s is in our own domain (relay_entire_domain)", domain)
	case s.policy.Local.Has(domain):
		return fmt.Sprintf("%s is local (class w)", domain)
	case e.to.strayed:
		return ""
	}
	if entry, ok := s.policy.inRelayClass(domain); ok {
		return fmt.Sprintf("we relay for %s (class R: %s)", domain, entry)
	}
	if m := s.relayToRecipient(e); m.Value.Kind == access.KindRelay {
		return "we relay for it: " + e.rule(m.Probe)
	}
	return ""
}

// deliveredHere reports whether a recipient that can be read is one of this host's own,
// which sendmail knows without being told.
func (s *Session) deliveredHere(e *evaluation) bool {
	return s.localMailer(e.recipient.Mailer) || e.to.domain == "" || s.policy.Local.Has(e.to.domain)
}

// relayToRecipient looks the recipient up for To: RELAY.
func (s *Session) relayToRecipient(e *evaluation) access.Match {
	full := e.to.String()
	switch f := s.policy.Features; {
	case f.RelayToFullAddress && f.RelayHostsOnly:
		if m := e.search.Exact(access.Tag{Name: "to", Only: true}, full); m.Found() {
			return m
		}
	case f.RelayToFullAddress:
		return e.search.List(access.To, e.to.full(),
			e.to.domainItem(), access.Item{Kind: e.to.kind('F'), Key: e.to.localText() + "@"})
	}
	return s.policy.relayTo(&e.search, e.to.domain)
}

// localMailer reports whether a delivery agent delivers on this host.
func (s *Session) localMailer(mailer string) bool {
	return mailer != "" && slices.Contains(s.policy.Checks.Relay.LocalMailers, mailer)
}

// entitlement says why the client may relay by its address, or nothing. It is the first
// part of Relay_ok, and worked out once a connection.
func (s *Session) entitlement(e *evaluation) string { return once(e, &s.entitled, s.addressEntitles) }

func (s *Session) addressEntitles(e *evaluation) string {
	addr := s.clientAddr
	switch {
	case addr == "":
		return "originates on this host"
	case addr == "127.0.0.1" || s.conn.Addr == netip.IPv6Loopback():
		return "comes from this host (" + addr + ")"
	}
	if entry, ok := s.policy.Relay.Prefix(addr); ok {
		return fmt.Sprintf("the client's network may relay (class R: %s)", entry)
	}
	if m := e.search.Address(access.Connect, addr); m.Value.Kind == access.KindRelay {
		return "the client's address may relay: " + e.rule(m.Probe)
	}
	if s.policy.Local.Has("[" + addr + "]") {
		return "the client's address is one of this host's own (class w)"
	}
	return ""
}

// senderEntitles is FEATURE(relay_local_from) and FEATURE(relay_mail_from).
func (s *Session) senderEntitles(e *evaluation) string {
	f := s.policy.Features
	if !f.RelayLocalFrom && !f.RelayMailFrom {
		return ""
	}
	a, err := s.policy.canonical(s.message.mail.From)
	if err != nil || a.domain == "" {
		return ""
	}
	if f.RelayLocalFrom && s.policy.Local.Has(a.domain) {
		return fmt.Sprintf("the sender's domain %s is local (relay_local_from)", a.domain)
	}
	if !f.RelayMailFrom {
		return ""
	}
	items := []access.Item{a.full()}
	switch {
	case f.RelayMailFromDomain && f.RelayHostsOnly:
		items = append(items, access.Item{Kind: 'E', Key: a.domain})
	case f.RelayMailFromDomain:
		items = append(items, a.domainItem())
	}
	if m := e.search.List(access.FromOnly, items...); m.Value.Kind == access.KindRelay {
		return "the sender may relay (relay_mail_from): " + e.rule(m.Probe)
	}
	return ""
}

// unconfirmedName refuses a client whose name could not be confirmed before its
// name is looked at.
func (s *Session) unconfirmedName(e *evaluation) (finding, bool) {
	check := s.policy.Checks.Relay
	const reason = "nothing entitles this client by address, and its name is not confirmed"
	switch s.conn.Resolve {
	case ResolveTemp:
		return e.refusal(check.Temp, "checks.relay.temp", reason), true
	case ResolveFail:
		return e.refusal(check.Fail, "checks.relay.fail", reason), true
	case ResolveForged:
		return e.refusal(check.Forged, "checks.relay.forged", reason), true
	}
	return finding{}, false
}

// nameEntitles looks the client's confirmed name up.
func (s *Session) nameEntitles(e *evaluation) string {
	name := s.confirmedName()
	switch {
	case name == "":
		return ""
	case s.policy.inOwnDomain(name):
		return fmt.Sprintf("the client %s is in our own domain (relay_entire_domain)", name)
	case s.policy.Local.Has(name):
		return fmt.Sprintf("the client %s is this host (class w)", name)
	}
	if entry, ok := s.policy.inRelayClass(name); ok {
		return fmt.Sprintf("the client %s may relay (class R: %s)", name, entry)
	}
	look := e.search.Domain
	if s.policy.Features.RelayHostsOnly {
		look = e.search.Exact
	}
	if m := look(access.Connect, name); m.Value.Kind == access.KindRelay {
		return "the client's name may relay: " + e.rule(m.Probe)
	}
	return ""
}

// relayDenied refuses to relay, and mentions authentication if it would help.
func (s *Session) relayDenied(e *evaluation, reason string) finding {
	check := s.policy.Checks.Relay
	if s.port.Auth != AuthRefuse && s.port.Relay != RelayNone && s.message.auth.Type == "" && len(check.TrustAuthMech) > 0 {
		return e.refusal(check.DenyAuth, "checks.relay.deny_auth", reason)
	}
	return e.refusal(check.Deny, "checks.relay.deny", reason)
}
