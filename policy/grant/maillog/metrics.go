package maillog

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Register has a registry read the follower's counters. Its label log is given by r.
func (f *Follower) Register(r prometheus.Registerer) {
	counter := func(name, help string, labels prometheus.Labels, n *atomic.Uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(n.Load()) }))
	}
	n := &f.count
	counter("milterd_login_log_lines_total", "Lines read from a log of logins.", nil, &n.lines)
	counter("milterd_login_log_long_lines_total", "Lines passed over because no login is that long.", nil, &n.long)
	counter("milterd_login_log_logins_total", "Logins found in a log.", nil, &n.logins)
	counter("milterd_login_log_failed_grants_total", "Logins found in a log that the store could not take.", nil, &n.failed)
	counter("milterd_login_log_recovered_bytes_total", "Octets of a truncated log that were found in its copy.", nil, &n.recovered)
	for kind, n := range map[string]*atomic.Uint64{"rotated": &n.rotated, "truncated": &n.truncated} {
		counter("milterd_login_log_rotations_total", "Ends of a log's file, by kind.", prometheus.Labels{"kind": kind}, n)
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "milterd_login_log_open", Help: "Whether there is a file to read.",
	}, func() float64 {
		if n.open.Load() {
			return 1
		}
		return 0
	}))
}
