package maillog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// readRotatedFor is how long a file that lost its place is read on after its last line:
	// a server goes on writing to it until it is told of the rotation.
	readRotatedFor = time.Minute
	// maxFiles bounds how many files are read at once, those and the one in place.
	maxFiles = 16
)

// Run reads the log until ctx ends, from its end on: what was logged before Run began
// is history. A file that takes its place, or that appears later, is read from its
// beginning.
//
// Rotation by renaming loses no line and repeats none: the old file is read on until
// nothing has come for a minute, since that is where the server may still be writing,
// and the new one meanwhile. If the file is copied and truncated, what was written in
// between and had not been read yet is read from the copy; what the copying itself
// loses, as logrotate's manual warns, is lost.
//
// An edited log is no news: a file that is replaced by an edited copy of itself, or is
// changed in place, is read on behind the lines that were read last. If they are not there
// any more, it is read from its beginning, but no login in it counts that is older than
// they were.
//
// That is why no library does this: nxadm/tail goes to the new file as soon as the old
// one is renamed, and loses or repeats lines around that.
//
// The exception is a log that is rotated twice before Run has seen the first of the
// new files, which then is not read.
func (f *Follower) Run(ctx context.Context) {
	t := &tailer{follower: f, buf: make([]byte, bufferSize)}
	defer func() {
		for _, l := range t.files {
			l.Close()
		}
		f.count.open.Store(false)
	}()
	var events <-chan fsnotify.Event
	var failures <-chan error
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		f.logger.Warn("no events of the file system; the login log is polled", "file", f.config.Path, "error", err)
	} else {
		defer watcher.Close()
		events, failures = watcher.Events, watcher.Errors
	}
	// The directory and not the file, since a watch on a file goes with it. It may
	// not be there yet, and whatever comes in its place has to be watched anew.
	watch := func() {
		if watcher != nil {
			_ = watcher.Add(filepath.Dir(f.config.Path))
		}
	}
	watch()
	t.begin()
	t.catchUp(ctx)
	f.report(t.lookErr, t.readErr)
	poll := time.NewTicker(f.config.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if !strings.HasPrefix(filepath.Base(e.Name), filepath.Base(f.config.Path)) {
				continue
			}
		case <-failures:
			// Events were lost: the files themselves tell.
		case <-poll.C:
			watch()
		}
		t.catchUp(ctx)
		f.report(t.lookErr, t.readErr)
	}
}

type tailer struct {
	follower *Follower
	buf      []byte
	// files are read in their order: the last one is, or was, the file at the path,
	// those before it lost that place.
	files []*file
	// history is the file that was there at the start, which is read from its end;
	// unknown says that it could not be told whether there was one.
	history os.FileInfo
	unknown bool
	// lookErr and readErr are why it last failed to look at the path, or to read.
	lookErr, readErr error
}

// begin opens the file that is there at the start.
func (t *tailer) begin() {
	info, err := os.Stat(t.follower.config.Path)
	t.history = info
	t.unknown = err != nil && !errors.Is(err, fs.ErrNotExist)
	t.look()
}

// current is the file that is, or was last, at the path.
func (t *tailer) current() *file {
	if len(t.files) == 0 {
		return nil
	}
	return t.files[len(t.files)-1]
}

// look opens the file at the path if it is not the one that is being read.
func (t *tailer) look() {
	current := t.current()
	info, err := os.Stat(t.follower.config.Path)
	t.lookErr = err
	switch {
	case errors.Is(err, fs.ErrNotExist) && current != nil:
		// Renamed, and the new one is not there yet.
		t.lookErr = nil
		return
	case err != nil, current != nil && os.SameFile(info, current.info):
		return
	}
	next, err := openFile(t.follower.config.Path)
	if err == nil && (t.unknown || t.history != nil && os.SameFile(next.info, t.history)) {
		if err = next.skip(t.buf); err != nil {
			next.Close()
		}
	}
	if t.lookErr = err; err != nil {
		return
	}
	t.history, t.unknown = nil, false
	if current != nil {
		t.follower.count.rotated.Add(1)
		current.quiet = time.Now()
		next.after = current.newest(t.follower.config.Now())
		if place := next.find(current.seen, t.buf); place > 0 {
			current.takeOver(next, place)
		}
	}
	t.files = append(t.files, next)
	t.follower.count.open.Store(true)
}

// catchUp reads all files to their ends.
func (t *tailer) catchUp(ctx context.Context) {
	for {
		t.look()
		known := len(t.files)
		t.readFiles(ctx)
		// Reading looks again, so that there may be more of them now.
		if len(t.files) == known || ctx.Err() != nil {
			break
		}
	}
	for i, l := range t.files[:max(0, len(t.files)-1)] {
		l.done = l.done || time.Since(l.quiet) > readRotatedFor || len(t.files)-i > maxFiles
	}
	t.files = slices.DeleteFunc(t.files, func(l *file) bool {
		if l.done {
			l.Close()
		}
		return l.done
	})
}

// readFiles reads the files, the oldest first, so that lines come in the order in which
// they were written. For that, each is read up to the end that it had before the ends
// of the older ones were looked at: a server that writes to the new file does not write
// to the old one any more.
func (t *tailer) readFiles(ctx context.Context) {
	ends := make([]int64, len(t.files))
	for i := len(ends) - 1; i >= 0; i-- {
		ends[i] = t.files[i].end()
	}
	for i, end := range ends {
		l := t.files[i]
		more, err := t.readAll(ctx, l, end)
		if errors.Is(err, errTruncated) && l == t.current() {
			t.truncated(ctx, l)
			more, err = t.readAll(ctx, l, l.end())
		}
		if more {
			l.quiet = time.Now()
		}
		if l != t.current() {
			// An old file that is truncated is about to be removed.
			l.done = l.done || err != nil
			continue
		}
		// Truncated once more, it is read at the next occasion.
		if t.readErr = err; errors.Is(err, errTruncated) {
			t.readErr = nil
		}
	}
}

// truncated reads what a file had that is now empty, or new, from its copy, and goes on
// with what the file has now.
func (t *tailer) truncated(ctx context.Context, l *file) {
	f := t.follower
	if c := l.findCopy(t.follower.config.Path); c != nil {
		before := c.offset
		// A copy that cannot be read to its end is one that is gone.
		_, _ = t.readAll(ctx, c, c.end())
		f.count.recovered.Add(uint64(c.offset - before))
		l.after = c.newest(f.config.Now())
		c.Close()
	}
	l.changed(t.buf, f.config.Now())
	f.count.truncated.Add(1)
}

// readAll reads a file up to an end and says whether there was anything. What is written
// meanwhile has to wait, and the path is looked at all the time: a server that never
// pauses must not keep the follower from a rotation.
func (t *tailer) readAll(ctx context.Context, l *file, end int64) (more bool, err error) {
	f := t.follower
	for ctx.Err() == nil {
		long := l.lines.long
		n, err := l.read(t.buf, end, func(line []byte) { f.line(ctx, line, l.after) })
		f.count.long.Add(l.lines.long - long)
		if err != nil {
			return more, err
		}
		more = more || n > 0
		if n == 0 || l.offset >= end {
			break
		}
		t.look()
	}
	return more, nil
}
