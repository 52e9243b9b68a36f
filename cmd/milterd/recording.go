package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"milterd/configs"
	"milterd/policy/replay/record"
)

// closeRecorder is how long sessions that wait to be written get at the end.
const closeRecorder = 5 * time.Second

// openRecorder opens the recorder; nil if nothing is recorded.
func openRecorder(c configs.Record, logger *slog.Logger) (*record.Recorder, error) {
	if c.Dir == "" {
		return nil, nil
	}
	// The directory above it has to be there. What is wrong with it the recorder says,
	// and mail goes on.
	if err := os.Mkdir(c.Dir, 0o700); err == nil {
		logger.Info("directory of the recordings made", "dir", c.Dir)
	}
	r, err := record.Open(record.Config{
		Dir: c.Dir, MaxSize: c.MaxSize, Keep: c.Keep, Compress: record.Compression(c.Compress), Sample: c.Sample,
		Redact: c.Redact, Key: []byte(c.RedactKey), Headers: c.Headers, AllHeaders: c.AllHeaders,
		Buffer: c.Buffer, Logger: logger,
	})
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return r, nil
}

// closeRecorderNow has what waits written.
func closeRecorderNow(r *record.Recorder, logger *slog.Logger) {
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeRecorder)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		logger.Warn("the last sessions are not recorded", "error", err)
	}
}
