package grant

import "sync/atomic"

// Stats is a snapshot of a keeper's counters.
type Stats struct {
	// Granted and Renewed count logins; Expired, Revoked and Displaced count the
	// ends of grants, Displaced those that made room for another of their user.
	Granted, Renewed, Expired, Revoked, Displaced uint64
	// Lookups counts the questions whether a client has a grant; Used those that
	// found one, Temporary those that the store could not answer.
	Lookups, Used, Temporary uint64
	// Excluded counts the logins from addresses that get no grant, Refused those
	// that found the store full, Invalid those that could not be logins.
	// Stale counts those that were older than a grant lasts.
	Excluded, Refused, Invalid, Stale uint64
	// StoreErrors counts the operations of the store that failed.
	StoreErrors uint64
	// Active is how many grants there are, negative if the store does not know.
	Active int
}

type counters struct {
	granted, renewed, expired, revoked, displaced atomic.Uint64
	lookups, used, temporary                      atomic.Uint64
	excluded, refused, invalid, stale             atomic.Uint64
	storeErrors                                   atomic.Uint64
}

// Stats is what the keeper has done so far.
func (k *Keeper) Stats() Stats {
	n := &k.count
	return Stats{
		Granted:     n.granted.Load(),
		Renewed:     n.renewed.Load(),
		Expired:     n.expired.Load(),
		Revoked:     n.revoked.Load(),
		Displaced:   n.displaced.Load(),
		Lookups:     n.lookups.Load(),
		Used:        n.used.Load(),
		Temporary:   n.temporary.Load(),
		Excluded:    n.excluded.Load(),
		Refused:     n.refused.Load(),
		Invalid:     n.invalid.Load(),
		Stale:       n.stale.Load(),
		StoreErrors: n.storeErrors.Load() + k.store.Failures(),
		Active:      k.store.Len(),
	}
}
