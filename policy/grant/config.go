package grant

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Config is what a Keeper needs. The zero value keeps grants in memory with the
// defaults below.
type Config struct {
	// Store keeps the grants. Default: NewMemory(Max, Now).
	Store Store
	// Max is how many grants that Memory holds. Default: DefaultMax.
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

// The defaults of a Config.
const (
	DefaultTTL        = 30 * time.Minute
	DefaultMaxPerUser = 10
)

// rules is the part of a Config that a reload changes.
type rules struct {
	ttl        time.Duration
	maxPerUser int
	networks   *networks
	own        func() []netip.Addr
}

func newRules(c Config) (*rules, error) {
	r := &rules{ttl: cmp.Or(c.TTL, DefaultTTL), maxPerUser: cmp.Or(c.MaxPerUser, DefaultMaxPerUser), own: c.Own}
	if r.ttl < MinTTL || r.ttl > MaxTTL {
		return nil, fmt.Errorf("relay grants: ttl %v, expected %v to %v", r.ttl, MinTTL, MaxTTL)
	}
	if c.Exclude == nil {
		c.Exclude = DefaultExclude()
	}
	var err error
	if r.networks, err = newNetworks(c.Exclude, c.Require); err != nil {
		return nil, fmt.Errorf("relay grants: %w", err)
	}
	return r, nil
}
