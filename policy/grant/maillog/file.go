package maillog

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"milterd/policy/snapshot"
)

const (
	// window is how much of what was read before is read again, to see that it is
	// still the same.
	window = 512
	// bufferSize is how much is read at once, the window included.
	bufferSize = 64 << 10
	// maxSiblings bounds how many files beside the log may be its copy.
	maxSiblings = 1000
)

// errTruncated is the end of a file that has less or other contents than were read.
var errTruncated = errors.New("file was truncated")

// file is a log file while it is read.
type file struct {
	*os.File
	info os.FileInfo
	// offset is how much was read, seen the last of it.
	offset int64
	seen   []byte
	// after is the time of the newest line that was read before this file took the place
	// of another, or was changed: a line from before is none that is new.
	after time.Time
	lines splitter
	// quiet is when it had something to read last, or lost its place. It is read no
	// more when it is done.
	quiet time.Time
	done  bool
}

// openFile opens a log file for reading from its beginning. It never waits, not even
// for the writer of a named pipe.
func openFile(path string) (*file, error) {
	f, err := snapshot.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{File: f, info: info}, nil
}

// skip goes to the end of the file, and, if that is within a line, past its end.
func (l *file) skip(buf []byte) error {
	end, err := l.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	start := max(0, end-window)
	n, err := l.ReadAt(buf[:end-start], start)
	if err != nil && err != io.EOF {
		return err
	}
	l.offset = start + int64(n)
	l.remember(buf[:n])
	l.lines.skipping = n > 0 && buf[n-1] != '\n'
	return nil
}

// end is where the file ends now. If it cannot be told, nothing is new, and reading
// tells why.
func (l *file) end() int64 {
	info, err := l.Stat()
	if err != nil {
		return l.offset
	}
	return info.Size()
}

// read takes what is new before end, as much as the buffer holds, and returns how much
// that was. In the same system call it reads the end of what it took before: a file that
// was emptied and has grown past that point again looks like one that has just grown.
func (l *file) read(buf []byte, end int64, emit func([]byte)) (int, error) {
	back := len(l.seen)
	want := min(int64(len(buf)), int64(back)+max(0, end-l.offset))
	n, err := l.ReadAt(buf[:want], l.offset-int64(back))
	if err != nil && err != io.EOF {
		return 0, err
	}
	if n < back || !bytes.Equal(buf[:back], l.seen) {
		return 0, errTruncated
	}
	fresh := buf[back:n]
	if len(fresh) == 0 {
		return 0, nil
	}
	l.lines.add(fresh, emit)
	l.offset += int64(len(fresh))
	l.remember(buf[:n])
	return len(fresh), nil
}

func (l *file) remember(read []byte) {
	l.seen = append(l.seen[:0], read[max(0, len(read)-window):]...)
}

// changed goes on behind what was read before, or at the beginning if that is not there
// any more.
func (l *file) changed(buf []byte, now time.Time) {
	l.after = l.newest(now)
	if l.offset = l.find(l.seen, buf); l.offset == 0 {
		l.seen, l.lines = l.seen[:0], splitter{}
	}
}

// continues says whether other is a copy of the file, with everything in it that was
// read from the file, at the same place.
func (l *file) continues(other *file) bool {
	if len(l.seen) == 0 {
		return false
	}
	var buf [window]byte
	part := buf[:len(l.seen)]
	n, _ := other.ReadAt(part, l.offset-int64(len(l.seen)))
	return n == len(part) && bytes.Equal(part, l.seen)
}

// find looks for the last place in a file where what was read of another ends, and returns
// 0 if there is none. The file may be an edited copy of the other.
func (l *file) find(seen, buf []byte) int64 {
	place, kept := int64(0), 0
	for offset := int64(0); len(seen) > 0; {
		n, err := l.ReadAt(buf[kept:], offset)
		if at := bytes.LastIndex(buf[:kept+n], seen); at >= 0 {
			place = offset - int64(kept) + int64(at+len(seen))
		}
		if err != nil {
			break
		}
		offset += int64(n)
		// What is there in part may go on.
		kept = copy(buf, buf[max(0, kept+n-len(seen)+1):kept+n])
	}
	return place
}

// newest is the time of the newest line at the end of what was read, to the second. It is
// not in the future.
func (l *file) newest(now time.Time) time.Time {
	newest := l.after
	for line := range bytes.Lines(l.seen) {
		if at, ok := timeOf(string(line), now); ok && at.After(newest) && !at.After(now) {
			newest = at
		}
	}
	return newest.Truncate(time.Second)
}

// takeOver makes other, a copy, go on at an offset.
func (l *file) takeOver(other *file, offset int64) {
	other.offset = offset
	other.seen = bytes.Clone(l.seen)
	other.lines = splitter{partial: bytes.Clone(l.lines.partial), skipping: l.lines.skipping}
}

// findCopy looks for the copy that was made of a file before it was truncated:
// copytruncate makes it beside the file, with a name that begins like it. What was
// written to the file before the truncation, but not yet read, is there. It returns nil
// if there is none.
func (l *file) findCopy(path string) *file {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil
	}
	tried := 0
	for _, e := range entries {
		if e.Name() == base || !strings.HasPrefix(e.Name(), base) || !e.Type().IsRegular() {
			continue
		}
		if tried++; tried > maxSiblings {
			return nil
		}
		if other := l.tryCopy(filepath.Join(dir, e.Name()), e); other != nil {
			return other
		}
	}
	return nil
}

func (l *file) tryCopy(path string, entry fs.DirEntry) *file {
	info, err := entry.Info()
	if err != nil || info.Size() < l.offset || os.SameFile(info, l.info) {
		return nil
	}
	other, err := openFile(path)
	if err != nil {
		return nil
	}
	if !l.continues(other) {
		other.Close()
		return nil
	}
	l.takeOver(other, l.offset)
	return other
}

// splitter makes lines of what is read piece by piece.
type splitter struct {
	// partial is the beginning of a line whose end is not there yet.
	partial []byte
	// skipping: the line is too long, or its beginning was not read.
	skipping bool
	// long counts the lines that were too long.
	long uint64
}

// add emits the lines that end in the piece. What it emits is valid only meanwhile.
func (s *splitter) add(piece []byte, emit func([]byte)) {
	for {
		if len(s.partial) == 0 {
			// A writer that does not append leaves a hole when its file is truncated.
			piece = bytes.TrimLeft(piece, "\x00")
		}
		head, tail, whole := bytes.Cut(piece, []byte{'\n'})
		if !s.skipping && len(s.partial)+len(head) > maxLine {
			s.skipping = true
			s.long++
			s.partial = s.partial[:0]
		}
		switch {
		case whole && s.skipping:
			s.skipping = false
		case whole && len(s.partial) == 0:
			emit(head)
		case whole:
			emit(append(s.partial, head...))
			s.partial = s.partial[:0]
		case !s.skipping:
			s.partial = append(s.partial, head...)
		}
		if !whole {
			return
		}
		piece = tail
	}
}
