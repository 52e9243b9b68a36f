package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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
func (r *reloader) tellPage(failure string) {
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
	r.config.Said(func(key string, line int) {
		facts.inForce.Settings = append(facts.inForce.Settings, status.Setting{Key: key, Place: fmt.Sprintf("%s:%d", r.config.Name(), line)})
	})
	r.page.Store(facts)
}

// report makes reports of what the running milterd does.
func (r *reloader) report(problem func() string) func() *status.Report {
	return func() *status.Report {
		facts := r.page.Load()
		inForce := facts.inForce
		if shared := r.current.Load().NAT.Shared(); shared.IsValid() {
			inForce.Shared = shared.String()
		}
		return &status.Report{
			Version: version(), Problem: problem(), Snapshot: r.tally.Snapshot(time.Now()),
			Stops: r.stops(), InForce: &inForce, State: status.State(r.registry),
		}
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
