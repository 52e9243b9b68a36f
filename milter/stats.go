package milter

import (
	"sync"
	"sync/atomic"

	"milterd/policy"
)

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
	// Malformed counts the connections closed because of a malformed frame.
	Malformed uint64
	// Panics counts the callbacks that panicked and were answered with a
	// temporary failure.
	Panics uint64
	// Verdicts counts what was decided.
	Verdicts map[VerdictKey]uint64
}

// VerdictKey tells the counted verdicts apart.
type VerdictKey struct {
	Stage policy.Stage
	// Check is the check that decided, empty where every check passed.
	Check string
	// Action is what the MTA was told to do.
	Action policy.Action
	// Shadow: a check in shadow mode would have had the MTA told so. It is counted
	// beside the verdict that was given.
	Shadow bool
}

type counters struct {
	connections, refused, acceptErrors, malformed, panics atomic.Uint64

	mu       sync.Mutex
	verdicts map[VerdictKey]uint64
}

func newCounters() *counters {
	return &counters{verdicts: make(map[VerdictKey]uint64)}
}

func (c *counters) verdict(v policy.Verdict) {
	c.mu.Lock()
	c.verdicts[VerdictKey{v.Stage, v.Check, v.Action, false}]++
	for _, s := range v.Shadow {
		c.verdicts[VerdictKey{v.Stage, s.Check, s.Action, true}]++
	}
	c.mu.Unlock()
}

func (c *counters) snapshot() Stats {
	s := Stats{
		Connections:  c.connections.Load(),
		Refused:      c.refused.Load(),
		AcceptErrors: c.acceptErrors.Load(),
		Malformed:    c.malformed.Load(),
		Panics:       c.panics.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Verdicts = make(map[VerdictKey]uint64, len(c.verdicts))
	for k, n := range c.verdicts {
		s.Verdicts[k] = n
	}
	return s
}
