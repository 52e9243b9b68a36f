package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// maxLog is how many octets of lines wait for a slow reader of the log.
const maxLog = 4 << 20

// keptLog is how much memory the writer keeps for further lines.
const keptLog = 256 << 10

// logPause is how long lines are gathered, so that a busy log costs few system calls and
// no line has to wake a thread.
const logPause = 20 * time.Millisecond

// logFlush is how long the last lines may take when milterd ends.
const logFlush = 2 * time.Second

// logWriter writes the log from a goroutine of its own, many lines at a time. A reader
// that stops reading, a full pipe or disk, must not stop mail: when too much waits, lines
// are dropped and counted, and the count is told when there is room.
type logWriter struct {
	to   io.Writer
	wake chan struct{} // for the first line after a rest
	end  chan struct{}
	once sync.Once
	done chan struct{}

	mu      sync.Mutex
	waiting []byte
	dropped int
}

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{to: to, wake: make(chan struct{}, 1), end: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// Write takes one line. It never waits and never fails.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	first := len(w.waiting) == 0
	if len(w.waiting)+len(line) > maxLog {
		w.dropped++
	} else {
		w.waiting = append(w.waiting, line...)
	}
	w.mu.Unlock()
	if first {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

func (w *logWriter) run() {
	defer close(w.done)
	var spare []byte
	for ended := false; !ended; {
		select {
		case <-w.wake:
		case <-w.end:
		}
		select {
		case <-time.After(logPause):
		case <-w.end:
			ended = true
		}
		spare = w.writeOut(spare[:0])
	}
}

// writeOut writes the lines that wait, while others gather in spare. It returns the
// memory of those lines, for the next time.
func (w *logWriter) writeOut(spare []byte) []byte {
	w.mu.Lock()
	lines, dropped := w.waiting, w.dropped
	w.waiting, w.dropped = spare, 0
	w.mu.Unlock()
	// What cannot be written is lost: there is nowhere to say so.
	if len(lines) > 0 {
		_, _ = w.to.Write(lines)
	}
	if dropped > 0 {
		_, _ = fmt.Fprintf(w.to, "milterd: %d log lines dropped: the reader of the log is too slow\n", dropped)
	}
	if cap(lines) > keptLog {
		return nil
	}
	return lines
}

// close writes out what is there, unless the reader of the log has stopped.
func (w *logWriter) close() {
	w.once.Do(func() {
		close(w.end)
		select {
		case <-w.done:
		case <-time.After(logFlush):
		}
	})
}
