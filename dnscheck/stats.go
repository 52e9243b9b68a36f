package dnscheck

import "sync/atomic"

// Stats counts what a Client does. The counters never go down.
type Stats struct {
	Lookups   atomic.Uint64 // questions the client was asked
	Hits      atomic.Uint64 // answered from the cache
	Stale     atomic.Uint64 // answered from the cache after their time (Config.StaleTTL)
	Queries   atomic.Uint64 // messages sent to servers, retries and TCP included
	TCP       atomic.Uint64 // of these, over TCP, because the answer was truncated
	Timeouts  atomic.Uint64 // tries without an answer in time
	Network   atomic.Uint64 // tries that failed otherwise: refused, unreachable
	ServFail  atomic.Uint64 // answers SERVFAIL, REFUSED and the like
	Referrals atomic.Uint64 // answers that only point to other servers
	Loops     atomic.Uint64 // look-ups that ran out of steps along aliases
	Ignored   atomic.Uint64 // messages that did not answer the question: possibly forged
	Canceled  atomic.Uint64 // look-ups given up by the caller
	Queued    atomic.Uint64 // look-ups that found MaxQueries others under way and waited
	Waiting   atomic.Int64  // look-ups under way or waiting at this moment
}

// Stats is what the client has done so far; it goes on counting.
func (c *Client) Stats() *Stats { return &c.stats }
