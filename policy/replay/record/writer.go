package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"
)

const (
	// flushSize is how much is written at once under load. When nothing waits, each
	// session is written as it comes.
	flushSize = 64 << 10
	// maxLine is the longest line that package replay reads.
	maxLine = 4 << 20
	// checkEvery is how often the writer looks whether its file is still there.
	checkEvery = time.Second
	// After a failure writing is tried again later and later.
	firstPause = time.Second
	lastPause  = time.Minute
)

// writer writes sessions into files. It runs in one goroutine.
type writer struct {
	recorder *Recorder
	keeper   *keeper
	redact   *redactor
	line     bytes.Buffer
	encoder  *json.Encoder
	// pending are whole lines that are not written yet.
	pending []byte

	file *os.File
	path string
	// size is how much of the file is whole lines.
	size    int64
	checked time.Time

	// pause is 0 while writing works; until is when it is tried again.
	pause     time.Duration
	until     time.Time
	lostSince uint64
}

func newWriter(r *Recorder) *writer {
	w := &writer{recorder: r, keeper: newKeeper(r)}
	if r.config.Redact {
		w.redact = newRedactor(r.config.Key)
	}
	w.encoder = json.NewEncoder(&w.line)
	w.encoder.SetEscapeHTML(false)
	return w
}

// run writes what is queued until the queue is closed. Once the Recorder's context is
// over, the rest is lost.
func (w *writer) run() {
	w.keeper.wake()
	defer w.end()
	for p := range w.recorder.queue {
		if w.recorder.ctx.Err() != nil || w.pausing() {
			w.lose(1)
		} else {
			w.part(p)
		}
		if len(w.recorder.queue) == 0 {
			w.flush()
		}
		w.recorder.queued.Add(-int64(p.size))
	}
}

func (w *writer) end() {
	if err := w.finish(); err != nil {
		w.failed(err)
	}
	if w.lostSince > 0 {
		w.recorder.config.Logger.Error("sessions were lost", slog.String("dir", w.recorder.config.Dir), slog.Uint64("lost", w.lostSince))
	}
}

func (w *writer) part(p *part) {
	// A mistake in here must not end the process, as it would take the mail with it.
	defer func() {
		if value := recover(); value != nil {
			w.lose(1)
			w.recorder.config.Logger.Error("a session cannot be recorded", slog.Any("panic", value), slog.String("stack", string(debug.Stack())))
		}
	}()
	if p.overLimit() {
		w.recorder.cut.Add(uint64(len(p.messages)))
		return
	}
	sessions, leftOut := p.sessions(w.redact)
	cut := 0
	for _, s := range sessions {
		if p.overLimit() {
			// Encoding it would be for nothing.
			cut += len(s.Messages)
			continue
		}
		w.line.Reset()
		err := w.encoder.Encode(s)
		switch mayWrite := p.mayWrite(w.line.Len()); {
		case err != nil || w.line.Len() > maxLine:
			leftOut += len(s.Messages)
		case !mayWrite:
			cut += len(s.Messages)
		default:
			w.add(w.line.Bytes())
		}
	}
	w.recorder.leftOut.Add(uint64(leftOut))
	w.recorder.cut.Add(uint64(cut))
	if w.line.Cap() > maxLine/4 {
		// One large session shall not keep its memory.
		w.line = bytes.Buffer{}
	}
}

func (w *writer) pausing() bool {
	return w.pause > 0 && w.recorder.config.Now().Before(w.until)
}

func (w *writer) add(line []byte) {
	limit := w.recorder.config.MaxSize
	if before := w.size + int64(len(w.pending)); before > 0 && before+int64(len(line)) > limit {
		w.flush()
		if err := w.finish(); err != nil {
			w.failed(err)
		}
		w.keeper.wake()
	}
	w.pending = append(w.pending, line...)
	if len(w.pending) >= flushSize {
		w.flush()
	}
}

func (w *writer) flush() {
	if len(w.pending) == 0 {
		return
	}
	if w.pausing() {
		w.lose(lines(w.pending))
	} else if err := w.write(); err != nil {
		w.failed(err)
	} else {
		w.works()
	}
	if w.pending = w.pending[:0]; cap(w.pending) > maxLine/4 {
		w.pending = nil
	}
}

func lines(b []byte) uint64 { return uint64(bytes.Count(b, []byte{'\n'})) }

// write appends the pending lines to the file. If not all fit, the file ends with
// the last whole one, and the others are lost.
func (w *writer) write() error {
	if err := w.open(); err != nil {
		w.lose(lines(w.pending))
		return err
	}
	n, err := w.file.Write(w.pending)
	whole := n
	if err != nil {
		whole = bytes.LastIndexByte(w.pending[:n], '\n') + 1
	}
	w.size += int64(whole)
	w.recorder.bytes.Add(uint64(whole))
	w.recorder.recorded.Add(lines(w.pending[:whole]))
	if err == nil {
		return nil
	}
	w.lose(lines(w.pending[whole:]))
	if n > whole {
		err = errors.Join(err, w.file.Truncate(w.size))
	}
	return errors.Join(err, w.finish())
}

// open makes sure that there is a file to write to. One that was moved away
// is not written to any longer.
func (w *writer) open() error {
	now := w.recorder.config.Now()
	if w.file != nil {
		if since := now.Sub(w.checked); since >= 0 && since < checkEvery {
			return nil
		}
		w.checked = now
		if w.inPlace() {
			return nil
		}
		if err := w.finish(); err != nil {
			return err
		}
	}
	if err := CheckDir(w.recorder.config.Dir); err != nil {
		return err
	}
	file, err := create(w.recorder.config.Dir, now)
	if err != nil {
		return err
	}
	w.file, w.path, w.size, w.checked = file, file.Name(), 0, now
	w.recorder.files.Add(1)
	return nil
}

// inPlace reports whether the file can be found under its name.
func (w *writer) inPlace() bool {
	named, err := os.Lstat(w.path)
	if err != nil {
		return false
	}
	opened, err := w.file.Stat()
	return err == nil && os.SameFile(named, opened)
}

func (w *writer) finish() error {
	if w.file == nil {
		return nil
	}
	var err error
	if w.size == 0 && w.inPlace() {
		err = os.Remove(w.path)
	}
	err = errors.Join(err, w.file.Close())
	w.file, w.path, w.size = nil, "", 0
	return err
}

func (w *writer) failed(err error) {
	if w.pause == 0 {
		w.pause = firstPause
		w.recorder.failing.Store(true)
		w.recorder.config.Logger.Error("sessions are not recorded, and writing is tried again; mail goes on",
			slog.String("dir", w.recorder.config.Dir), slog.Any("error", err))
	} else {
		w.pause = min(2*w.pause, lastPause)
	}
	w.until = w.recorder.config.Now().Add(w.pause)
}

func (w *writer) works() {
	if w.pause == 0 {
		return
	}
	w.recorder.config.Logger.Info("sessions are recorded again",
		slog.String("dir", w.recorder.config.Dir), slog.Uint64("lost", w.lostSince))
	w.pause, w.lostSince = 0, 0
	w.recorder.failing.Store(false)
	w.keeper.wake()
}

func (w *writer) lose(n uint64) {
	w.recorder.lost.Add(n)
	w.lostSince += n
}

// CheckDir says what keeps a directory from holding recordings, as far as that shows
// without writing.
func CheckDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("directory of the recordings: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("directory of the recordings: %s is not a directory", dir)
	}
	// Others could put links and files of their own there.
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("directory of the recordings: %s is writable for everyone, expected one of milterd's own (chmod 0700)", dir)
	}
	return nil
}

// attempts bounds the names that are tried for a new file.
const attempts = 100

// create makes a file for sessions and locks it, so that no other milterd takes it
// for one that was left behind. It follows no link and takes no file that exists.
func create(dir string, now time.Time) (*os.File, error) {
	stem := filepath.Join(dir, "milterd-"+now.UTC().Format(idTime))
	for i := range attempts {
		path := stem + ".jsonl"
		if i > 0 {
			path = fmt.Sprintf("%s-%02d.jsonl", stem, i)
		}
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("begin a recording: %w", err)
		}
		// If the file system knows no locks the file is written all the same.
		_ = lock(file)
		return file, nil
	}
	return nil, fmt.Errorf("begin a recording: %s.jsonl and %d more exist", stem, attempts-1)
}

func lock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
