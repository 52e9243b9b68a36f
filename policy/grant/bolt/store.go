package bolt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"milterd/policy/grant"
)

// Config says where the grants are kept.
type Config struct {
	// Path is the file. Its directory must exist.
	Path string
	// Max is how many grants are kept. Default: grant.DefaultMax.
	Max int
	// Interval is how long a change may wait to be written together with others.
	// Default: 1 s.
	Interval time.Duration
	// LockTimeout is how long another process that has the file open is waited
	// for, such as the milterd that this one takes over from. Default: 5 s.
	LockTimeout time.Duration
	// Logger hears when the file cannot be written. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// The defaults of a Config.
const (
	DefaultInterval    = time.Second
	DefaultLockTimeout = 5 * time.Second
)

// Store is a grant.Store in memory that writes what changes into a file.
type Store struct {
	config Config
	// Memory answers all look-ups.
	*grant.Memory
	db *bbolt.DB

	mu sync.Mutex
	// dirty are the keys whose record in the file may not be what Memory says.
	dirty map[[16]byte]struct{}

	wake    chan struct{}      // something is dirty
	flushes chan chan<- error  // requests to write now
	stop    context.CancelFunc // ends the writer
	stopped <-chan struct{}
	closed  chan struct{} // the writer has ended
	err     error         // how closing ended

	// damaged: the file must not be touched again. The writer's own.
	damaged bool

	writes, failures atomic.Uint64
	problem          atomic.Pointer[string]
}

// Open opens the file, or makes it, and reads the grants that still hold. A file that
// is damaged is set aside, and there are no grants.
func Open(c Config) (*Store, error) {
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = DefaultLockTimeout
	}
	if c.Interval < 0 || c.LockTimeout < 0 {
		return nil, fmt.Errorf("open file of relay grants %s: interval %v and lock timeout %v must not be negative",
			c.Path, c.Interval, c.LockTimeout)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	found, _ := os.Stat(c.Path)
	s, err := read(c)
	if errors.Is(err, errDamaged) && found != nil {
		// What is lost are grants of some minutes. To refuse to start for them would
		// have all mail deferred.
		name, asideErr := setAside(c.Path, found)
		if asideErr != nil {
			return nil, fmt.Errorf("%w; set it aside: %w; %s", err, asideErr, advice)
		}
		c.Logger.Error("the file of relay grants is damaged and was set aside; there are none until users log in again",
			"file", c.Path, "set_aside_as", name, "error", err)
		s, err = read(c)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.stopped = cancel, ctx.Done()
	go s.write()
	return s, nil
}

// read opens the file and reads it, for a store that does not write yet.
func read(c Config) (*Store, error) {
	db, err := openFile(c.Path, c.LockTimeout)
	if err != nil {
		return nil, err
	}
	s := &Store{
		config:  c,
		Memory:  grant.NewMemory(c.Max, c.Now),
		db:      db,
		dirty:   make(map[[16]byte]struct{}),
		wake:    make(chan struct{}, 1),
		flushes: make(chan chan<- error),
		closed:  make(chan struct{}),
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// load fills the memory from the file. What holds no more is removed from the file
// with the next changes.
func (s *Store) load() error {
	latest := s.config.Now().Add(grant.MaxTTL)
	left := 0
	err := load(s.db, s.config.Path, func(key [16]byte, g grant.Grant) error {
		// The machine's clock was wrong where a grant is longer than any can be.
		held := !g.Expires.After(latest)
		if held {
			var err error
			if held, err = s.Restore(g); errors.Is(err, grant.ErrFull) {
				held = false
				left++
			} else if err != nil {
				return err
			}
		}
		if !held {
			s.dirty[key] = struct{}{}
		}
		return nil
	})
	if left > 0 {
		s.config.Logger.Warn("file of relay grants holds more than the limit; some are left out", "file", s.config.Path, "left_out", left)
	}
	if len(s.dirty) > 0 {
		s.poke()
	}
	return err
}

// Put grants or renews, and has it written soon.
func (s *Store) Put(ctx context.Context, login grant.Login, ttl time.Duration, maxPerUser int) (grant.Change, error) {
	change, err := s.Memory.Put(ctx, login, ttl, maxPerUser)
	if err == nil {
		s.changed(append(change.Displaced, change.Grant.Addr)...)
	}
	return change, err
}

// Delete ends the grant of an address, and returns when that is on disk. With an
// error the grant has ended, but may be back after a restart.
func (s *Store) Delete(ctx context.Context, addr netip.Addr) (bool, error) {
	held, err := s.Memory.Delete(ctx, addr)
	if err != nil || !held {
		return held, err
	}
	s.changed(addr)
	return true, s.Flush(ctx)
}

// DeleteUser ends all grants of a user, and returns when that is on disk. With an
// error they have ended, but may be back after a restart.
func (s *Store) DeleteUser(ctx context.Context, user string) ([]netip.Addr, error) {
	gone, err := s.Memory.DeleteUser(ctx, user)
	if err != nil || len(gone) == 0 {
		return gone, err
	}
	s.changed(gone...)
	return gone, s.Flush(ctx)
}

// Expire removes what has expired, and has that written soon.
func (s *Store) Expire(ctx context.Context, max int) ([]grant.Grant, error) {
	gone, err := s.Memory.Expire(ctx, max)
	addrs := make([]netip.Addr, len(gone))
	for i, g := range gone {
		addrs[i] = g.Addr
	}
	s.changed(addrs...)
	return gone, err
}

// changed marks addresses to be written.
func (s *Store) changed(addrs ...netip.Addr) {
	if len(addrs) == 0 {
		return
	}
	s.mu.Lock()
	for _, addr := range addrs {
		s.dirty[addr.As16()] = struct{}{}
	}
	s.mu.Unlock()
	s.poke()
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Flush writes what has changed before the call, and returns when it is on disk.
func (s *Store) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case s.flushes <- done:
	case <-s.closed:
		return fmt.Errorf("write file of relay grants %s: closed", s.config.Path)
	case <-ctx.Done():
		return fmt.Errorf("write file of relay grants %s: not written yet: %w", s.config.Path, ctx.Err())
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("write file of relay grants %s: not written yet: %w", s.config.Path, ctx.Err())
	}
}

// Close writes what has changed and closes the file. It may be called again.
func (s *Store) Close() error {
	s.stop()
	<-s.closed
	return s.err
}

// Stats is how the writing goes.
type Stats struct {
	// Pending is how many grants wait to be written.
	Pending int
	// Writes counts the transactions, Failures those that failed.
	Writes, Failures uint64
	// Problem is why the last one failed, empty while it works.
	Problem string
}

// Stats is how the writing goes now.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	pending := len(s.dirty)
	s.mu.Unlock()
	stats := Stats{Pending: pending, Writes: s.writes.Load(), Failures: s.failures.Load()}
	if problem := s.problem.Load(); problem != nil {
		stats.Problem = *problem
	}
	return stats
}

// Failures counts the transactions that failed.
func (s *Store) Failures() uint64 { return s.failures.Load() }
