package grant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"milterd/policy/snapshot"
)

// format is that of the file of relay grants. A line is a grant: address, first login and
// end (Unix time in milliseconds), source and user, between tabs. Neither of the names can
// hold a tab or the end of a line.
var format = snapshot.Format{Head: "milterd relay grants 1", MaxLine: 512}

// read opens and locks the file, or makes it, and reads its grants, those that end first
// at the front.
func (f *File) read() ([]Grant, error) {
	err := f.open()
	if err != nil {
		return nil, err
	}
	grants, err := parseSnapshot(f.lock)
	if errors.Is(err, snapshot.ErrDamaged) {
		// What is lost are grants of some minutes. To refuse to start for them would
		// defer all mail.
		aside, asideErr := snapshot.SetAside(f.config.Path)
		if asideErr != nil {
			f.lock.Close()
			return nil, fmt.Errorf("%w; set it aside: %w; move it away to begin without grants", err, asideErr)
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
		file, err := snapshot.Open(f.config.Path, os.O_RDWR|os.O_CREATE)
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

func (f *File) replace() error {
	file, err := snapshot.Replace(f.config.Path, func(file *os.File) error {
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return err
		}
		return format.Write(file, "", func(add func([]byte) bool) {
			var line []byte
			// List returns no error of its own: this store can always be asked.
			_ = f.List(context.Background(), func(g Grant) bool {
				line = appendGrant(line[:0], g)
				return add(line)
			})
		})
	})
	if file != nil {
		f.lock.Close()
		f.lock = file
	}
	return err
}

func appendGrant(line []byte, g Grant) []byte {
	line = append(g.Addr.AppendTo(line), '\t')
	line = append(strconv.AppendInt(line, g.Since.UnixMilli(), 10), '\t')
	line = append(strconv.AppendInt(line, g.Expires.UnixMilli(), 10), '\t')
	line = append(append(line, g.Source...), '\t')
	return append(line, g.User...)
}

// parseSnapshot reads the grants. An empty file has none.
func parseSnapshot(r io.Reader) ([]Grant, error) {
	var grants []Grant
	err := format.Read(r, func(rest string) error {
		if rest != "" {
			return errors.New("another head")
		}
		return nil
	}, func(text string) error {
		g, err := parseGrant(text)
		grants = append(grants, g)
		return err
	})
	if err != nil {
		return nil, err
	}
	return grants, nil
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
