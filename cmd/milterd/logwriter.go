package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// logLines is how many lines wait for a slow reader of the log.
const logLines = 8192

// logFlush is how long the last lines may take when milterd ends.
const logFlush = 2 * time.Second

// logWriter hands log lines on from a goroutine of its own. A reader that stops
// reading, a full pipe or disk, must not stop mail: when the buffer is full,
// lines are dropped and counted, and the count is told when there is room.
type logWriter struct {
	to      io.Writer
	lines   chan []byte
	dropped atomic.Uint64
	once    sync.Once
	done    chan struct{}
}

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{to: to, lines: make(chan []byte, logLines), done: make(chan struct{})}
	go w.run()
	return w
}

// Write takes one line. It never waits and never fails.
func (w *logWriter) Write(line []byte) (int, error) {
	kept := append([]byte(nil), line...)
	select {
	case w.lines <- kept:
	default:
		w.dropped.Add(1)
	}
	return len(line), nil
}

func (w *logWriter) run() {
	defer close(w.done)
	for line := range w.lines {
		if line == nil {
			return
		}
		if n := w.dropped.Swap(0); n > 0 {
			// What cannot be written is lost: there is nowhere to say so.
			_, _ = fmt.Fprintf(w.to, "milterd: %d log lines dropped: the reader of the log is too slow\n", n)
		}
		_, _ = w.to.Write(line)
	}
}

// close writes out what is there, unless nobody reads it.
func (w *logWriter) close() {
	w.once.Do(func() {
		timeout := time.After(logFlush)
		select {
		case w.lines <- nil:
		case <-timeout:
			return
		}
		select {
		case <-w.done:
		case <-timeout:
		}
	})
}
