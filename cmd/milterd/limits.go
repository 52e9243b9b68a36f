package main

import (
	"fmt"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/grant/sources"
	"milterd/policy/limits"
)

// openLimits opens what counts for the limits, and the Redis, once, with the configuration that milterd
// started with. It is there without limits, too: a reload may bring some.
func (r *reloader) openLimits() error {
	shared, err := sources.OpenRedis(&r.config.Redis, r.logger)
	if err != nil {
		return err
	}
	r.shared = shared
	c := &r.config.Limits
	config := limits.Config{Max: c.Max, File: c.File, Logger: r.logger}
	if shared != nil {
		config.Shared = shared.Limits()
	}
	keeper, err := limits.New(config)
	if err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	r.limits = keeper
	r.registry.MustRegister(keeper)
	r.publish(r.current.Load().Policy, r.asks)
	return nil
}

// counting is what the filter door asks for the limits of a policy; nil if it has none.
func (r *reloader) counting(p *policy.Policy) door.Limits {
	if r.limits == nil {
		return nil
	}
	r.limits.Names(p.LoginName)
	r.limits.Use(p.Limits.Rules, r.config.Limits.Notify)
	if !p.Limits.Blocks && len(p.Limits.Rules) == 0 {
		return nil
	}
	return r.limits
}
