package dnscheck

import (
	"context"
	"sync"
)

// peeker is a resolver that can tell whether it has to ask anybody. Checks that
// ask several questions at once look there first, which spares a goroutine for
// each one that a cache or a recorded session answers.
type peeker interface {
	// peek is Lookup where that would not wait; ok is false where it would.
	peek(name string, qtype uint16) (result Result, ok bool)
}

// peek asks a resolver for what it has at hand.
func peek(resolver Resolver, name string, qtype uint16) (Result, bool) {
	if p, ok := resolver.(peeker); ok {
		return p.peek(name, qtype)
	}
	return Result{}, false
}

// fresh asks a question anew where a resolver has a cache, past which it can ask.
func fresh(ctx context.Context, resolver Resolver, name string, qtype uint16) Result {
	if f, ok := resolver.(interface {
		fresh(ctx context.Context, name string, qtype uint16) Result
	}); ok {
		return f.fresh(ctx, name, qtype)
	}
	return resolver.Lookup(ctx, name, qtype)
}

// together asks all questions at once and waits for all answers.
func together(ctx context.Context, resolver Resolver, questions []question) []Result {
	results := make([]Result, len(questions))
	last := -1
	var lookups sync.WaitGroup
	for i, q := range questions {
		var ok bool
		if results[i], ok = peek(resolver, q.name, q.qtype); ok {
			continue
		}
		if previous := last; previous >= 0 {
			lookups.Go(func() {
				results[previous] = resolver.Lookup(ctx, questions[previous].name, questions[previous].qtype)
			})
		}
		last = i
	}
	// The last one needs no goroutine of its own.
	if last >= 0 {
		results[last] = resolver.Lookup(ctx, questions[last].name, questions[last].qtype)
	}
	lookups.Wait()
	return results
}
