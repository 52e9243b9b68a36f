package main

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"milterd/configs"
	"milterd/dnscheck"
	"milterd/milter"
	"milterd/policy"
	"milterd/policy/replay"
)

// retireAfter is how long a resolver that is no longer in force still answers
// connections that began with it. Their look-ups are over long before.
const retireAfter = time.Minute

// dnsKeeper makes the look-ups of a configuration. The resolver, with its cache,
// and what is known of the lists' health outlive a reload that leaves them as
// they are.
type dnsKeeper struct {
	logger *slog.Logger
	client *dnscheck.Client
	config dnscheck.Config
	health *dnscheck.Health
	stop   context.CancelFunc
}

// lookups makes what DNS questions are answered with; nil where no check asks.
func (k *dnsKeeper) lookups(config *configs.Config) (*milter.Lookups, error) {
	if !config.AsksDNS() {
		return nil, nil
	}
	client, err := k.resolver(config.DNS.Client)
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	if k.health == nil {
		k.health = dnscheck.NewHealth(dnscheck.HealthOptions{Log: k.logger})
		ctx, cancel := context.WithCancel(context.Background())
		k.stop = cancel
		go k.health.Run(ctx)
	}
	lookups, err := newLookups(config, client, k.health)
	if err != nil {
		return nil, err
	}
	if lookups.Lists != nil {
		k.health.Watch(lookups.Lists, lookups.Resolver)
	}
	return lookups, nil
}

// resolver is the client in use, or a new one where its settings have changed.
func (k *dnsKeeper) resolver(config dnscheck.Config) (*dnscheck.Client, error) {
	if k.client != nil && reflect.DeepEqual(k.config, config) {
		return k.client, nil
	}
	settings := config
	settings.Log = k.logger
	client, err := dnscheck.NewClient(settings)
	if err != nil {
		return nil, err
	}
	if old := k.client; old != nil {
		time.AfterFunc(retireAfter, func() { _ = old.Close() })
	}
	k.client, k.config = client, config
	return client, nil
}

// close ends the look-ups.
func (k *dnsKeeper) close() {
	if k.stop != nil {
		k.stop()
	}
	if k.client != nil {
		_ = k.client.Close()
	}
}

// newLookups makes the look-ups of a configuration over a resolver.
func newLookups(config *configs.Config, resolver dnscheck.Resolver, health *dnscheck.Health) (*milter.Lookups, error) {
	lists, err := config.DNS.NewLists(health)
	if err != nil {
		return nil, err
	}
	generic, err := config.DNS.NewGeneric()
	if err != nil {
		return nil, err
	}
	if lists != nil {
		resolver = lists.WithKeys(resolver)
	}
	return &milter.Lookups{
		Resolver: resolver, Lists: lists, Generic: generic, Time: config.DNS.Deadline,
		Mail: dnscheck.MailOptions{
			BadMX:    config.Checks.SenderDomain.BadMX.Action != policy.ActionAccept,
			Networks: config.DNS.BadNetworks,
		},
	}, nil
}

// frozen answers the questions of recorded sessions from their own dns lines.
type frozen struct {
	// lookups is nil where no check asks.
	lookups *milter.Lookups
}

func newFrozen(config *configs.Config) (*frozen, error) {
	if !config.AsksDNS() {
		return &frozen{}, nil
	}
	lookups, err := newLookups(config, nil, nil)
	return &frozen{lookups}, err
}

// answers reads the dns lines of a session.
func (f *frozen) answers(s *replay.Session) (func(policy.Connection) policy.Answers, error) {
	if f.lookups == nil {
		return nil, nil
	}
	resolver, err := dnscheck.NewFrozen(s.DNS)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %s: %w", s.File, s.Line, s.ID, err)
	}
	lookups := *f.lookups
	// Recorded names have {key} where a list's query key goes.
	lookups.Resolver = resolver
	return func(c policy.Connection) policy.Answers {
		return lookups.NewAnswers(context.Background(), c)
	}, nil
}
