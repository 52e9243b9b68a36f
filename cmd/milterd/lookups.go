package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"milterd/configs"
	"milterd/dnscheck"
	"milterd/dnscheck/answers"
)

// retireAfter is how long a resolver that has been replaced still answers the
// look-ups that began with it. They are over long before.
const retireAfter = time.Minute

// maxQueries bounds the look-ups under way at one time. A single connection can
// have a few dozen, so it takes many clients on dead servers to use them up.
const maxQueries = 2048

// dnsKeeper makes the look-ups of a configuration. The resolver, with its cache,
// and what is known of the lists' health outlive a reload that leaves them as
// they are.
type dnsKeeper struct {
	logger *slog.Logger
	// slot is what connections ask: after a reload those that began before have
	// the new resolver too.
	slot   resolverSlot
	config dnscheck.Config
	health *dnscheck.Health
	stop   context.CancelFunc
}

// resolverSlot is the resolver in force.
type resolverSlot struct {
	client atomic.Pointer[dnscheck.Client]
}

// Lookup asks the resolver in force.
func (s *resolverSlot) Lookup(ctx context.Context, name string, qtype uint16) dnscheck.Result {
	client := s.client.Load()
	if client == nil {
		return dnscheck.Result{Status: dnscheck.Temporary, Err: dnscheck.ErrTimeout}
	}
	return client.Lookup(ctx, name, qtype)
}

// lookups makes what DNS questions are answered with; nil where no check asks.
// Where it fails, everything stays as it was.
func (k *dnsKeeper) lookups(config *configs.Config) (*answers.Lookups, error) {
	if !config.AsksDNS() {
		k.watch(nil)
		return nil, nil
	}
	if k.health == nil {
		k.health = dnscheck.NewHealth(dnscheck.HealthOptions{Log: k.logger})
		ctx, cancel := context.WithCancel(context.Background())
		k.stop = cancel
		go k.health.Run(ctx)
	}
	lookups, err := config.Lookups(&k.slot, k.health)
	if err != nil {
		return nil, err
	}
	if err := k.use(config.DNS.Client); err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	k.watch(lookups)
	return lookups, nil
}

// watch has the health of the lists in force looked after, and of no others.
func (k *dnsKeeper) watch(lookups *answers.Lookups) {
	if k.health == nil {
		return
	}
	if lookups == nil {
		k.health.Watch(nil, nil)
		return
	}
	k.health.Watch(lookups.Lists, lookups.Resolver)
}

// recheck has lists that are by-passed looked at again: an administrator who asks
// for a reload may have mended what was wrong with them.
func (k *dnsKeeper) recheck() {
	if k.health != nil {
		k.health.Recheck()
	}
}

// use puts a resolver with these settings in force, unless it is already.
func (k *dnsKeeper) use(config dnscheck.Config) error {
	if k.slot.client.Load() != nil && reflect.DeepEqual(k.config, config) {
		return nil
	}
	client, err := newClient(config, k.logger)
	if err != nil {
		return err
	}
	if old := k.slot.client.Swap(client); old != nil {
		time.AfterFunc(retireAfter, func() { _ = old.Close() })
	}
	k.config = config
	return nil
}

func newClient(config dnscheck.Config, logger *slog.Logger) (*dnscheck.Client, error) {
	config.Log, config.MaxQueries = logger, maxQueries
	return dnscheck.NewClient(config)
}

// checkDNS finds what would keep the look-ups of a configuration from being made.
func checkDNS(config *configs.Config) error {
	if !config.AsksDNS() {
		return nil
	}
	client, err := newClient(config.DNS.Client, nil)
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	_, err = config.Lookups(client, nil)
	return errors.Join(err, client.Close())
}

// close ends the look-ups.
func (k *dnsKeeper) close() {
	if k.stop != nil {
		k.stop()
	}
	if client := k.slot.client.Load(); client != nil {
		_ = client.Close()
	}
}
