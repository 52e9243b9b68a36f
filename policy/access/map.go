package access

import (
	"net/netip"
	"strings"
)

// Lookup answers one whole key, TAG:KEY or KEY, as a sendmail map of this table
// does: the value and its line, or ok false. sendmail asks for key after key by its
// own rules, so each is answered by itself.
//
// A network by prefix length is found at the first key of LookUpAddress, the
// tagged whole address, and only where none of the keys that sendmail would try
// after it is in the table: those outrank it, see Search.Address.
func (t *Table) Lookup(key string) (value string, line int, ok bool) {
	if t == nil || len(key) > maxKey {
		return "", 0, false
	}
	key = Fold(key)
	if value, line, ok := t.get("", key); ok {
		return value, line, true
	}
	tag, text, tagged := strings.Cut(key, ":")
	if t.nets == 0 || !tagged || tag == "ipv6" {
		return "", 0, false
	}
	addr, err := netip.ParseAddr(strings.TrimPrefix(text, "ipv6:"))
	if err != nil || addr.Is6() != strings.HasPrefix(text, "ipv6:") {
		return "", 0, false
	}
	search := Search{Table: t, Features: &Features{}}
	how := Tag{Name: tag, Only: tag != Connect.Name}
	for part, more := text, true; more; part, more = WiderAddress(part) {
		if _, found := search.both(how, part); found {
			return "", 0, false
		}
	}
	m := search.network(how, text)
	return m.Probe.Value, m.Probe.Line, m.Probe.Line != 0
}

// Entry answers one whole key, TAG:KEY or KEY, from the entries that have it as it
// stands: no network by prefix length is looked at.
func (t *Table) Entry(key string) (value string, line int, ok bool) {
	if len(key) > maxKey {
		return "", 0, false
	}
	return t.get("", Fold(key))
}

// Outranks reports whether a value for a client's very address keeps a relay grant
// from counting: any that refuses, discards or holds the client's mail.
func (v Value) Outranks() bool {
	switch v.Kind {
	case KindNone, KindOK, KindRelay, KindSkip:
		return false
	}
	return true
}

// LookupGranted answers a key like Lookup, for a client whose address holds a relay
// grant: RELAY for the tagged whole address, unless the table has an entry for it
// that outranks grants, see OutranksGrant. line is 0 for a grant.
func (t *Table) LookupGranted(key string) (value string, line int, ok bool) {
	if t.OutranksGrant(ClientKey(key)) {
		return t.Lookup(key)
	}
	return "RELAY", 0, true
}

// OutranksGrant reports whether the table has an entry for a client's very address,
// with the tag Connect or without one, that keeps a relay grant from counting, see
// Value.Outranks. A network of full length (203.0.113.8/32) is such an entry, where
// no key of sendmail's own form is. addr is the address as sendmail writes it; an
// IPv4 address in IPv6 form is looked up as IPv4 too.
func (t *Table) OutranksGrant(addr string) bool {
	search := Search{Table: t, Features: &Features{}, Unnoted: true}
	forms := []string{addr}
	client, ok := ParseAddr(addr)
	if ok {
		forms = append(forms, FormatAddr(client))
	}
	found := false
	for _, form := range forms {
		m := search.Exact(Connect, form)
		if m.Value.Outranks() {
			return true
		}
		found = found || m.Found()
	}
	return !found && ok && search.host(client).Value.Outranks()
}

// host finds the network that is one address and nothing else, tagged Connect or
// else untagged.
func (s *Search) host(addr netip.Addr) Match {
	if s.Table == nil {
		return Match{}
	}
	network := netip.PrefixFrom(addr, addr.BitLen())
	for _, tag := range []string{Connect.Name, ""} {
		if networks := s.Table.networks[tag]; networks != nil {
			if found, ok := networks.Get(network); ok {
				return s.match(Probe{Tag: tag, Key: network.String(), Line: int(found.line), Value: s.Table.value(found)})
			}
		}
	}
	return Match{}
}

// ClientKey is the address in a key that asks about a client, connect:ADDRESS;
// empty for any other key.
func ClientKey(key string) string {
	tag, text, _ := strings.Cut(key, ":")
	if !strings.EqualFold(tag, Connect.Name) {
		return ""
	}
	if addr, err := netip.ParseAddr(strings.TrimPrefix(Fold(text), "ipv6:")); err != nil || addr.Zone() != "" {
		return ""
	}
	return text
}
