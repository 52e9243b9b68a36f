package door

import "sync/atomic"

// Stats is a snapshot of the counters that both doors have.
type Stats struct {
	// Connections counts the connections from MTAs since the start, refused
	// ones included; Active is how many are open now.
	Connections uint64
	Active      int
	// Refused counts the connections closed because there were too many.
	Refused uint64
	// AcceptErrors counts the temporary errors of Accept, e.g. too many open
	// files.
	AcceptErrors uint64
	// Malformed counts the connections closed because of a malformed frame or
	// request, one that stopped half-way included.
	Malformed uint64
	// Panics counts the callbacks or look-ups that panicked and were answered with
	// a temporary failure.
	Panics uint64
}

// Counters are the counters of a door.
type Counters struct {
	Connections, Refused, AcceptErrors, Malformed, Panics atomic.Uint64
}

// Stats is a snapshot, with the number of connections that are open.
func (c *Counters) Stats(active int) Stats {
	return Stats{
		Connections:  c.Connections.Load(),
		Active:       active,
		Refused:      c.Refused.Load(),
		AcceptErrors: c.AcceptErrors.Load(),
		Malformed:    c.Malformed.Load(),
		Panics:       c.Panics.Load(),
	}
}
