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

// strayAge is how old an empty file is that will not be written to any more: a new one
// is empty, and not locked yet, for a moment.
const strayAge = time.Hour

// keeper compresses finished files and removes the oldest, in a goroutine of its own.
type keeper struct {
	recorder *Recorder
	// uid owns our files: in a directory with the sticky bit others can have files of
	// the same names.
	uid uint32
	// work holds a token when there may be something to do. It is closed when no more
	// files come.
	work chan struct{}
	// complained: the log has been told that something fails.
	complained bool
}

func newKeeper(r *Recorder) *keeper {
	return &keeper{recorder: r, uid: uint32(os.Geteuid()), work: make(chan struct{}, 1)}
}

func (k *keeper) wake() {
	select {
	case k.work <- struct{}{}:
	default:
	}
}

func (k *keeper) run() {
	for range k.work {
		k.tidy()
	}
	k.tidy()
}

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
		// It may be gone by now.
		if info, err := e.Info(); err == nil && k.owns(info) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (k *keeper) owns(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == k.uid
}

func (k *keeper) free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && !k.owns(info):
		return fmt.Errorf("%s belongs to another user", path)
	}
	return err
}

// errInUse: a file is written to, or is none of ours.
var errInUse = errors.New("in use")

func (k *keeper) claim(path string) (file *os.File, size int64, err error) {
	file, err = os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && (lock(file) != nil || !info.Mode().IsRegular() || !k.owns(info)) {
		err = errInUse
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// compressAll compresses each file that is no longer written to, and mends those that a
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
			// Compressing the file again takes away what was left of the last time.
			if !slices.Contains(names, ourFile.FindStringSubmatch(name)[1]) {
				errs = append(errs, os.Remove(path))
			}
		case strings.HasSuffix(name, ".jsonl"):
			if err := k.compress(path); err != nil && !errors.Is(err, errInUse) {
				errs = append(errs, fmt.Errorf("compress %s: %w", path, err))
			}
		}
	}
	return errors.Join(errs...)
}

// compress replaces a finished file by a compressed one. The file goes only when the
// other one is complete, under its name, and on the disk.
func (k *keeper) compress(path string) error {
	file, size, err := k.claim(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if size == 0 {
		if info, err := file.Stat(); err != nil || k.recorder.config.Now().Sub(info.ModTime()) <= strayAge {
			return err
		}
	}
	whole, err := wholeLines(file, size)
	if err != nil {
		return err
	}
	if whole > 0 {
		ending := map[Compression]string{Gzip: ".gz", Zstd: ".zst"}[k.recorder.config.Compress]
		if ending == "" && whole < size {
			return file.Truncate(whole)
		} else if ending == "" {
			return nil
		}
		if err := k.pack(file, whole, path+ending); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// pack writes the compressed form of the first octets of a file.
func (k *keeper) pack(file *os.File, octets int64, target string) (err error) {
	temporary := target + ".tmp"
	if err := errors.Join(k.free(temporary), k.free(target)); err != nil {
		return err
	}
	// The lock on the file keeps others away, so one that exists is stale.
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
	// At the end of the Recorder's time writing fails.
	defer context.AfterFunc(k.recorder.ctx, func() { out.Close() })()
	err = pack(out, io.NewSectionReader(file, 0, octets), k.recorder.config.Compress)
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, target)
}

func pack(to io.Writer, from io.Reader, how Compression) error {
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
	_, err = io.Copy(packer, from)
	return errors.Join(err, packer.Close())
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

func (k *keeper) removeOldest() error {
	dir, keep := k.recorder.config.Dir, k.recorder.config.Keep
	if keep == 0 {
		return nil
	}
	names, err := k.ours()
	finished := slices.DeleteFunc(names, func(name string) bool {
		return strings.HasSuffix(name, ".tmp") || k.inUse(filepath.Join(dir, name))
	})
	for _, name := range finished[:max(0, len(finished)-keep)] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
	}
	return err
}

func (k *keeper) inUse(path string) bool {
	if !strings.HasSuffix(path, ".jsonl") {
		return false
	}
	file, size, err := k.claim(path)
	if err != nil {
		return true
	}
	file.Close()
	return size == 0
}
