package redis

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrUnavailable: the server did not answer a moment ago, and was not asked again.
var ErrUnavailable = errors.New("the server has just failed to answer")

// rest is how long a server that failed is left alone.
const rest = time.Second

// breaker lets operations through while the server answers. After one that failed
// there is none for a while, and then one at a time until one succeeds.
type breaker struct {
	now func() time.Time

	mu     sync.Mutex
	until  time.Time // zero: the server answers
	trying bool
}

// allow says whether to ask the server. Who was allowed calls done.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return true
	}
	if b.trying || b.now().Before(b.until) {
		return false
	}
	b.trying = true
	return true
}

// open says that the server has failed, and that no request has had an answer since.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.until.IsZero()
}

func (b *breaker) done(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	switch {
	case answered(err):
		b.until = time.Time{}
	case errors.Is(err, context.Canceled):
		// The caller gave up; the next one may try.
	default:
		b.until = b.now().Add(rest)
	}
}

// answered says that a server which works gave this answer, or refused this one
// request.
func answered(err error) bool {
	if err == nil || errors.Is(err, redis.Nil) {
		return true
	}
	for _, prefix := range []string{"ERR", "WRONGTYPE", "OOM", "NOSCRIPT"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}
