package grant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"milterd/policy/printable"
)

// Decision is what became of a login.
type Decision uint8

const (
	// Failed: the store could not be asked; Login returned its error.
	Failed Decision = iota
	// Granted: the address has a grant now, and had none, or another user's.
	Granted
	// Renewed: it had one already, which lasts longer now.
	Renewed
	// Excluded: addresses like this get no grants.
	Excluded
	// Full: there is no room for another grant.
	Full
	// Invalid: this cannot be a login.
	Invalid
	// Stale: the login is older than a grant lasts.
	Stale
)

func (d Decision) String() string {
	return [...]string{"failed", "granted", "renewed", "excluded", "full", "invalid", "stale"}[d]
}

// Result is the answer to a login.
type Result struct {
	Decision Decision
	// Grant is the grant, if the address has one now.
	Grant Grant
	// Reason says why there is none.
	Reason string
}

// lateness is how much later than a login its source may tell of it.
const lateness = 5 * time.Second

// Keeper applies the rules for relay grants, logs and counts. It is safe for
// concurrent use.
type Keeper struct {
	store  Store
	logger *slog.Logger
	now    func() time.Time
	rules  atomic.Pointer[rules]
	count  counters
	// failing: the last operation of the store failed.
	failing atomic.Bool
	// What repeats for an address is logged once in a while.
	uses, exclusions, refusals once
}

// New makes a Keeper. The caller runs Run and, at the end, calls Close.
func New(c Config) *Keeper {
	k := &Keeper{store: c.Store, logger: cmp.Or(c.Logger, slog.New(slog.DiscardHandler)), now: c.Now}
	if k.now == nil {
		k.now = time.Now
	}
	if k.store == nil {
		k.store = NewMemory(c.Max, k.now)
	}
	k.rules.Store(newRules(c))
	return k
}

// Reload puts other rules in force: TTL, Exclude, Require, Own and MaxPerUser. The
// grants there are keep their time, but an address that is excluded now has lost its
// grant.
func (k *Keeper) Reload(c Config) { k.rules.Store(newRules(c)) }

// Login grants or renews. It returns an error if the store failed, and then
// nothing is granted.
func (k *Keeper) Login(ctx context.Context, login Login) (Result, error) {
	login.Addr = Canonical(login.Addr)
	if err := login.Valid(); err != nil {
		return k.refuse(ctx, login, Invalid, "relay grant refused: not a login", err.Error()), nil
	}
	r := k.rules.Load()
	if why := k.excluded(r, login.Addr); why != "" {
		return k.refuse(ctx, login, Excluded, "relay grant refused: excluded", why), nil
	}
	if !login.At.IsZero() {
		// A source tells of a login a moment later, and its clock may be ahead.
		if age := k.now().Sub(login.At).Abs(); age > r.ttl+lateness {
			return k.refuse(ctx, login, Stale, "relay grant refused: not a login of now",
				fmt.Sprintf("its log says %s; are clock and zone of the log those of this machine?", login.At.Format(time.RFC3339))), nil
		}
	}
	change, err := k.store.Put(ctx, login, r.ttl, r.maxPerUser)
	if errors.Is(err, ErrFull) {
		return k.refuse(ctx, login, Full, "relay grant refused: too many", err.Error()), nil
	}
	if err = k.stored(ctx, err); err != nil {
		return Result{}, fmt.Errorf("relay grant for %v: %w", login.Addr, err)
	}
	return k.granted(ctx, change), nil
}

// refuse counts a login that gets no grant and logs it, once in a while for each address.
func (k *Keeper) refuse(ctx context.Context, login Login, decision Decision, what, reason string) Result {
	k.count.logins[decision].Add(1)
	level, told := slog.LevelWarn, &k.refusals
	if decision == Excluded {
		level, told = slog.LevelInfo, &k.exclusions
	}
	if told.first(login.Addr, k.now()) {
		k.log(ctx, level, what, login.Addr, login.User, login.Source, slog.String("reason", reason))
	}
	return Result{Decision: decision, Reason: reason}
}

// granted logs and counts what a login changed.
func (k *Keeper) granted(ctx context.Context, c Change) Result {
	g := c.Grant
	result := Result{Decision: Granted, Grant: g}
	if c.Renewed {
		result.Decision = Renewed
		k.log(ctx, slog.LevelInfo, "relay grant renewed", g.Addr, g.User, g.Source, slog.Time("since", g.Since), slog.Time("expires", g.Expires))
	} else {
		attrs := []slog.Attr{slog.Time("expires", g.Expires)}
		if c.Replaced != "" {
			attrs = append(attrs, slog.String("instead_of", printable.Short(c.Replaced, MaxUser, "…")))
		}
		k.log(ctx, slog.LevelInfo, "relay grant made", g.Addr, g.User, g.Source, attrs...)
	}
	for _, addr := range c.Displaced {
		k.count.displaced.Add(1)
		k.log(ctx, slog.LevelInfo, "relay grant displaced by the user's next", addr, g.User, g.Source, slog.String("next", g.Addr.String()))
	}
	k.count.logins[result.Decision].Add(1)
	return result
}

// Revoke ends the grant of an address and says whether there was one. A grant that
// ended although there is an error may be back after a restart.
func (k *Keeper) Revoke(ctx context.Context, addr netip.Addr) (bool, error) {
	addr = Canonical(addr)
	if !addr.IsValid() {
		return false, errors.New("revoke relay grant: no address")
	}
	held, err := k.store.Delete(ctx, addr)
	if held {
		k.count.revoked.Add(1)
		k.logger.LogAttrs(ctx, slog.LevelInfo, "relay grant revoked", slog.String("client", addr.String()))
	}
	if err = k.stored(ctx, err); err != nil {
		return held, fmt.Errorf("revoke relay grant of %v: %w", addr, err)
	}
	return held, nil
}

// RevokeUser ends all grants of a user and says how many there were; with an error
// they may be back, as with Revoke.
func (k *Keeper) RevokeUser(ctx context.Context, user string) (int, error) {
	if user == "" {
		return 0, errors.New("revoke relay grants of a user: no name")
	}
	if err := ValidUser(user); err != nil {
		return 0, fmt.Errorf("revoke relay grants of a user: %w", err)
	}
	gone, err := k.store.DeleteUser(ctx, user)
	for _, addr := range gone {
		k.count.revoked.Add(1)
		k.logger.LogAttrs(ctx, slog.LevelInfo, "relay grant revoked",
			slog.String("client", addr.String()), slog.String("user", printable.Short(user, MaxUser, "…")))
	}
	if err = k.stored(ctx, err); err != nil {
		return len(gone), fmt.Errorf("revoke relay grants of %q: %w", user, err)
	}
	return len(gone), nil
}

// List calls fn for each grant, in no order, until it returns false.
func (k *Keeper) List(ctx context.Context, fn func(Grant) bool) error {
	if err := k.stored(ctx, k.store.List(ctx, fn)); err != nil {
		return fmt.Errorf("list relay grants: %w", err)
	}
	return nil
}

// sweepInterval is how often Run looks for grants that have expired. They do not
// hold in between: this is for memory and for the log.
const sweepInterval = time.Second

// swept is how many grants are removed at a time, so that no mail waits long for the
// store meanwhile.
const swept = 1000

// Run removes what has expired, until ctx ends. It is the caller's to start and to
// wait for.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			k.Sweep(ctx)
		}
	}
}

// Sweep removes, logs and counts what has expired by now.
func (k *Keeper) Sweep(ctx context.Context) {
	for ctx.Err() == nil {
		gone, err := k.store.Expire(ctx, swept)
		for _, g := range gone {
			k.count.expired.Add(1)
			k.log(ctx, slog.LevelInfo, "relay grant expired", g.Addr, g.User, g.Source, slog.Time("since", g.Since))
		}
		if err != nil {
			// No error would mean little: a store need not ask its server here.
			_ = k.stored(ctx, err)
			return
		}
		if len(gone) < swept {
			return
		}
	}
}

// Close closes the store. Run must have returned.
func (k *Keeper) Close() error { return k.store.Close() }

// stored notes how an operation of the store ended: errors are counted, and logged
// when they begin and when they are over. It returns err.
func (k *Keeper) stored(ctx context.Context, err error) error {
	switch {
	case err == nil:
		if k.failing.Load() && k.failing.CompareAndSwap(true, false) {
			k.logger.InfoContext(ctx, "the store of relay grants works again")
		}
	case errors.Is(err, context.Canceled):
		// The caller gave up: that says nothing about the store.
	default:
		k.count.storeErrors.Add(1)
		if k.failing.CompareAndSwap(false, true) {
			k.logger.WarnContext(ctx, "the store of relay grants fails; told again when it works", "error", err)
		}
	}
	return err
}

// log writes one line about a grant. User and source come from outside: they are
// bounded and made printable here.
func (k *Keeper) log(ctx context.Context, level slog.Level, what string, addr netip.Addr, user, source string, attrs ...slog.Attr) {
	if !k.logger.Enabled(ctx, level) {
		return
	}
	k.logger.LogAttrs(ctx, level, what, append([]slog.Attr{
		slog.String("client", addr.String()),
		slog.String("user", printable.Short(user, MaxUser, "…")),
		slog.String("source", printable.Short(source, MaxSource, "…")),
	}, attrs...)...)
}
