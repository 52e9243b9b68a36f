package policy

import (
	"fmt"
	"slices"
	"strings"
)

// DNSBLCheck acts on what DNS lists say about the client and its names.
type DNSBLCheck struct {
	Mode Mode
	// Addresses and Names: there are lists of that kind to ask, about which clients.
	Addresses, Names ListUse
	// Reply refuses what is listed; Replies holds those of single lists, by the
	// list's name. {listed}, {zone} and {reason} stand for the listing.
	Reply     Reply
	Replies   map[string]Reply
	Temporary Reply // a list that must be waited for has no answer
	Exempt    Exempt
}

// ListClients is a kind of clients, as DNS lists are chosen for it.
type ListClients uint8

const (
	ListStrangers     ListClients = iota // have not logged in: lists for everybody, and those for strangers
	ListAuthenticated                    // have: lists for everybody, and those for logins
	ListLogins                           // have, and Exempt.Authenticated spares them the lists for everybody
)

// ListUse says which clients there are lists for.
type ListUse struct{ All, Strangers, Authenticated bool }

func (u ListUse) any() bool { return u.All || u.Strangers || u.Authenticated }

// of reports whether there is a list to ask about such clients.
func (u ListUse) of(c ListClients) bool {
	switch c {
	case ListStrangers:
		return u.All || u.Strangers
	case ListAuthenticated:
		return u.All || u.Authenticated
	}
	return u.Authenticated
}

// checkDNSBL acts on what DNS lists say about the client's address and about the names
// it gave. It does not wait for the answers about an exempt client.
func (s *Session) checkDNSBL(e *evaluation) finding {
	check := s.policy.Checks.DNSBL
	if s.clientAddr == "" {
		return pass("the client has no address")
	}
	spares, clients := check.Exempt, s.listClients()
	if clients == ListLogins && (check.Addresses.of(clients) || check.Names.of(clients)) {
		// There are lists for those that have logged in.
		spares.Authenticated = false
	}
	if why := s.dnsExempt(e, spares); why != "" {
		return exempt(why)
	}
	if !check.Addresses.of(clients) && !check.Names.of(clients) {
		return pass("no list is asked about such clients")
	}
	return s.unlessExempt(e, spares, s.findListing(e, clients))
}

// listClients says which lists are asked about this client.
func (s *Session) listClients() ListClients {
	switch {
	case !s.message.auth.authenticated():
		return ListStrangers
	case s.policy.Checks.DNSBL.Exempt.Authenticated && s.trustedAuth():
		return ListLogins
	}
	return ListAuthenticated
}

func (s *Session) findListing(e *evaluation, clients ListClients) finding {
	check := s.policy.Checks.DNSBL
	found := pass("not listed")
	switch {
	case !check.Addresses.of(clients):
	case s.conn.Shared:
		e.answers = append(e.answers, "the address lists do not count: "+sharedAddress)
	default:
		f, decided := s.judgeListings(e, s.answers.Listings(clients), s.clientAddr)
		if decided {
			return f
		}
		found = f
	}
	if names := s.listableNames(); check.Names.of(clients) && len(names) > 0 {
		f, decided := s.judgeListings(e, s.answers.NameListings(clients, names), "")
		if decided || !found.refuses() {
			return f
		}
	}
	return found
}

// judgeListings makes a finding of one report. decided is false if another report could
// still change it.
func (s *Session) judgeListings(e *evaluation, l Listings, subject string) (f finding, decided bool) {
	check := s.policy.Checks.DNSBL
	e.answers = append(e.answers, l.Details...)
	switch l.Verdict {
	case NotListed:
		return pass("not listed"), false
	case ListExempted:
		return pass("on an allow list"), true
	case Listed:
		if l.Listed == "" {
			l.Listed = subject
		}
		e.listing = l
		reply, ok := check.Replies[l.List]
		if !ok {
			reply = check.Reply
		}
		return e.refusal(reply, "checks.dnsbl: "+l.List, fmt.Sprintf("%s is listed at %s, score %d", Printable(l.Listed), l.List, l.Score)), true
	}
	return e.refusal(check.Temporary, "checks.dnsbl.temporary", strings.TrimSpace("no answer from a list that must be waited for: "+Printable(l.List))), false
}

// listableNames are the names that domain lists are asked about: HELO, the
// client's own, and the sender's domain.
func (s *Session) listableNames() []string {
	var names []string
	add := func(name string) {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if !strings.HasPrefix(name, "[") && strings.Contains(name, ".") && !s.policy.Local.Has(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add(s.helo)
	add(s.conn.PTR)
	if a, err := s.policy.canonical(s.message.mail.From); err == nil {
		add(a.domain)
	}
	return names
}
