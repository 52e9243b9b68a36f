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
	if s.Grants == nil && s.Limits == nil {
		return answers
	}
	return &storedAnswers{answers, ctx, s.Grants, s.Limits, c.Addr}
}

// storedAnswers are answers with what the stores of grants and limits say; nil for none.
type storedAnswers struct {
	policy.Answers
	ctx    context.Context
	grants Grants
	limits Limits
	client netip.Addr
}

var _ policy.Answers = (*storedAnswers)(nil)

// Grant asks anew each time: the grant may have come after the client connected.
func (a *storedAnswers) Grant() policy.GrantState {
	if a.grants == nil || !a.client.IsValid() {
		return a.Answers.Grant()
	}
	return a.grants.Grant(a.ctx, a.client)
}

// Count asks the limits.
func (a *storedAnswers) Count(login string, queries []policy.LimitQuery) (blocked bool) {
	if a.limits == nil {
		return a.Answers.Count(login, queries)
	}
	return a.limits.Count(a.ctx, login, queries)
}
