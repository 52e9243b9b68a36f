package dnscheck

import "slices"

// Clients says which clients a list is asked about.
type Clients uint8

const (
	// AllClients: everybody.
	AllClients Clients = iota
	// StrangersOnly: those that have not logged in.
	StrangersOnly
	// AuthenticatedOnly: those that have.
	AuthenticatedOnly
)

// Audience is a kind of clients, as lists are chosen for it.
type Audience uint8

const (
	// Strangers have not logged in: the lists for everybody and those for strangers.
	Strangers Audience = iota
	// Authenticated have: the lists for everybody and those for logins.
	Authenticated
	// LoginsAlone have, and are spared the lists for everybody.
	LoginsAlone
	audiences
)

// For returns the lists that are asked about a kind of clients; nil for none. Lists that
// are the same for two kinds are one value.
func (l *Lists) For(a Audience) *Lists {
	if l == nil {
		return nil
	}
	return l.of[a]
}

func (l *Lists) share() {
	l.of = make(map[Audience]*Lists, audiences)
	for a := range audiences {
		some := slices.DeleteFunc(slices.Clone(l.lists), func(one *list) bool { return !one.Clients.in(a) })
		switch len(some) {
		case 0:
		case len(l.lists):
			l.of[a] = l
		default:
			l.of[a] = &Lists{lists: some, threshold: l.threshold}
		}
	}
}

// in reports whether a list with these clients is asked about an audience.
func (c Clients) in(a Audience) bool {
	switch c {
	case StrangersOnly:
		return a == Strangers
	case AuthenticatedOnly:
		return a != Strangers
	}
	return a != LoginsAlone
}
