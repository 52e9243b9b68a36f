package grant

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A snapshot is a text: snapshotHead, a line for each grant, and a last line with the
// number of grants and the CRC-32 of all lines before it.
//
//	milterd relay grants 1
//	203.0.113.8	1772366400000	1772368200000	dovecot	shin
//	end	1	8f3a2c11
//
// The fields, between tabs, are address, first login and end (Unix time in milliseconds),
// source and user. Neither of the names can hold a tab or the end of a line.
const snapshotHead = "milterd relay grants 1\n"

// maxSnapshotLine is longer than every line of a snapshot.
const maxSnapshotLine = 512

var errDamaged = errors.New("damaged")

// read opens and locks the file, or makes it, and reads its grants, those that end first
// at the front.
func (f *File) read() ([]Grant, error) {
	err := f.open()
	if err != nil {
		return nil, err
	}
	grants, err := parseSnapshot(f.lock)
	if errors.Is(err, errDamaged) {
		// What is lost are grants of some minutes. To refuse to start for them would
		// defer all mail.
		aside := f.config.Path + ".damaged"
		if renameErr := os.Rename(f.config.Path, aside); renameErr != nil {
			f.lock.Close()
			return nil, fmt.Errorf("%w; set it aside: %w; move it away to begin without grants", err, renameErr)
		}
		f.config.Logger.Warn("the file of relay grants is damaged or of another kind, and was set aside; there are no grants until users log in again",
			"file", f.config.Path, "set_aside_as", aside, "error", err)
		f.lock.Close()
		return nil, f.open()
	}
	if err != nil {
		f.lock.Close()
		return nil, err
	}
	slices.SortFunc(grants, func(a, b Grant) int { return a.Expires.Compare(b.Expires) })
	return grants, nil
}

// open opens the file at the path, or makes an empty one, and locks it.
func (f *File) open() error {
	for deadline := time.Now().Add(f.config.LockTimeout); ; {
		// It never waits for the writer of a named pipe.
		file, err := os.OpenFile(f.config.Path, os.O_RDWR|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return err
		}
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			opened, openedErr := file.Stat()
			named, namedErr := os.Stat(f.config.Path)
			switch {
			case openedErr != nil:
				err = openedErr
			case !opened.Mode().IsRegular():
				err = errors.New("it is not a regular file")
			case namedErr == nil && os.SameFile(opened, named):
				f.lock = file
				return nil
			default:
				err = syscall.EWOULDBLOCK // replaced before it was locked
			}
		}
		file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("another process has it open; is another milterd running?")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// replace writes a snapshot beside the file and renames it.
func (f *File) replace() error {
	name := f.config.Path + ".new"
	// What a crash left there.
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = f.writeSnapshot(file)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(name, f.config.Path)
	}
	if err != nil {
		return errors.Join(err, file.Close(), os.Remove(name))
	}
	f.lock.Close()
	f.lock = file
	return syncDir(filepath.Dir(f.config.Path))
}

// syncDir makes a new name in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *File) writeSnapshot(w io.Writer) error {
	sum := crc32.NewIEEE()
	buffer := bufio.NewWriter(io.MultiWriter(w, sum))
	line := []byte(snapshotHead)
	n := 0
	_, err := buffer.Write(line)
	if err != nil {
		return err
	}
	// List returns no error of its own: this store can always be asked.
	_ = f.List(context.Background(), func(g Grant) bool {
		line = appendGrant(line[:0], g)
		n++
		_, err = buffer.Write(line)
		return err == nil
	})
	if err := buffer.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "end\t%d\t%08x\n", n, sum.Sum32())
	return err
}

func appendGrant(line []byte, g Grant) []byte {
	line = append(g.Addr.AppendTo(line), '\t')
	line = append(strconv.AppendInt(line, g.Since.UnixMilli(), 10), '\t')
	line = append(strconv.AppendInt(line, g.Expires.UnixMilli(), 10), '\t')
	line = append(append(line, g.Source...), '\t')
	return append(append(line, g.User...), '\n')
}

// parseSnapshot reads the grants. An empty file has none.
func parseSnapshot(r io.Reader) ([]Grant, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if _, err := in.Peek(1); errors.Is(err, io.EOF) {
		return nil, nil
	}
	var grants []Grant
	sum := crc32.NewIEEE()
	for n := -1; ; n++ {
		text, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, bufio.ErrBufferFull), err == nil && len(text) > maxSnapshotLine:
			return nil, fmt.Errorf("%w: line %d does not end, or is too long", errDamaged, n+2)
		case err != nil:
			return nil, err
		case n < 0 && string(text) != snapshotHead:
			return nil, fmt.Errorf("%w: it does not begin with %q", errDamaged, snapshotHead)
		case n >= 0 && strings.HasPrefix(string(text), "end\t"):
			if want := fmt.Sprintf("end\t%d\t%08x\n", n, sum.Sum32()); string(text) != want {
				return nil, fmt.Errorf("%w: its checksum is wrong", errDamaged)
			}
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("%w: it goes on behind its end", errDamaged)
			}
			return grants, nil
		case n >= 0:
			g, err := parseGrant(strings.TrimSuffix(string(text), "\n"))
			if err != nil {
				return nil, fmt.Errorf("%w: line %d: %w", errDamaged, n+2, err)
			}
			grants = append(grants, g)
		}
		sum.Write(text)
	}
}

// parseGrant reads a line of a snapshot without its end.
func parseGrant(line string) (Grant, error) {
	fields := strings.SplitN(line, "\t", 5)
	if len(fields) != 5 {
		return Grant{}, errors.New("expected five fields")
	}
	addr, err := netip.ParseAddr(fields[0])
	since, sinceErr := strconv.ParseInt(fields[1], 10, 64)
	expires, expiresErr := strconv.ParseInt(fields[2], 10, 64)
	if err = errors.Join(err, sinceErr, expiresErr); err != nil {
		return Grant{}, err
	}
	if addr != Canonical(addr) {
		return Grant{}, fmt.Errorf("%v is not written as a client's address", addr)
	}
	g := Grant{Addr: addr, Source: fields[3], User: fields[4], Since: time.UnixMilli(since), Expires: time.UnixMilli(expires)}
	return g, Login{Addr: g.Addr, User: g.User, Source: g.Source}.Valid()
}
