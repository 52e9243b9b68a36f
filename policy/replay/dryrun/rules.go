package dryrun

import (
	"fmt"
	"io"

	"milterd/configs"
	"milterd/dnscheck"
	"milterd/dnscheck/answers"
	"milterd/policy"
	"milterd/policy/replay"
)

// Rules are a configuration and the policy made of it.
type Rules struct {
	config *configs.Config
	policy *policy.Policy
	// lookups has no resolver, and is nil if no check asks the DNS.
	lookups *answers.Lookups
}

// LoginName is a login as the limits of the policy know it.
func (r *Rules) LoginName(login string) string { return r.policy.LoginName(login) }

// NewRules makes rules of a configuration, and prints what it warns of.
func NewRules(config *configs.Config, stderr io.Writer) (*Rules, error) {
	p, warnings, err := config.Policy()
	for _, w := range warnings {
		fmt.Fprintf(stderr, "milterd: warning: %s\n", w)
	}
	if err != nil {
		return nil, err
	}
	lookups, err := config.Lookups(nil, nil)
	if err != nil {
		return nil, err
	}
	if lookups != nil {
		// This finds what would keep look-ups from being made.
		client, err := dnscheck.NewClient(config.DNS.Client)
		if err != nil {
			return nil, fmt.Errorf("dns: %w", err)
		}
		if err := client.Close(); err != nil {
			return nil, err
		}
	}
	return &Rules{config, p, lookups}, nil
}

// frozen answers the questions of a recorded session from its own dns lines. The
// resolver, nil if no check asks, tells afterwards what they lack.
func (r *Rules) frozen(s *replay.Session) (func(policy.Connection) policy.Answers, *dnscheck.Frozen, error) {
	given, resolver, err := r.lookups.Frozen(s.DNS)
	if err != nil {
		return nil, nil, fmt.Errorf("%s:%d: %s: %w", s.File, s.Line, policy.Printable(s.ID), err)
	}
	return given, resolver, nil
}

// Decide decides a recorded session.
func (r *Rules) Decide(s *replay.Session) (replay.Outcome, error) {
	answers, _, err := r.frozen(s)
	if err != nil {
		return replay.Outcome{}, err
	}
	return replay.RunUntraced(r.policy, s, answers, nil), nil
}
