// Package logs writes milterd's log to standard error or syslog. However slow its reader is, mail
// does not wait.
package logs

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// maxWaiting is how many octets of lines wait for a slow reader of the log.
const maxWaiting = 4 << 20

// maxKept is how much memory the writer keeps for further lines.
const maxKept = 256 << 10

// gather is how long lines are gathered, so that a busy log costs few system calls and
// no line has to wake a thread.
const gather = 20 * time.Millisecond

// lastFlush is how long the last lines may take when milterd ends.
const lastFlush = 2 * time.Second

// Writer writes a log from a goroutine of its own, many lines at a time. A reader
// that stops reading, a full pipe or disk, must not stop mail: when too much waits, lines
// are dropped and counted, and the count is told when there is room.
type Writer struct {
	wake chan struct{} // for the first line after a rest
	end  chan struct{}
	once sync.Once
	done chan struct{}

	mu      sync.Mutex
	to      io.Writer
	waiting []byte
	dropped int
}

// NewWriter begins to write.
func NewWriter(to io.Writer) *Writer {
	w := &Writer{to: to, wake: make(chan struct{}, 1), end: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// redirect has what waits, and all that comes, written to another place.
func (w *Writer) redirect(to io.Writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
}

// Write takes one line. It never waits and never fails.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	first := len(w.waiting) == 0
	if len(w.waiting)+len(line) > maxWaiting {
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

func (w *Writer) run() {
	defer close(w.done)
	var spare []byte
	for ended := false; !ended; {
		select {
		case <-w.wake:
		case <-w.end:
		}
		select {
		case <-time.After(gather):
		case <-w.end:
			ended = true
		}
		spare = w.writeOut(spare[:0])
	}
}

// writeOut writes the lines that wait, while others gather in spare. It returns the
// memory of those lines, for the next time.
func (w *Writer) writeOut(spare []byte) []byte {
	w.mu.Lock()
	to, lines, dropped := w.to, w.waiting, w.dropped
	w.waiting, w.dropped = spare, 0
	w.mu.Unlock()
	// What cannot be written is lost: there is nowhere to say so.
	if len(lines) > 0 {
		_, _ = to.Write(lines)
	}
	if dropped > 0 {
		_, _ = fmt.Fprintf(to, "milterd: %d log lines dropped: the reader of the log is too slow\n", dropped)
	}
	if cap(lines) > maxKept {
		return nil
	}
	return lines
}

// Close writes out what is there, unless the reader of the log has stopped.
func (w *Writer) Close() {
	w.once.Do(func() {
		close(w.end)
		select {
		case <-w.done:
		case <-time.After(lastFlush):
		}
	})
}
