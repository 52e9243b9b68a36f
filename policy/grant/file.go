package grant

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"milterd/policy/snapshot"
)

type FileConfig struct {
	// Path is the file. Its directory must exist.
	Path string
	// Max is how many grants are kept. Default: a million.
	Max int
	// Interval is how long a change waits to be written together with others.
	// Default: 1 s.
	Interval time.Duration
	// LockTimeout is how long another process that uses the file is waited for,
	// such as the milterd that this one takes over from. Default: 5 s.
	LockTimeout time.Duration
	// Logger hears when the file is set aside or cannot be written. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// maxPause bounds the pause before a write that failed is tried again.
const maxPause = 30 * time.Second

// File is a Memory that outlasts a restart: all grants are in memory, and a snapshot of
// them is in a file.
//
// No mail waits for the disk, nor does a login: a snapshot is written Config.Interval
// after the first change since the last one, so that a storm of logins costs one write. A
// power cut takes the logins of that last second, and their users log in again. A
// revocation is on disk before it is acknowledged. While the file cannot be written (a
// full disk), grants hold in memory, and the writing is tried again.
//
// The snapshot is written beside the file and renamed, so that a crash at any moment
// leaves the old one or the new one. One process at a time uses the file; the lock
// (flock) is on the file itself.
type File struct {
	*Memory
	config FileConfig
	wake   chan struct{} // something has changed
	stop   context.CancelFunc
	closed chan struct{} // the writer has ended
	err    error         // how it ended

	// pending counts the changes that are not on disk.
	pending          atomic.Int64
	writes, failures atomic.Uint64
	failing          atomic.Bool

	mu   sync.Mutex // held while a snapshot is written
	lock *os.File   // the file at the path, nil once the store is closed
}

// OpenFile opens the file, or makes it, and reads the grants that still hold. If it is
// damaged or holds something else, it is set aside, and there are no grants.
func OpenFile(c FileConfig) (*File, error) {
	c.Interval, c.LockTimeout = cmp.Or(c.Interval, time.Second), cmp.Or(c.LockTimeout, 5*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Path = snapshot.Resolve(c.Path)
	f := &File{config: c, Memory: NewMemory(c.Max, c.Now), wake: make(chan struct{}, 1), closed: make(chan struct{})}
	grants, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("open file of relay grants %s: %w", c.Path, err)
	}
	if over := len(grants) - f.max; over > 0 {
		c.Logger.Warn("file of relay grants holds more than the limit; some are left out", "file", c.Path, "left_out", over)
		grants = grants[over:]
	}
	latest := f.now().Add(MaxTTL)
	for _, g := range grants {
		// The machine's clock was wrong if a grant is longer than any can be. There is
		// room for all.
		held := false
		if !g.Expires.After(latest) {
			held, _ = f.Restore(g)
		}
		if !held {
			f.changed()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	go f.write(ctx)
	return f, nil
}

// Put grants or renews, and has it written soon.
func (f *File) Put(ctx context.Context, login Login, ttl time.Duration, maxPerUser int) (Change, error) {
	change, err := f.Memory.Put(ctx, login, ttl, maxPerUser)
	if err == nil {
		f.changed()
	}
	return change, err
}

// Delete ends the grant of an address, and returns when that is on disk. With an
// error the grant has ended, but may be back after a restart.
func (f *File) Delete(ctx context.Context, addr netip.Addr) (bool, error) {
	held, err := f.Memory.Delete(ctx, addr)
	if err != nil || !held {
		return held, err
	}
	f.changed()
	return true, f.Flush()
}

// DeleteUser ends all grants of a user, and returns when that is on disk. With an
// error they have ended, but may be back after a restart.
func (f *File) DeleteUser(ctx context.Context, user string) ([]netip.Addr, error) {
	gone, err := f.Memory.DeleteUser(ctx, user)
	if err != nil || len(gone) == 0 {
		return gone, err
	}
	f.changed()
	return gone, f.Flush()
}

// Expire removes grants that have expired, and has that written soon.
func (f *File) Expire(ctx context.Context, max int) ([]Grant, error) {
	gone, err := f.Memory.Expire(ctx, max)
	if len(gone) > 0 {
		f.changed()
	}
	return gone, err
}

func (f *File) changed() {
	f.pending.Add(1)
	f.wakeWriter()
}

func (f *File) wakeWriter() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// write writes what has changed, after a while, until the store is closed.
func (f *File) write(ctx context.Context) {
	defer close(f.closed)
	pause := f.config.Interval
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-f.wake:
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			start := time.Now()
			if err := f.Flush(); err != nil {
				pause = min(2*max(pause, time.Second), maxPause)
				f.wakeWriter()
				continue
			}
			// A large file takes a tenth of the time at most.
			pause = max(f.config.Interval, 9*time.Since(start))
		}
	}
	f.err = f.Flush()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lock.Close()
	f.lock = nil
}

// Flush writes the changes so far, and returns when they are on disk.
func (f *File) Flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lock == nil {
		return fmt.Errorf("write file of relay grants %s: closed", f.config.Path)
	}
	changes := f.pending.Load()
	if changes == 0 {
		return nil
	}
	if err := f.replace(); err != nil {
		f.failures.Add(1)
		if !f.failing.Swap(true) {
			f.config.Logger.Error("relay grants cannot be written to disk: they hold until milterd ends",
				"file", f.config.Path, "error", err)
		}
		return fmt.Errorf("write file of relay grants %s: %w", f.config.Path, err)
	}
	f.pending.Add(-changes)
	f.writes.Add(1)
	if f.failing.Swap(false) {
		f.config.Logger.Info("relay grants are written to disk again", "file", f.config.Path)
	}
	return nil
}

// Close writes the last changes and closes the file. It may be called again.
func (f *File) Close() error {
	f.stop()
	<-f.closed
	return f.err
}

func (f *File) Failures() uint64 { return f.failures.Load() }
