package dnscheck

import "sync/atomic"

// Stats counts what a Client has done since it began. The counters never go
// down; the gauges at the end are of the moment.
type Stats struct {
	Lookups  uint64 // questions the client was asked
	Hits     uint64 // answered from the cache
	Stale    uint64 // answered from the cache after their time (Config.StaleTTL)
	Queries  uint64 // messages sent to servers, retries and TCP included
	TCP      uint64 // of these, over TCP, because the answer was truncated
	Timeouts uint64 // tries without an answer in time
	Network  uint64 // tries that failed otherwise: refused, unreachable
	ServFail uint64 // answers SERVFAIL, REFUSED and the like
	Lame     uint64 // answers that only point to other servers
	Loops    uint64 // look-ups that ran out of steps along aliases
	Ignored  uint64 // messages that did not answer the question: possibly forged
	Canceled uint64 // look-ups given up by the caller
	Crowded  uint64 // look-ups that found MaxQueries others under way and waited
	Waiting  int    // look-ups under way or waiting
	Entries  int    // answers in the cache
	Bytes    uint64 // about the memory they take
}

// counters is Stats while it is being counted.
type counters struct {
	lookups, hits, stale, queries, tcp, timeouts, network, servFail, lame, loops,
	ignored, canceled, crowded atomic.Uint64
	waiting atomic.Int64
}

// Stats is what the client has done so far.
func (c *Client) Stats() Stats {
	n := &c.counters
	return Stats{
		Lookups:  n.lookups.Load(),
		Hits:     n.hits.Load(),
		Stale:    n.stale.Load(),
		Queries:  n.queries.Load(),
		TCP:      n.tcp.Load(),
		Timeouts: n.timeouts.Load(),
		Network:  n.network.Load(),
		ServFail: n.servFail.Load(),
		Lame:     n.lame.Load(),
		Loops:    n.loops.Load(),
		Ignored:  n.ignored.Load(),
		Canceled: n.canceled.Load(),
		Crowded:  n.crowded.Load(),
		Waiting:  int(n.waiting.Load()),
		Entries:  c.cache.EstimatedSize(),
		Bytes:    c.cache.WeightedSize(),
	}
}
