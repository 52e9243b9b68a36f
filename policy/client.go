package policy

import "milterd/policy/access"

// checkClient looks the client up under Connect: and untagged, by name and then
// by address (check_relay).
func (s *Session) checkClient(e *evaluation) finding {
	m := once(e, &s.client, s.lookupClient)
	switch {
	case !m.Found():
		return pass("no entry for this client")
	case m.Value.Accepts():
		return accept(e.rule(m.Probe))
	case !s.clientByName && m.Value.Outranks() && s.lifts() == GrantHeld:
		// sendmail, too, finds the grant of the whole address at the map door before
		// it asks for networks.
		return pass("the client's address holds a relay grant, which outranks " + e.rule(m.Probe))
	}
	f := e.entry(m, s.policy.Checks.Client.Reject, "the access table has an entry for this client")
	if s.clientByName {
		return f
	}
	return s.unlessGranted(e, f, s.lifts)
}

// RefusesAddress reports whether the access table refuses, discards or holds the mail of a
// client by its address or its network. addr is the address as sendmail writes it.
func (p *Policy) RefusesAddress(addr string) bool {
	search := access.Search{Table: p.Access, Features: &p.Features, Unnoted: true}
	return search.Address(access.Connect, addr).Value.Outranks()
}

// lifts is the state of the client's relay grant, if grants lift refusals of the client.
func (s *Session) lifts() GrantState {
	if s.policy.GrantsRelayOnly {
		return GrantNone
	}
	return s.grant()
}

// lookupClient is the look-ups of check_relay. A client without an address, which
// submits on this host, is not looked up.
func (s *Session) lookupClient(e *evaluation) access.Match {
	if s.clientAddr == "" {
		return access.Match{}
	}
	name := s.conn.Name
	if s.policy.Features.UseClientPTR {
		name = s.conn.PTR
	}
	if name != "" {
		if m := e.search.Domain(access.Connect, name); m.Found() {
			s.clientByName = true
			return m
		}
	}
	return e.search.Address(access.Connect, s.clientAddr)
}
