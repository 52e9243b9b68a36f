package dnscheck

import (
	"cmp"
	"log/slog"
	"time"
)

// Config sets up a Client. The zero value asks the servers of /etc/resolv.conf
// with the defaults below. Package configs bounds the values.
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

// maxServers bounds the servers of ResolvConf.
const maxServers = 16

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	c.ResolvConf = cmp.Or(c.ResolvConf, "/etc/resolv.conf")
	c.TryTimeout = cmp.Or(c.TryTimeout, 1500*time.Millisecond)
	c.Attempts = cmp.Or(c.Attempts, 2)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.MaxQueries = cmp.Or(c.MaxQueries, 2048)
	c.CacheBytes = cmp.Or(c.CacheBytes, 32<<20)
	c.CacheEntries = cmp.Or(c.CacheEntries, 200_000)
	c.MinTTL = cmp.Or(c.MinTTL, 5*time.Second)
	c.MaxTTL = cmp.Or(c.MaxTTL, time.Hour)
	c.NegativeTTL = cmp.Or(c.NegativeTTL, 15*time.Minute)
	c.TemporaryTTL = cmp.Or(c.TemporaryTTL, 5*time.Second)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.now == nil {
		c.now = time.Now
	}
	return c
}
