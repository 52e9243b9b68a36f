package socketmap

import "sync/atomic"

// Stats is a snapshot of a server's counters.
type Stats struct {
	// Connections counts the connections from MTAs since the start, refused
	// ones included; Active is how many are open now.
	Connections uint64
	Active      int
	// Refused counts the connections closed because there were too many.
	Refused uint64
	// AcceptErrors counts the passing errors of Accept, e.g. too many open
	// files.
	AcceptErrors uint64
	// Malformed counts the connections closed because of a malformed request, one
	// that stopped half-way included.
	Malformed uint64
	// Panics counts the look-ups that panicked and were answered with Temp.
	Panics uint64
	// Lookups counts what was answered.
	Lookups map[LookupKey]uint64
}

// LookupKey tells the counted look-ups apart.
type LookupKey struct {
	// Map is the map's name; empty for all names that there is no map for.
	Map    string
	Status Status
}

// statuses are those that are counted, by their place in a mapCounters.
var statuses = [...]Status{OK, NotFound, Temp}

// mapCounters count the look-ups of one map by status.
type mapCounters [len(statuses)]atomic.Uint64

func (c *mapCounters) count(status Status) {
	for i, s := range statuses {
		if s == status {
			c[i].Add(1)
		}
	}
}

type counters struct {
	connections, refused, acceptErrors, malformed, panics atomic.Uint64
}

// Stats returns the counters of this moment. Lookups has an entry for every map and
// status.
func (s *Server) Stats() Stats {
	stats := Stats{
		Connections:  s.counter.connections.Load(),
		Refused:      s.counter.refused.Load(),
		AcceptErrors: s.counter.acceptErrors.Load(),
		Malformed:    s.counter.malformed.Load(),
		Panics:       s.counter.panics.Load(),
		Lookups:      make(map[LookupKey]uint64, (len(s.maps)+1)*len(statuses)),
	}
	for name, m := range s.maps {
		m.counter.into(stats.Lookups, name)
	}
	s.unknown.into(stats.Lookups, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Active = len(s.conns)
	return stats
}

func (c *mapCounters) into(lookups map[LookupKey]uint64, name string) {
	for i, status := range statuses {
		lookups[LookupKey{name, status}] = c[i].Load()
	}
}
