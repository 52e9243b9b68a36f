package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"milterd/policy/grant"
)

const (
	// transaction is how many records are written at a time, which bounds what
	// bbolt keeps in memory for it.
	transaction = 10_000
	// firstPause and maxPause are the shortest and the longest pause before a
	// failed write is tried again.
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// write is the one goroutine that writes. It ends with the store.
func (s *Store) write() {
	defer close(s.closed)
	var due <-chan time.Time
	pause := firstPause
	// again plans the next try after one that failed.
	again := func(err error) {
		due = nil
		if err == nil {
			pause = firstPause
			return
		}
		due = time.After(pause)
		pause = min(2*pause, maxPause)
	}
	for {
		select {
		case <-s.stopped:
			s.err = s.finish()
			return
		case done := <-s.flushes:
			err := s.flush()
			again(err)
			done <- err
		case <-s.wake:
			if due == nil {
				due = time.After(s.config.Interval)
			}
		case <-due:
			again(s.flush())
		}
	}
}

// finish writes for the last time and closes the file.
func (s *Store) finish() error {
	err := s.flush()
	if s.damaged {
		// bbolt may wait for ever for a lock that it held when it gave up. The
		// file is closed with the process.
		return err
	}
	if closeErr := s.db.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close file of relay grants %s: %w", s.config.Path, closeErr))
	}
	return err
}

// flush writes what is dirty, and notes how that went.
func (s *Store) flush() error {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = make(map[[16]byte]struct{})
	s.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	keys := make([][16]byte, 0, len(dirty))
	for key := range dirty {
		keys = append(keys, key)
	}
	// Neighbours in the file are written in one go.
	slices.SortFunc(keys, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	for len(keys) > 0 {
		some := keys[:min(transaction, len(keys))]
		err := error(errDamaged)
		if !s.damaged {
			err = protect(func() error { return s.update(some) })
		}
		if err != nil {
			s.damaged = s.damaged || errors.Is(err, errDamaged)
			s.failed(keys, err)
			return fmt.Errorf("write file of relay grants %s: %w", s.config.Path, err)
		}
		s.writes.Add(1)
		keys = keys[len(some):]
	}
	if s.problem.Swap(nil) != nil {
		s.config.Logger.Info("relay grants are written to disk again", "file", s.config.Path)
	}
	return nil
}

// failed has the keys written later.
func (s *Store) failed(keys [][16]byte, err error) {
	s.mu.Lock()
	for _, key := range keys {
		s.dirty[key] = struct{}{}
	}
	s.mu.Unlock()
	s.failures.Add(1)
	text := err.Error()
	if s.problem.Swap(&text) == nil {
		s.config.Logger.Error("relay grants cannot be written to disk: they hold until milterd ends",
			"file", s.config.Path, "error", err)
	}
}

// update makes the file say of some keys what the memory says.
func (s *Store) update(keys [][16]byte) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		for i := range keys {
			key := keys[i]
			g, held, err := s.Get(context.Background(), grant.Canonical(netip.AddrFrom16(key)))
			if err == nil && held {
				err = b.Put(key[:], encode(key, g))
			} else if err == nil {
				err = b.Delete(key[:])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
