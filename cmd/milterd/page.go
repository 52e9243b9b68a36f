package main

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/configs"
	"milterd/milter/status"
)

// pageFacts is what the status page tells of the configuration in force.
type pageFacts struct {
	inForce status.InForce
	access  status.Access
}

// tellPage has the status page tell what is in force from now on. failure is what keeps
// the files as they are now from being so.
func (r *reloader) tellPage(failure string) *status.InForce {
	p := r.current.Load().Policy
	facts := &pageFacts{
		inForce: status.InForce{
			Config: r.config.Name(), Mode: string(r.config.Mode), Hostname: p.Hostname,
			Access: p.Access.Name(), Entries: p.Access.Len(), Features: strings.Join(configs.FeatureNames(p.Features), " "),
			Local: p.Local.Len(), Relay: p.Relay.Len(), Since: time.Unix(r.counts.last.Load(), 0),
			Failure: failure, Warnings: r.warnings,
		},
		access: status.Access{
			Hosts: append(slices.Clone(r.config.Status.Hosts), p.Hostname),
			Token: string(r.config.Status.Token), Private: r.config.Status.Private,
		},
	}
	r.config.Said(func(key, place string) {
		facts.inForce.Settings = append(facts.inForce.Settings, status.Setting{Key: key, Place: place})
	})
	r.page.Store(facts)
	return &facts.inForce
}

// report is about what the running milterd does.
func (r *reloader) report(problem string) *status.Report {
	inForce := r.page.Load().inForce
	if shared := r.current.Load().NAT.Shared(); shared.IsValid() {
		inForce.Shared = shared.String()
	}
	return &status.Report{
		Version: version(), Problem: problem, Snapshot: r.tally.Snapshot(time.Now()),
		Stops: r.stops(), InForce: &inForce, State: status.State(r.registry),
	}
}

// stops are those whose mail is stopped now; nil without limits.
func (r *reloader) stops() *status.Stops {
	if r.current.Load().Limits == nil {
		return nil
	}
	// A store that does not answer is asked for redis.timeout at most.
	blocks, err := r.limits.Blocks(context.Background())
	return status.NewStops(blocks, r.limits.Near(), err, time.Now())
}

// reloadCounts count the reloads and say how the last one went.
type reloadCounts struct {
	succeeded, failed atomic.Uint64
	failing           atomic.Bool  // the last one failed
	last              atomic.Int64 // when a policy was put in force last, in seconds of Unix time
}

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
