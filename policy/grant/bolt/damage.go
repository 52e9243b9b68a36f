package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"
)

// damagedSuffix ends the name that a damaged file is given.
const damagedSuffix = ".damaged"

// errDamaged: the file is a database, but cannot be read as one any more.
var errDamaged = errors.New("damaged")

// advice is what to do about a file that cannot be read, and is not set aside.
const advice = "move it away to begin without grants; users get theirs again when they next log in"

// advise adds the advice to the error about a file that will stay where it is.
func advise(err error) error {
	if errors.Is(err, errDamaged) {
		return err
	}
	return fmt.Errorf("%w; %s", err, advice)
}

// openFailure is errDamaged if what kept a file from being opened is what is in it,
// and what is in it was a database. A file that never was one is somebody else's, and
// so is one of another version of bbolt.
func openFailure(path string, err error) error {
	if errors.Is(err, errDamaged) || errors.Is(err, bolterrors.ErrVersionMismatch) || errors.As(err, new(syscall.Errno)) {
		return err
	}
	if was, readErr := wasDatabase(path); readErr != nil || !was {
		return errors.Join(err, readErr)
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

// wasDatabase reports whether a file has the mark of a bbolt database on one of its
// first two pages, or is nothing but zeros, which is what some file systems make of a
// file that was being written when the power went.
func wasDatabase(path string) (bool, error) {
	const (
		// pageHeader precedes the mark, which is in the machine's byte order.
		pageHeader = 16
		mark       = 0xed0cdaed
	)
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for _, page := range []int64{0, int64(os.Getpagesize())} {
		var b [4]byte
		switch _, err := f.ReadAt(b[:], page+pageHeader); {
		case err == nil && binary.NativeEndian.Uint32(b[:]) == mark:
			return true, nil
		case err != nil && !errors.Is(err, io.EOF):
			return false, err
		}
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := f.Read(buffer)
		for _, b := range buffer[:n] {
			if b != 0 {
				return false, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
}

// setAside renames a damaged file, in the place of one that was set aside before. It
// does nothing unless path still leads to the file that was found damaged, and no other
// process has it open: another milterd may have begun anew meanwhile.
func setAside(path string, found os.FileInfo) (name string, err error) {
	// A symbolic link stays, and leads to the new file.
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// The lock is the one that bbolt takes.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "", fmt.Errorf("lock %s: %w", path, err)
	}
	for _, stat := range []func() (os.FileInfo, error){f.Stat, func() (os.FileInfo, error) { return os.Stat(path) }} {
		if info, err := stat(); err != nil {
			return "", err
		} else if !os.SameFile(found, info) {
			return "", fmt.Errorf("%s is another file by now", path)
		}
	}
	name = path + damagedSuffix
	if err := os.Rename(path, name); err != nil {
		return "", err
	}
	return name, syncDir(filepath.Dir(path))
}
