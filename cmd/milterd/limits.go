package main

import (
	"fmt"

	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/grant/redis"
	"milterd/policy/limits"
)

// openShared opens the Redis that grants and limits share, if one is configured. It does
// not wait for it.
func (r *reloader) openShared() error {
	c := &r.config.Redis
	if len(c.Addresses) == 0 {
		return nil
	}
	redis.RouteLibraryLog(r.logger)
	var err error
	r.shared, err = redis.Open(redis.Config{
		Addresses: c.Addresses, Master: c.Master, Cluster: c.Cluster, CA: c.CA, Username: c.Username, Password: string(c.Password), DB: c.DB,
		Prefix: c.Prefix, Timeout: c.Timeout, Logger: r.logger,
	})
	return err
}

// openLimits opens what counts for the limits, once, with the configuration that milterd
// started with. It is there without limits, too: a reload may bring some.
func (r *reloader) openLimits() error {
	c := &r.config.Limits
	config := limits.Config{Max: c.Max, File: c.File, Logger: r.logger}
	if r.shared != nil {
		config.Shared = r.shared.Limits()
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
	r.limits.Use(p.Limits.Rules)
	if !p.Limits.Blocks && len(p.Limits.Rules) == 0 {
		return nil
	}
	return r.limits
}
