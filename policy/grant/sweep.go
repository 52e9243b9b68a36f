package grant

import (
	"context"
	"log/slog"
	"time"
)

// sweepInterval is how often Run looks for grants that have expired. They do not
// hold in between: this is for memory and for the log.
const sweepInterval = time.Second

// swept is how many grants are removed at a time, so that nobody waits long for
// the store meanwhile.
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
			// That there is no error means little: it may be that nobody was asked.
			_ = k.stored(ctx, err)
			return
		}
		if len(gone) < swept {
			return
		}
	}
}
