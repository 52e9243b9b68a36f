package main

import (
	"fmt"

	"milterd/configs"
	"milterd/dnscheck"
	"milterd/dnscheck/answers"
)

// lookups makes what DNS questions are answered with; nil if no check asks any. The
// resolver, with its cache, and what is known of the lists' health outlive a reload
// that leaves them as they are. On an error everything stays as it was.
func (r *reloader) lookups(config *configs.Config) (*answers.Lookups, error) {
	live := r.dns.Load()
	switch {
	case !config.AsksDNS() && live == nil:
		return nil, nil
	case !config.AsksDNS():
		live.Health().Watch(nil, nil)
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
