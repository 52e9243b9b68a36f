package maillog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// linger is how long a file that lost its place is read on after its last line:
	// a server goes on writing to it until it is told of the rotation.
	linger = time.Minute
	// maxLeft bounds how many such files there are.
	maxLeft = 4
)

// Run reads the log until ctx ends, from its end on: what was logged before Run began
// is history. A file that takes its place, or that appears later, is read from its
// beginning.
//
// Rotation by renaming loses no line and repeats none: the old file is read on until
// nothing has come for a minute, since that is where the server may still be writing,
// and the new one meanwhile. Where the file is copied and truncated, what was written in
// between and had not been read yet is read from the copy; what the copying itself
// loses, as logrotate's manual warns, is lost. A file that is replaced by an edited copy
// of itself is read on where the old one was.
//
// The exception is a log that is rotated twice before Run has seen the first of the
// new files, which then is not read.
func (f *Follower) Run(ctx context.Context) {
	t := &tailer{follower: f, path: f.path, buf: make([]byte, bufferSize)}
	defer t.close()
	var events <-chan fsnotify.Event
	var failures <-chan error
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		f.logger.Warn("no events of the file system; the login log is polled", "file", f.path, "error", err)
	} else {
		defer watcher.Close()
		events, failures = watcher.Events, watcher.Errors
	}
	// The directory and not the file, since a watch on a file goes with it. It may
	// not be there yet, and whatever comes in its place has to be watched anew.
	watch := func() {
		if watcher != nil {
			_ = watcher.Add(filepath.Dir(f.path))
		}
	}
	watch()
	t.begin()
	t.catchUp(ctx)
	f.report(t.lookErr, t.readErr)
	poll := time.NewTicker(f.poll)
	defer poll.Stop()
	for {
		moved := true
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if !strings.HasPrefix(filepath.Base(e.Name), filepath.Base(f.path)) {
				continue
			}
			moved = !e.Has(fsnotify.Write)
		case <-failures:
			// Events were lost: look at the files themselves.
		case <-poll.C:
			watch()
		}
		// What is in the old file came before what is in the new one.
		t.catchUp(ctx)
		if moved {
			t.look()
			t.catchUp(ctx)
		}
		f.report(t.lookErr, t.readErr)
	}
}

// tailer is the state of Run.
type tailer struct {
	follower *Follower
	path     string
	buf      []byte
	// current is the file at the path, nil while there is none.
	current *file
	// left are the files that were there before, oldest first.
	left []*file
	// history is the file that was there at the start, which is read from its end;
	// unknown says that it could not be told whether there was one.
	history os.FileInfo
	unknown bool
	// lookErr and readErr are why it last failed to look at the path, or to read.
	lookErr, readErr error
}

// begin opens the file that is there at the start.
func (t *tailer) begin() {
	info, err := os.Stat(t.path)
	t.history = info
	t.unknown = err != nil && !errors.Is(err, fs.ErrNotExist)
	t.look()
}

// look opens the file at the path if it is not the one that is being read.
func (t *tailer) look() {
	info, err := os.Stat(t.path)
	t.lookErr = err
	switch {
	case errors.Is(err, fs.ErrNotExist) && t.current != nil:
		// Renamed, and the new one is not there yet.
		t.lookErr = nil
		return
	case err != nil, t.current != nil && os.SameFile(info, t.current.info):
		return
	}
	next, err := openFile(t.path)
	if err == nil && (t.unknown || t.history != nil && os.SameFile(next.info, t.history)) {
		if err = next.skip(t.buf); err != nil {
			next.Close()
		}
	}
	if t.lookErr = err; err != nil {
		return
	}
	t.history, t.unknown = nil, false
	if old := t.current; old != nil {
		t.follower.count.rotated.Add(1)
		t.leave(old, next)
	}
	t.current = next
	t.follower.count.open.Store(true)
}

// leave keeps a file that lost its place to next.
func (t *tailer) leave(old, next *file) {
	if old.continues(next) {
		old.takeOver(next)
	}
	old.quiet = time.Now()
	if t.left = append(t.left, old); len(t.left) > maxLeft {
		t.left[0].Close()
		t.left = t.left[1:]
	}
}

// catchUp reads all files to their ends.
func (t *tailer) catchUp(ctx context.Context) {
	kept := t.left[:0]
	for _, old := range t.left {
		more, err := t.readAll(ctx, old)
		if more {
			old.quiet = time.Now()
		}
		// Truncated, it is about to be removed.
		if err != nil || time.Since(old.quiet) > linger {
			old.Close()
			continue
		}
		kept = append(kept, old)
	}
	clear(t.left[len(kept):])
	t.left = kept
	if t.current == nil {
		return
	}
	_, err := t.readAll(ctx, t.current)
	if errors.Is(err, errTruncated) {
		t.truncated(ctx)
		_, err = t.readAll(ctx, t.current)
	}
	// Truncated once more, it is read at the next occasion.
	if t.readErr = err; errors.Is(err, errTruncated) {
		t.readErr = nil
	}
}

// truncated reads what a file had that is now empty, or new, from its copy, and goes
// back to its beginning.
func (t *tailer) truncated(ctx context.Context) {
	f := t.follower
	if c := t.current.findCopy(t.path); c != nil {
		before := c.offset
		// A copy that cannot be read to its end is one that is gone.
		_, _ = t.readAll(ctx, c)
		f.count.recovered.Add(uint64(c.offset - before))
		c.Close()
	}
	t.current.rewind()
	f.count.truncated.Add(1)
}

// readAll reads a file to the end that it has now, and says whether there was anything.
// What is written meanwhile has to wait: a server that never pauses must not keep the
// follower from looking at the other files.
func (t *tailer) readAll(ctx context.Context, l *file) (more bool, err error) {
	info, err := l.Stat()
	if err != nil {
		return false, err
	}
	f := t.follower
	for ctx.Err() == nil {
		long := l.lines.long
		n, err := l.read(t.buf, func(line []byte) { f.line(ctx, line) })
		f.count.long.Add(l.lines.long - long)
		if err != nil {
			return more, err
		}
		more = more || n > 0
		if n == 0 || l.offset >= info.Size() {
			break
		}
	}
	return more, nil
}

func (t *tailer) close() {
	for _, old := range t.left {
		old.Close()
	}
	if t.current != nil {
		t.current.Close()
	}
	t.follower.count.open.Store(false)
}
