package socketmap

import (
	"sync/atomic"

	"milterd/milter/door"
)

// Stats is a snapshot of a server's counters.
type Stats struct {
	door.Stats
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

// Stats returns the counters of this moment. Lookups has an entry for every map and
// status.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	active := len(s.conns)
	s.mu.Unlock()
	stats := Stats{
		Stats:   s.counter.Stats(active),
		Lookups: make(map[LookupKey]uint64, (len(s.maps)+1)*len(statuses)),
	}
	for name, m := range s.maps {
		m.counter.into(stats.Lookups, name)
	}
	s.unknown.into(stats.Lookups, "")
	return stats
}

func (c *mapCounters) into(lookups map[LookupKey]uint64, name string) {
	for i, status := range statuses {
		lookups[LookupKey{name, status}] = c[i].Load()
	}
}
