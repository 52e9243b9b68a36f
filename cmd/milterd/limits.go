package main

import (
	"fmt"
	"log/slog"

	"milterd/configs"
	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/grant/redis"
	"milterd/policy/limits"
)

// openRedis opens the Redis that grants and limits share; nil if none is configured. It does
// not wait for it.
func openRedis(c *configs.Redis, logger *slog.Logger) (*redis.Client, error) {
	if len(c.Addresses) == 0 {
		return nil, nil
	}
	redis.RouteLibraryLog(logger)
	return redis.Open(redis.Config{
		Addresses: c.Addresses, Master: c.Master, Cluster: c.Cluster, CA: c.CA, Username: c.Username, Password: string(c.Password), DB: c.DB,
		Prefix: c.Prefix, Timeout: c.Timeout, Logger: logger,
	})
}

// openLimits opens what counts for the limits, and the Redis, once, with the configuration that milterd
// started with. It is there without limits, too: a reload may bring some.
func (r *reloader) openLimits() error {
	shared, err := openRedis(&r.config.Redis, r.logger)
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
	r.limits.Use(p.Limits.Rules, r.config.Limits.Notify)
	if !p.Limits.Blocks && len(p.Limits.Rules) == 0 {
		return nil
	}
	return r.limits
}
