package grant

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters count what a Keeper has done since it began: see Register.
type counters struct {
	logins                                [Stale + 1]atomic.Uint64 // by Decision
	expired, revoked, displaced           atomic.Uint64            // ends of grants
	lookups, used, temporary, storeErrors atomic.Uint64
}

// Register has a registry read the keeper's counters.
func (k *Keeper) Register(r prometheus.Registerer) {
	n := &k.count
	for decision := Granted; decision <= Stale; decision++ {
		result := decision.String()
		if decision == Full {
			result = "refused"
		}
		Counter(r, "milterd_grant_logins_total", "Logins that sources reported, by what came of them; refused: there was no room, invalid: no login, stale: an old one.", prometheus.Labels{"result": result}, n.logins[decision].Load)
	}
	for reason, n := range map[string]*atomic.Uint64{"expired": &n.expired, "revoked": &n.revoked, "displaced": &n.displaced} {
		Counter(r, "milterd_grant_ends_total", "Ends of relay grants, by reason; displaced: by a newer one of the same user.", prometheus.Labels{"reason": reason}, n.Load)
	}
	Counter(r, "milterd_grant_lookups_total", "Questions whether a client holds a grant.", nil, n.lookups.Load)
	Counter(r, "milterd_grant_used_lookups_total", "Questions whether a client holds a grant that found one.", nil, n.used.Load)
	Counter(r, "milterd_grant_temporary_lookups_total", "Questions whether a client holds a grant that the store could not answer.", nil, n.temporary.Load)
	Counter(r, "milterd_grant_store_errors_total", "Operations of the store of grants that failed.", nil, func() uint64 { return n.storeErrors.Load() + k.store.Failures() })
	if k.store.Len() >= 0 {
		Gauge(r, "milterd_grants", "Relay grants in force; missing with redis, which is not asked.", func() float64 { return float64(k.store.Len()) })
	}
}

// Register has a registry read how the writing goes.
func (f *File) Register(r prometheus.Registerer) {
	Gauge(r, "milterd_grant_file_pending", "Changes that wait to be written to grants.file.", func() float64 { return float64(f.pending.Load()) })
	Gauge(r, "milterd_grant_file_failing", "Whether the last snapshot could not be written to grants.file.", OneIf(&f.failing))
	for result, n := range map[string]*atomic.Uint64{"success": &f.writes, "failure": &f.failures} {
		Counter(r, "milterd_grant_file_writes_total", "Snapshots of all grants, written to grants.file.", prometheus.Labels{"result": result}, n.Load)
	}
}

// Counter has a registry read a counter; sources of logins register theirs with it as well.
func Counter(r prometheus.Registerer, name, help string, labels prometheus.Labels, n func() uint64) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(n()) }))
}

// Gauge is Counter for a value that goes up and down.
func Gauge(r prometheus.Registerer, name, help string, value func() float64) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// OneIf is the value of a Gauge that says whether something is so.
func OneIf(is *atomic.Bool) func() float64 {
	return func() float64 {
		if is.Load() {
			return 1
		}
		return 0
	}
}
