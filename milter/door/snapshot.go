package door

import (
	"context"
	"net/netip"

	"milterd/policy"
)

// Snapshot is what is in force at one moment.
type Snapshot struct {
	// Policy is nil before there is any.
	Policy *policy.Policy
	// Lookups asks the DNS; nil if no check does.
	Lookups Lookups
	// Grants knows the relay grants; nil if there are none.
	Grants Grants
	// Limits count what is sent; nil if nothing is counted.
	Limits Limits
	// NAT knows the address that hides the clients' own; nil if that is not looked for.
	NAT *NATGuard
}

// Lookups makes the DNS answers about a connection.
type Lookups interface {
	// NewAnswers makes answers whose look-ups end with ctx. panicked is told of panics
	// in them, from their goroutines.
	NewAnswers(ctx context.Context, c policy.Connection, panicked func(value any)) policy.Answers
}

// Grants says which clients hold a relay grant.
type Grants interface {
	// Grant is asked while a client waits; it answers in good time.
	Grant(ctx context.Context, client netip.Addr) policy.GrantState
}

// Limits count what is sent.
type Limits interface {
	// Count is policy.Answers' own. It is asked while a client waits.
	Count(ctx context.Context, login string, queries []policy.LimitQuery) (blocked bool)
}

// OnlyRefused are limits for the map door. It is asked about a recipient before the filter
// door is, which counts it; but of one that the map door refuses the filter door never
// hears.
func OnlyRefused(limits Limits) Limits {
	if limits == nil {
		return nil
	}
	return onlyRefused{limits}
}

type onlyRefused struct{ limits Limits }

// Count counts what has been refused, and has room for all else.
func (o onlyRefused) Count(ctx context.Context, _ string, queries []policy.LimitQuery) (blocked bool) {
	if len(queries) > 0 && queries[0].Limit.Count == policy.CountRefused && queries[0].N > 0 {
		o.limits.Count(ctx, "", queries)
	}
	return false
}

// Answers makes the answers about a connection: those of the DNS, with the relay grants
// and the counts of the moment they are asked for.
func (s Snapshot) Answers(ctx context.Context, c policy.Connection, panicked func(value any)) policy.Answers {
	answers := policy.Answers(policy.NoAnswers{})
	if s.Lookups != nil {
		answers = s.Lookups.NewAnswers(ctx, c, panicked)
	}
	answers = s.WithGrant(ctx, c.Addr, answers)
	if s.Limits != nil {
		answers = &withLimits{answers, ctx, s.Limits}
	}
	return answers
}

type withLimits struct {
	policy.Answers
	ctx    context.Context
	limits Limits
}

var _ policy.Answers = (*withLimits)(nil)

// Count asks the limits.
func (a *withLimits) Count(login string, queries []policy.LimitQuery) (blocked bool) {
	return a.limits.Count(a.ctx, login, queries)
}

// WithGrant puts the relay grant of a client into answers.
func (s Snapshot) WithGrant(ctx context.Context, client netip.Addr, answers policy.Answers) policy.Answers {
	if s.Grants == nil || !client.IsValid() {
		return answers
	}
	return &withGrant{answers, ctx, s.Grants, client}
}

type withGrant struct {
	policy.Answers
	ctx    context.Context
	grants Grants
	client netip.Addr
}

var _ policy.Answers = (*withGrant)(nil)

// Grant asks anew each time: the grant may have come after the client connected.
func (a *withGrant) Grant() policy.GrantState { return a.grants.Grant(a.ctx, a.client) }
