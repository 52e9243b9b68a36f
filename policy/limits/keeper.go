package limits

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"milterd/policy"
	"milterd/policy/access"
	"milterd/policy/snapshot"
)

// Shared keeps counts and blocks for many hosts. *redis.Limits is one.
type Shared interface {
	// Take answers the buckets, unless the login is blocked. block is what this host knows of
	// that, and the store takes it over if it has lost it; it has not if the login was
	// released. known is what this host knows of each bucket's count.
	Take(ctx context.Context, login string, block Block, all []Bucket, known []Known) (Block, error)
	// Block blocks a login for a time.
	Block(ctx context.Context, login string, length time.Duration) error
	// Release ends the block of a login, if there is one, and makes counts empty.
	Release(ctx context.Context, login string, keys []Key) (blocked bool, err error)
	// Blocks are the blocked logins, and for how much longer.
	Blocks(ctx context.Context) (map[string]time.Duration, error)
}

// Block is that of a login. The zero value is none.
type Block struct {
	// Name is whose it is: the login's, or that of the login without its realm.
	Name string
	// Left is for how much longer, in microseconds.
	Left int64
	// Alone: it was made while the shared store was away, which cannot know of it.
	Alone bool
}

// Known is what a host knows of a count that the shared store may not, in microseconds.
type Known struct {
	// Left is the time until it is empty at least: the store may have lost all, or a part
	// that a replica had not heard of when it became the master.
	Left int64
	// Alone is what was taken while the store was away: the store may have kept what it had.
	Alone int64
}

// Config is what a Keeper needs.
type Config struct {
	// Max bounds the counts in memory. Default: DefaultMax.
	Max int
	// File keeps counts and blocks over a restart; empty for none.
	File string
	// Shared keeps them for many hosts; nil for this one alone.
	Shared Shared
	// Seen reports whether anything else is known of a login, in the form of Names; nil: it
	// is not told whether a login has been seen.
	Seen func(login string) bool
	// Logger hears of limits that begin and end to refuse, and of what fails. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Keeper answers the questions of the limits and tells what comes of them. It is safe for
// concurrent use.
type Keeper struct {
	config Config
	logger *slog.Logger
	memory *Memory
	watch  watch
	count  counters
	notify *notifier
	rules  atomic.Pointer[[]policy.Limit]
	// away: the shared store cannot be asked.
	away atomic.Bool
	name atomic.Pointer[func(string) string]
	// saved is what was on disk last; saving holds it.
	saving  sync.Mutex
	saved   uint64
	failing bool
}

// New makes a Keeper, with what its file holds. A file that is damaged or holds something
// else is set aside.
func New(c Config) (*Keeper, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{config: c, logger: c.Logger, memory: NewMemory(c.Max, c.Now), notify: newNotifier(c.Logger)}
	k.rules.Store(new([]policy.Limit))
	k.Names(access.Fold)
	if c.File == "" {
		return k, nil
	}
	c.File = snapshot.Resolve(c.File)
	k.config.File = c.File
	err := k.memory.load(c.File)
	if errors.Is(err, snapshot.ErrDamaged) {
		damage := err
		var aside string
		if aside, err = snapshot.SetAside(c.File); err == nil {
			k.logger.Warn("the file of the limits is damaged or of another kind, and was set aside; all counts begin anew",
				"file", c.File, "set_aside_as", aside, "error", damage)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("file of the limits: %w", err)
	}
	return k, nil
}

// Use says which limits there are from now on, and which program with its arguments runs
// once when one of them begins to refuse; nil for none.
func (k *Keeper) Use(rules []policy.Limit, notify []string) {
	k.rules.Store(&rules)
	k.notify.command.Store(&notify)
}

// Names says how logins are named from now on (policy.Policy's LoginName).
func (k *Keeper) Names(name func(login string) string) { k.name.Store(&name) }

// Count answers queries as policy.Answers has it.
func (k *Keeper) Count(ctx context.Context, login string, queries []policy.LimitQuery) (blocked bool) {
	if len(login) > maxLogin {
		login = "" // such a one cannot be blocked
	}
	all := buckets(queries)
	if k.take(ctx, login, all) > 0 {
		k.count.blocked.Add(1)
		return true
	}
	answer(queries, all)
	k.tell(queries, all)
	return false
}

// take asks the shared store, or counts here if there is none or it is away.
func (k *Keeper) take(ctx context.Context, login string, all []Bucket) (blocked int64) {
	if k.config.Shared == nil {
		return k.memory.Take(login, all)
	}
	now := k.memory.clock()
	known := k.memory.tell(all, now)
	here := k.memory.blockOf(login)
	there, err := k.config.Shared.Take(ctx, login, here, all, known)
	if k.asked(err) != nil || there.Left > 0 {
		k.memory.untold(all, known)
	}
	if err != nil {
		k.count.local.Add(1)
		return k.memory.takeAlone(login, all)
	}
	if there.Left > 0 {
		// Without room here, the shared store alone knows.
		_ = k.memory.Block(there.Name, time.Duration(there.Left)*time.Microsecond)
		return there.Left
	}
	k.memory.note(all, known, now)
	if here.Left > 0 {
		k.memory.Unblock(here.Name)
	}
	return 0
}

// asked notes how a question to the shared store ended: errors are logged when they begin
// and when they are over. It returns err.
func (k *Keeper) asked(err error) error {
	switch {
	case err == nil:
		if k.away.Load() && k.away.CompareAndSwap(true, false) {
			k.logger.Info("the shared store of the limits works again, and is told what was counted here meanwhile")
		}
	case errors.Is(err, context.Canceled):
		// The caller gave up: that says nothing about the store.
	default:
		k.count.storeErrors.Add(1)
		if k.away.CompareAndSwap(false, true) {
			k.logger.Warn("the shared store of the limits is away: mail is counted on this host alone until it is back", "error", err)
		}
	}
	return err
}

// Block puts all mail of a login off for a time, on all hosts that share the store.
func (k *Keeper) Block(ctx context.Context, login string, length time.Duration) error {
	login, err := k.named(login)
	if err != nil {
		return err
	}
	if k.config.Shared != nil {
		if err := k.asked(k.config.Shared.Block(ctx, login, length)); err != nil {
			// Here at least it holds, and the store hears of it when it is back.
			return errors.Join(fmt.Errorf("blocked on this host alone: %w", err), k.memory.BlockAlone(login, length))
		}
	}
	if err := k.memory.Block(login, length); err != nil {
		return err
	}
	if err := k.flush(); err != nil {
		return fmt.Errorf("blocked, but not on disk, so that a restart may forget it: %w", err)
	}
	return nil
}

// Kept reports whether blocks outlive the process: in a file or in the shared store.
func (k *Keeper) Kept() bool { return k.config.File != "" || k.config.Shared != nil }

// Seen reports whether anything is known here of a login, so that one that was mistyped is
// noticed.
func (k *Keeper) Seen(login string) bool {
	login, err := k.named(login)
	return err != nil || k.config.Seen == nil || k.config.Seen(login) || k.memory.has(k.keysOf(login))
}

// Release ends the block of a login, and begins its counts anew. It says whether there was
// anything to end.
func (k *Keeper) Release(ctx context.Context, login string) (bool, error) {
	login, err := k.named(login)
	if err != nil {
		return false, err
	}
	keys := k.keysOf(login)
	was := k.memory.Unblock(login)
	k.memory.forget(keys)
	was = k.watch.release(keys) || was
	if k.config.Shared != nil {
		there, err := k.config.Shared.Release(ctx, login, keys)
		if k.asked(err) != nil {
			return was, fmt.Errorf("released on this host alone: %w", err)
		}
		was = was || there
	}
	if err := k.flush(); err != nil {
		return was, fmt.Errorf("released, but not on disk, so that a restart may block it again: %w", err)
	}
	return was, nil
}

// keysOf are the keys of all counts that are kept for a login.
func (k *Keeper) keysOf(login string) []Key {
	var keys []Key
	for _, l := range *k.rules.Load() {
		if l.By != policy.ByLogin {
			continue
		}
		for _, r := range append(append([]policy.Rate(nil), l.Rates...), l.Exceptions[login]...) {
			keys = append(keys, newKey(l.Name, r.Period, login))
		}
	}
	return keys
}

// named is a login as it is counted.
func (k *Keeper) named(login string) (string, error) {
	if login == "" || len(login) > maxLogin {
		return "", fmt.Errorf("a login of %d octets, expected 1 to %d", len(login), maxLogin)
	}
	return (*k.name.Load())(login), nil
}

// Blocks are the blocked logins, and for how much longer. With an error they are those
// that are known here.
func (k *Keeper) Blocks(ctx context.Context) (map[string]time.Duration, error) {
	if k.config.Shared == nil {
		return k.memory.Blocks(), nil
	}
	all, err := k.config.Shared.Blocks(ctx)
	if k.asked(err) != nil {
		return k.memory.Blocks(), fmt.Errorf("blocked logins known on this host alone: %w", err)
	}
	return all, nil
}
