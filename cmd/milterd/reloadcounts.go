package main

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reloadCounts count the reloads and say how the last one went.
type reloadCounts struct {
	succeeded, failed atomic.Uint64
	// failing: the last one failed.
	failing atomic.Bool
	// last is when a policy was put in force last, in seconds of Unix time.
	last atomic.Int64
}

// loaded notes that a policy is put in force, at the start or by a reload.
func (c *reloadCounts) loaded() { c.last.Store(time.Now().Unix()) }

func (c *reloadCounts) reloaded(err error) {
	c.failing.Store(err != nil)
	if err != nil {
		c.failed.Add(1)
	} else {
		c.succeeded.Add(1)
	}
}

func (r *reloader) register(to prometheus.Registerer) {
	c := &r.counts
	for result, n := range map[string]*atomic.Uint64{"success": &c.succeeded, "failure": &c.failed} {
		to.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "milterd_config_reloads_total", Help: "Reloads since the start; a failed one is tried, and counted, again.",
			ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(n.Load()) }))
	}
	gauge := func(name, help string, value func() float64) {
		to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("milterd_config_last_reload_successful", "Whether the last reload succeeded; 0: an older policy is in force than the files hold.", func() float64 {
		if c.failing.Load() {
			return 0
		}
		return 1
	})
	gauge("milterd_config_last_reload_success_timestamp_seconds", "When a policy was put in force last, at the start or by a reload.",
		func() float64 { return float64(c.last.Load()) })
	gauge("milterd_nat_suspected", "Whether nearly all clients have one private address that hides their own, so that nothing is concluded from it (nat_guard).", func() float64 {
		if r.current.Load().NAT.Shared().IsValid() {
			return 1
		}
		return 0
	})
	gauge("milterd_access_entries", "Entries of the access table in force.", func() float64 { return float64(r.current.Load().Policy.Access.Len()) })
}
