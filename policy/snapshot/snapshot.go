// Package snapshot keeps what shall outlive a restart in a file: a text of lines that is
// replaced as a whole. The first line begins with a Format's head, and the last one has the
// number of lines between them and the CRC-32 of all before it:
//
//	milterd relay grants 1
//	203.0.113.8	1772366400000	1772368200000	dovecot	shin
//	end	1	8f3a2c11
package snapshot

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrDamaged is returned for a file that is no snapshot of the format, or not all of one.
var ErrDamaged = errors.New("damaged")

// Format is one kind of snapshot.
type Format struct {
	// Head begins the first line. It has no end of a line.
	Head string
	// MaxLine bounds a line, in octets with its end.
	MaxLine int
}

// Write writes a snapshot. rest goes on with the first line. lines gives add each line
// between the first and the last, without its end; add says false once writing has failed.
func (f Format) Write(w io.Writer, rest string, lines func(add func(line []byte) bool)) error {
	sum := crc32.NewIEEE()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	add := func(line []byte) bool {
		_, _ = out.Write(line) // out keeps its first error
		return out.WriteByte('\n') == nil
	}
	n := 0
	if add([]byte(f.Head + rest)) {
		lines(func(line []byte) bool { n++; return add(line) })
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "end\t%d\t%08x\n", n, sum.Sum32())
	return err
}

// Read reads a snapshot: first is called with what follows the head, then line with each
// line. What they complain of is damage. An empty file has nothing.
func (f Format) Read(r io.Reader, first, line func(text string) error) error {
	in := bufio.NewReaderSize(r, max(64<<10, f.MaxLine+1))
	if _, err := in.Peek(1); errors.Is(err, io.EOF) {
		return nil
	}
	sum := crc32.NewIEEE()
	for n := -1; ; n++ {
		text, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) || err == nil && len(text) > f.MaxLine {
			return fmt.Errorf("%w: line %d does not end, or is too long", ErrDamaged, n+2)
		}
		if err != nil {
			return err
		}
		words := strings.TrimSuffix(string(text), "\n")
		if n >= 0 && strings.HasPrefix(words, "end\t") {
			if words != fmt.Sprintf("end\t%d\t%08x", n, sum.Sum32()) {
				return fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
			}
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
				return fmt.Errorf("%w: it goes on behind its end", ErrDamaged)
			}
			return nil
		}
		if n < 0 {
			rest, found := strings.CutPrefix(words, f.Head)
			if !found || first(rest) != nil {
				return fmt.Errorf("%w: it does not begin with %q", ErrDamaged, f.Head)
			}
		} else if err := line(words); err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrDamaged, n+2, err)
		}
		sum.Write(text)
	}
}

// Resolve is the path that a symbolic link leads to, also if there is nothing yet: the link
// stays, and what is written or set aside is where it leads.
func Resolve(path string) string {
	const most = 40 // links, as for Linux
	for range most {
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			// Not cleaned: a .. behind a link to a directory is that of where it leads.
			target = filepath.Dir(path) + "/" + target
		}
		path = target
	}
	return path
}

// Open opens a regular file, and never waits for the other end of a named pipe.
func Open(path string, flag int) (*os.File, error) {
	file, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// SetAside gives a damaged file another name, and returns that.
func SetAside(path string) (string, error) {
	aside := path + ".damaged"
	return aside, os.Rename(path, aside)
}

// Replace has fill write a file beside the one at path, and renames it, so that a crash at
// any moment leaves the old one or the new one, whole. The new file is returned, open, once
// it is in place, even with an error: that it may not outlive a crash of the machine.
func Replace(path string, fill func(*os.File) error) (*os.File, error) {
	name := path + ".new"
	// What a crash left there.
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	err = fill(file)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(name))
	}
	return file, syncDir(filepath.Dir(path))
}

// syncDir makes a new name in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
