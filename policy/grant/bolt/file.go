package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"milterd/policy/grant"
)

// bucket holds the grants. Its name is the version of the format, too.
var bucket = []byte("grants.v1")

// protect runs a function that reads the file. bbolt maps it into memory and
// trusts it: what is damaged there shows as a panic, or as a fault of a memory
// access where the file has been cut short. Both become an errDamaged.
func protect(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return fn()
}

// openFile opens the database and makes it where there is none.
func openFile(path string, lockTimeout time.Duration) (*bbolt.DB, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := create(path); err != nil {
			return nil, fmt.Errorf("create file of relay grants %s: %w", path, err)
		}
	case err != nil:
		return nil, fmt.Errorf("open file of relay grants: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open file of relay grants: %s is not a regular file", path)
	}
	var db *bbolt.DB
	var file *os.File
	opts := options(lockTimeout)
	opts.OpenFile = func(name string, flag int, mode fs.FileMode) (f *os.File, err error) {
		f, err = os.OpenFile(name, flag, mode)
		file = f
		return f, err
	}
	err = protect(func() (err error) {
		db, err = bbolt.Open(path, 0o600, opts)
		return err
	})
	if err != nil && file != nil {
		// bbolt does this, unless it panics. The lock has to go as well: it would
		// live as long as the mapping, which is out of reach.
		_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
		file.Close()
	}
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open file of relay grants %s: another process has it open; is another milterd running?", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open file of relay grants: %w", err)
	case err != nil:
		return nil, fmt.Errorf("open file of relay grants %s: %w", path, advise(openFailure(path, err)))
	}
	return db, nil
}

func options(lockTimeout time.Duration) *bbolt.Options {
	return &bbolt.Options{
		Timeout: lockTimeout,
		// Keys come and go at random, which leaves many free pages.
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
	}
}

// create makes an empty database under another name first: whoever finds the file
// finds all of it, however milterd ended meanwhile.
func create(path string) error {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, filepath.Base(path)+".new*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if err := temp.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(temp.Name(), 0o600, options(time.Second))
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link takes nobody's place; but not every file system has
	// links.
	err = os.Link(temp.Name(), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load calls fn for each record.
func load(db *bbolt.DB, path string, fn func(key [16]byte, g grant.Grant) error) error {
	err := protect(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if info.Size() < tx.Size() {
				return fmt.Errorf("%w: cut short: %d octets of %d", errDamaged, info.Size(), tx.Size())
			}
			b, err := grants(tx)
			if b == nil || err != nil {
				return err
			}
			return b.ForEach(func(k, v []byte) error {
				g, err := decode(k, v)
				if err != nil {
					return fmt.Errorf("%w: %w", errDamaged, err)
				}
				return fn([16]byte(k), g)
			})
		})
	})
	if err != nil {
		return fmt.Errorf("read file of relay grants %s: %w", path, advise(err))
	}
	return nil
}

// grants is the bucket, or nil where the database is empty. A database with
// something else in it is somebody else's.
func grants(tx *bbolt.Tx) (*bbolt.Bucket, error) {
	err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		if string(name) != string(bucket) {
			return fmt.Errorf("it holds %.40q, not relay grants of this version of milterd", name)
		}
		return nil
	})
	return tx.Bucket(bucket), err
}
