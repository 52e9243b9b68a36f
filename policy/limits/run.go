package limits

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How often Run looks for limits that refuse no more, removes counts that are empty, and
// writes a snapshot, if there is anything new.
const (
	watchInterval    = time.Second
	sweepInterval    = time.Minute
	snapshotInterval = 5 * time.Second
)

// Run does what has to be done from time to time, and runs programs that notify, until
// ctx ends. It is the caller's to start and to wait for.
func (k *Keeper) Run(ctx context.Context) {
	var notifying sync.WaitGroup
	defer notifying.Wait()
	notifying.Go(func() { k.notify.run(ctx) })
	watching := time.NewTicker(watchInterval)
	defer watching.Stop()
	swept := time.Now()
	save := swept
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-watching.C:
			k.calm()
			if now.Sub(swept) >= sweepInterval {
				k.memory.sweep(func([]count) {})
				swept = now
			}
			if now.After(save) {
				// What cannot be written has been logged, and is tried again. A large
				// file takes a tenth of the time at most.
				_ = k.flush()
				save = time.Now().Add(max(snapshotInterval, 9*time.Since(now)))
			}
		}
	}
}

// Close writes the last snapshot. Run must have returned.
func (k *Keeper) Close() error { return k.flush() }

// flush writes a snapshot, if there is a file and anything has changed.
func (k *Keeper) flush() error {
	if k.config.File == "" {
		return nil
	}
	k.saving.Lock()
	defer k.saving.Unlock()
	changes := k.memory.changed()
	if changes == k.saved {
		return nil
	}
	if err := k.memory.save(k.config.File); err != nil {
		if !k.failing {
			k.logger.Error("the counts of the limits cannot be written to disk: they are lost if milterd ends", "file", k.config.File, "error", err)
		}
		k.failing = true
		return fmt.Errorf("write file of the limits %s: %w", k.config.File, err)
	}
	if k.failing {
		k.logger.Info("the counts of the limits are written to disk again", "file", k.config.File)
	}
	k.saved, k.failing = changes, false
	return nil
}
