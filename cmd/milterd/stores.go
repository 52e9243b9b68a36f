package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"milterd/configs"
	"milterd/dnscheck"
	"milterd/dnscheck/answers"
	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/grant/sources"
	"milterd/policy/limits"
	"milterd/policy/replay/record"
)

// openStores opens what counts for the limits, what keeps relay grants and hears of logins,
// and the Redis, once, with the configuration that milterd started with. Limits are counted
// without any, too: a reload may bring some.
func (r *reloader) openStores() (err error) {
	c := &r.config.Limits
	config := limits.Config{Max: c.Max, File: c.File, Seen: r.tally.Knows, Logger: r.logger}
	if r.shared, err = sources.OpenRedis(&r.config.Redis, r.logger); err != nil {
		return err
	}
	if r.shared != nil {
		config.Shared = r.shared.Limits()
	}
	if r.limits, err = limits.New(config); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	r.registry.MustRegister(r.limits)
	if r.grants, err = sources.Open(r.config, r.shared, r.limits, r.logger); err != nil {
		return err
	}
	if r.grants != nil {
		r.grants.Register(r.registry)
	}
	r.publish(r.current.Load().Policy, r.asks)
	return nil
}

func (r *reloader) openRecorder() (err error) {
	c := &r.config.Record
	if c.Dir == "" {
		return nil
	}
	// The directory above it has to be there. What is wrong with it the recorder says,
	// and mail goes on.
	if err := os.Mkdir(c.Dir, 0o700); err == nil {
		r.logger.Info("directory of the recordings made", "dir", c.Dir)
	}
	r.recorder, err = record.Open(record.Config{
		Dir: c.Dir, MaxSize: c.MaxSize, Keep: c.Keep, Compress: record.Compression(c.Compress), Sample: c.Sample,
		Redact: c.Redact, Key: []byte(c.RedactKey), Headers: c.Headers, AllHeaders: c.AllHeaders,
		Buffer: c.Buffer, Logger: r.logger,
	})
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// closeRecorder is how long sessions that wait to be written get at the end.
const closeRecorder = 5 * time.Second

// close ends what the reloader has begun.
func (r *reloader) close() {
	if r.recorder != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeRecorder)
		defer cancel()
		if err := r.recorder.Close(ctx); err != nil {
			r.logger.Warn("the last sessions are not recorded", "error", err)
		}
	}
	_ = r.watcher.Close()
	if live := r.dns.Load(); live != nil {
		live.Close()
	}
	if r.grants != nil {
		if err := r.grants.Close(); err != nil {
			r.logger.Error("close the store of relay grants", "error", err)
		}
	}
	if r.limits != nil {
		// What cannot be written has been logged.
		_ = r.limits.Close()
	}
	if r.shared != nil {
		if err := r.shared.Close(); err != nil {
			r.logger.Error("close Redis", "error", err)
		}
	}
}

// held is what the doors ask about grants; nil if there are none.
func (r *reloader) held() door.Grants {
	if r.grants == nil {
		return nil
	}
	return r.grants
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

// lookups makes what DNS questions are answered with; nil if no check asks any. The
// resolver, with its cache, and what is known of the lists' health outlive a reload
// that leaves them as they are. On an error everything stays as it was.
func (r *reloader) lookups(config *configs.Config) (*answers.Lookups, error) {
	live := r.dns.Load()
	if !config.AsksDNS() {
		if live != nil {
			live.Health().Watch(nil, nil)
		}
		return nil, nil
	}
	if live == nil {
		var err error
		if live, err = dnscheck.NewLive(config.DNS.Client, r.logger); err != nil {
			return nil, fmt.Errorf("dns: %w", err)
		}
		live.Register(r.registry)
		r.dns.Store(live)
	}
	lookups, err := config.Lookups(live, live.Health())
	if err != nil {
		return nil, err
	}
	if err := live.Use(config.DNS.Client, lookups.Lists); err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	return lookups, nil
}
