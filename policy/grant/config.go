package grant

import (
	"cmp"
	"log/slog"
	"net/netip"
	"time"
)

// Config is what a Keeper needs. The zero value keeps grants in memory with the
// defaults below. Package configs checks the values.
type Config struct {
	// Store keeps the grants. Default: NewMemory(Max, Now).
	Store Store
	// Max is how many grants that Memory holds. Default: a million.
	Max int
	// Logger gets one line for each login, expiry and revocation, and one a
	// minute for a grant in use. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// TTL is how long a login holds. Default: 30 minutes.
	TTL time.Duration
	// Exclude are the networks whose addresses get no grants. Default:
	// DefaultExclude(); an empty list that is not nil excludes nothing.
	Exclude []netip.Prefix
	// Require are the only networks whose addresses get grants. Default: any.
	Require []netip.Prefix
	// Own lists this machine's addresses, which get no grants either. Default:
	// nothing is known of them.
	Own func() []netip.Addr
	// MaxPerUser is how many addresses one user may have grants for. Default:
	// 10; negative for no limit.
	MaxPerUser int
}

// rules is the part of a Config that a reload changes.
type rules struct {
	ttl        time.Duration
	maxPerUser int
	networks   *networks
	own        func() []netip.Addr
}

func newRules(c Config) *rules {
	if c.Exclude == nil {
		c.Exclude = DefaultExclude()
	}
	return &rules{
		ttl: cmp.Or(c.TTL, 30*time.Minute), maxPerUser: cmp.Or(c.MaxPerUser, 10),
		networks: newNetworks(c.Exclude, c.Require), own: c.Own,
	}
}
