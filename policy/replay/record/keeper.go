package record

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
)

// ourFile is how files of ours are called; no other one is touched, and none of
// another user. A name sorts by its time.
var ourFile = regexp.MustCompile(`^(milterd-[0-9]{8}T[0-9]{6}\.[0-9]{6}Z(?:-[0-9]{2})?\.jsonl)(\.gz|\.zst)?(\.tmp)?$`)

// strayAge is how old an empty file is that nobody will write to any more: a new one
// is empty, and not locked yet, for a moment.
const strayAge = time.Hour

// keeper compresses finished files and removes the oldest, in a goroutine of its own.
type keeper struct {
	recorder *Recorder
	// uid owns our files: in a directory with the sticky bit others can have files of
	// the same names.
	uid uint32
	// work holds a token when there may be something to do.
	work chan struct{}
	// finished is closed when no more files come.
	finished chan struct{}
	// complained: the log has been told that something fails.
	complained bool
}

func newKeeper(r *Recorder) *keeper {
	return &keeper{recorder: r, uid: uint32(os.Geteuid()), work: make(chan struct{}, 1), finished: make(chan struct{})}
}

// wake has the keeper look through the directory soon.
func (k *keeper) wake() {
	select {
	case k.work <- struct{}{}:
	default:
	}
}

func (k *keeper) run() {
	for {
		select {
		case <-k.work:
			k.tidy()
		case <-k.finished:
			k.tidy()
			return
		}
	}
}

// tidy goes through the directory once.
func (k *keeper) tidy() {
	err := k.compressAll()
	err = errors.Join(err, k.removeOldest())
	if err == nil {
		k.complained = false
		return
	}
	if !k.complained && k.recorder.ctx.Err() == nil && !k.recorder.failing.Load() {
		k.complained = true
		k.recorder.config.Logger.Warn("finished recordings are left as they are",
			slog.String("dir", k.recorder.config.Dir), slog.Any("error", err))
	}
}

// ours lists the files of ours in the directory, the oldest first.
func (k *keeper) ours() ([]string, error) {
	if CheckDir(k.recorder.config.Dir) != nil {
		// The writer says what is wrong, once there is something to write.
		return nil, nil
	}
	entries, err := os.ReadDir(k.recorder.config.Dir)
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !ourFile.MatchString(e.Name()) {
			continue
		}
		// One that is gone by now is nobody's.
		if info, err := e.Info(); err == nil && k.owns(info) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// owns reports whether a file is one of our user's.
func (k *keeper) owns(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == k.uid
}

// free makes sure that no file of another user's is lost under a name.
func (k *keeper) free(path string) error {
	info, err := os.Lstat(path)
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !k.owns(info) {
		err = fmt.Errorf("%s belongs to another user", path)
	}
	return err
}

// compressAll compresses each file that nobody writes to, and mends those that a
// crash left behind.
func (k *keeper) compressAll() error {
	names, err := k.ours()
	errs := []error{err}
	for _, name := range names {
		if err := k.recorder.ctx.Err(); err != nil {
			return err
		}
		path := filepath.Join(k.recorder.config.Dir, name)
		switch {
		case strings.HasSuffix(name, ".tmp"):
			errs = append(errs, k.removeStray(path, names))
		case strings.HasSuffix(name, ".jsonl"):
			errs = append(errs, k.compress(path))
		}
	}
	return errors.Join(errs...)
}

// removeStray removes what is left of a compression whose file is gone. Otherwise
// compressing the file again takes it away.
func (k *keeper) removeStray(path string, names []string) error {
	source := ourFile.FindStringSubmatch(filepath.Base(path))[1]
	if slices.Contains(names, source) {
		return nil
	}
	return os.Remove(path)
}

// compress replaces a finished file by a compressed one. The file goes only when the
// other one is complete, under its name, and on the disk.
func (k *keeper) compress(path string) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("compress a recording: %w", err)
	}
	defer file.Close()
	if lock(file) != nil {
		return nil
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || !k.owns(info) {
		return err
	}
	if info.Size() == 0 {
		if k.recorder.config.Now().Sub(info.ModTime()) > strayAge {
			return os.Remove(path)
		}
		return nil
	}
	whole, err := wholeLines(file, info.Size())
	if err != nil {
		return fmt.Errorf("compress %s: %w", path, err)
	}
	if whole == 0 {
		return os.Remove(path)
	}
	target := map[Compression]string{Gzip: path + ".gz", Zstd: path + ".zst"}[k.recorder.config.Compress]
	if target == "" {
		if whole < info.Size() {
			err = file.Truncate(whole)
		}
		return err
	}
	if err := k.pack(file, whole, target); err != nil {
		return fmt.Errorf("compress %s: %w", path, err)
	}
	return os.Remove(path)
}

// pack writes the compressed form of the first octets of a file.
func (k *keeper) pack(file *os.File, octets int64, target string) (err error) {
	temporary := target + ".tmp"
	if err := errors.Join(k.free(temporary), k.free(target)); err != nil {
		return err
	}
	// With the lock on the file nobody else is at it, so one that exists is stale.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary))
		}
	}()
	err = pack(k.recorder.ctx, out, io.NewSectionReader(file, 0, octets), k.recorder.config.Compress)
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, target)
}

// pack compresses, until ctx is over.
func pack(ctx context.Context, to io.Writer, from io.Reader, how Compression) error {
	var packer io.WriteCloser
	var err error
	if how == Zstd {
		packer, err = zstd.NewWriter(to, zstd.WithEncoderConcurrency(1))
	} else {
		// Mail wants the processor more than the disk wants the last tenth.
		packer, err = gzip.NewWriterLevel(to, gzip.BestSpeed)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(packer, &interruptible{ctx, from})
	return errors.Join(err, packer.Close())
}

// interruptible is a reader that ends with a context.
type interruptible struct {
	ctx  context.Context
	from io.Reader
}

func (r *interruptible) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(b)
}

// wholeLines is how much of a file are whole lines.
func wholeLines(file io.ReaderAt, size int64) (int64, error) {
	block := make([]byte, flushSize)
	for end := size; end > 0; {
		from := max(0, end-int64(len(block)))
		b := block[:end-from]
		if _, err := file.ReadAt(b, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		end = from
	}
	return 0, nil
}

// removeOldest removes the oldest finished files beyond those that are kept.
func (k *keeper) removeOldest() error {
	keep := k.recorder.config.Keep
	if keep == 0 {
		return nil
	}
	names, err := k.ours()
	errs := []error{err}
	var finished []string
	for _, name := range names {
		if !strings.HasSuffix(name, ".tmp") && !k.inUse(filepath.Join(k.recorder.config.Dir, name)) {
			finished = append(finished, name)
		}
	}
	for len(finished) > keep {
		errs = append(errs, os.Remove(filepath.Join(k.recorder.config.Dir, finished[0])))
		finished = finished[1:]
	}
	return errors.Join(errs...)
}

// inUse reports whether somebody writes to a file, or is about to.
func (k *keeper) inUse(path string) bool {
	if !strings.HasSuffix(path, ".jsonl") {
		return false
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return true
	}
	defer file.Close()
	info, err := file.Stat()
	return err != nil || info.Size() == 0 || lock(file) != nil
}
