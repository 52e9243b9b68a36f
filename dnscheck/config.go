package dnscheck

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"
)

// Config sets up a Client. The zero value asks the servers of /etc/resolv.conf
// with the defaults below.
type Config struct {
	// Servers are the DNS servers to ask, in order of preference: an address, or
	// address:port. Without any, those of ResolvConf are asked.
	Servers []string
	// ResolvConf is the file that names the servers; it is read again when it
	// changes. Default /etc/resolv.conf.
	ResolvConf string

	// TryTimeout is how long one server is waited for. Default 1.5 s.
	TryTimeout time.Duration
	// Attempts is how often each server is asked before the look-up ends in
	// ErrTimeout. Default 2.
	Attempts int
	// Timeout bounds a look-up from beginning to end, all servers, aliases and
	// attempts together. Default 5 s.
	Timeout time.Duration
	// MaxQueries bounds the look-ups that are under way at the servers at one
	// time; further ones wait for their turn. Default 2048: one connection can have a
	// few dozen, so it takes many clients on dead servers to use them up.
	MaxQueries int

	// CacheBytes and CacheEntries bound the cache: about so much memory, and no
	// more than so many answers. Defaults 32 MiB and 200,000.
	CacheBytes   int64
	CacheEntries int
	// MinTTL and MaxTTL are floor and ceiling of the time an answer is
	// remembered. Defaults 5 s and 1 h.
	MinTTL, MaxTTL time.Duration
	// NegativeTTL is the ceiling for names that do not exist or have no such
	// records. Default 15 min.
	NegativeTTL time.Duration
	// TemporaryTTL is how long ErrServFail and ErrTimeout are remembered, so
	// that a dead zone costs its time-out once and not for every client.
	// Default 5 s.
	TemporaryTTL time.Duration
	// StaleTTL is how long after its end an answer may still stand in for one
	// that cannot be had (RFC 8767). Default 0: never.
	StaleTTL time.Duration

	// Log is told of changes to the list of servers; nil for no log.
	Log *slog.Logger

	// now is the clock of the cache; tests set it.
	now func() time.Time
}

// The bounds of what a Config may say.
const (
	maxServers  = 16
	maxAttempts = 10
)

// withDefaults fills in what was left out, and refuses what cannot be.
func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name       string
		value      *time.Duration
		defaultsTo time.Duration
	}{
		{"try timeout", &c.TryTimeout, 1500 * time.Millisecond},
		{"timeout", &c.Timeout, 5 * time.Second},
		{"minimum ttl", &c.MinTTL, 5 * time.Second},
		{"maximum ttl", &c.MaxTTL, time.Hour},
		{"negative ttl", &c.NegativeTTL, 15 * time.Minute},
		{"temporary ttl", &c.TemporaryTTL, 5 * time.Second},
		{"stale ttl", &c.StaleTTL, 0},
	} {
		if *d.value < 0 {
			return c, fmt.Errorf("dns %s: %v is negative", d.name, *d.value)
		}
		*d.value = cmp.Or(*d.value, d.defaultsTo)
	}
	c.Attempts = cmp.Or(c.Attempts, 2)
	c.MaxQueries = cmp.Or(c.MaxQueries, 2048)
	c.CacheEntries = cmp.Or(c.CacheEntries, 200_000)
	c.CacheBytes = cmp.Or(c.CacheBytes, 32<<20)
	c.ResolvConf = cmp.Or(c.ResolvConf, "/etc/resolv.conf")
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.now == nil {
		c.now = time.Now
	}
	switch {
	case c.MinTTL > c.MaxTTL:
		return c, fmt.Errorf("dns minimum ttl %v is above the maximum ttl %v", c.MinTTL, c.MaxTTL)
	case c.Attempts < 1 || c.Attempts > maxAttempts:
		return c, fmt.Errorf("dns attempts: %d, expected 1 to %d", c.Attempts, maxAttempts)
	case c.MaxQueries < 1 || c.CacheEntries < 1 || c.CacheBytes < 1:
		return c, fmt.Errorf("dns limits: queries %d, cache entries %d and bytes %d must be positive",
			c.MaxQueries, c.CacheEntries, c.CacheBytes)
	case len(c.Servers) > maxServers:
		return c, fmt.Errorf("dns servers: %d, expected %d at most", len(c.Servers), maxServers)
	}
	return c, nil
}
