package replay

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

// Input is one file of sessions.
type Input struct {
	// Name stands in messages.
	Name string
	// Size is the number of bytes in the file, 0 if it is not known.
	Size int64
	// listed: it came from a directory, where milterd may be at work on it.
	listed bool
	// stdin is what is read in place of a file.
	stdin io.Reader
}

// The endings of session files, and those that say how they are compressed.
var (
	endings     = []string{".yaml", ".yml", ".jsonl", ".json"}
	compression = []string{".gz", ".zst"}
)

// unpackedName is a name without the ending that says how it is compressed.
func unpackedName(name string) string {
	for _, ending := range compression {
		name = strings.TrimSuffix(name, ending)
	}
	return name
}

func hasEnding(name string, endings []string) bool {
	return slices.ContainsFunc(endings, func(ending string) bool { return strings.HasSuffix(name, ending) })
}

// Inputs lists the files that names stand for: a directory for the session files
// in it and below it, in the order of their names, and "-" for stdin. Files of
// other endings and those that begin with a dot are passed over in a directory, and
// so is a recording that nothing has been written to yet. Of a .jsonl file that is there
// compressed as well, as while milterd is compressing a recording, one is listed.
// What cannot be found is in the error; the others are listed all the same.
func Inputs(names []string, stdin io.Reader) ([]Input, error) {
	var inputs []Input
	var errs []error
	for _, name := range names {
		if name == "-" {
			inputs = append(inputs, Input{Name: "stdin", stdin: stdin})
			continue
		}
		switch info, err := os.Stat(name); {
		case err != nil:
			// Opening it will say why; others are read before and after it.
			inputs = append(inputs, Input{Name: name})
		case info.IsDir():
			files, err := directory(name)
			inputs, errs = append(inputs, files...), append(errs, err)
		default:
			inputs = append(inputs, Input{Name: name, Size: info.Size()})
		}
	}
	return inputs, errors.Join(errs...)
}

func directory(name string) ([]Input, error) {
	var inputs []Input
	var errs []error
	taken := make(map[string]bool)
	err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		hidden := path != name && strings.HasPrefix(filepath.Base(path), ".")
		base := unpackedName(path)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("read sessions: %w", err))
			return nil
		case hidden && entry.IsDir():
			return fs.SkipDir
		case hidden || entry.IsDir() || !hasEnding(base, endings):
			return nil
		}
		in := Input{Name: path, listed: true}
		switch info, err := os.Stat(path); {
		case errors.Is(err, fs.ErrNotExist) && entry.Type().IsRegular():
			// It has gone just now: it may be there compressed.
		case err != nil:
			errs = append(errs, fmt.Errorf("read sessions: %w", err))
			return nil
		case !info.Mode().IsRegular():
			// A pipe of such a name would be waited for.
			return nil
		case info.Size() == 0 && strings.HasSuffix(path, ".jsonl"):
			return nil
		default:
			in.Size = info.Size()
		}
		// The plain one comes before the compressed ones.
		if !taken[base] || !strings.HasSuffix(base, ".jsonl") {
			inputs = append(inputs, in)
		}
		taken[base] = true
		return nil
	})
	if len(inputs) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: no session files, expected names that end in %s, or in these and .gz or .zst", name, strings.Join(endings, " ")))
	}
	return inputs, errors.Join(append(errs, err)...)
}

// Form is a further form of input, such as the log of an MTA. What a file is called
// does not matter to it.
type Form struct {
	// Recognise reports whether a file of this form begins with head, its first
	// 512 bytes, or all of it if there are less.
	Recognise func(head []byte) bool
	// Read makes sessions of a file and hands them over, each one newly made, until
	// each is false. name is for Session.File, and for its errors, which begin with
	// FILE:LINE:. Memory must not grow with the length of the file.
	Read func(name string, r io.Reader, each func(*Session) bool) error
}

// GoneError is what Collect gets for a file of a directory that was there when the
// directory was listed, and is no longer: milterd removes old recordings.
type GoneError struct{ Name string }

func (e *GoneError) Error() string { return e.Name + ": removed since its directory was listed" }

type source struct {
	io.Reader
	// name is the file's, as it has been found.
	name string
	// format is that of the sessions in it, form a further form in place of that.
	format *format
	form   *Form
	close  func()
}

// sniffed is how much is looked at to tell what a file is.
const sniffed = 512

// byteOrderMark is what some editors begin a file of UTF-8 with. YAML allows it, JSON
// does not.
var byteOrderMark = []byte("\ufeff")

// open opens an input, which may be of a further form; read counts its bytes as
// they are on the disk.
func (in Input) open(read *atomic.Int64, forms ...Form) (*source, error) {
	s := &source{name: in.Name, format: yamlDocuments, close: func() {}}
	raw := in.stdin
	if raw == nil {
		f, err := in.find()
		if err != nil {
			return nil, err
		}
		s.name, s.close, raw = f.Name(), func() { f.Close() }, f
	}
	if err := s.unpack(&counter{Reader: raw, all: read}); err != nil {
		s.close()
		return nil, fmt.Errorf("%s:1: %w", s.name, err)
	}
	begin := bufio.NewReaderSize(s.Reader, sniffed)
	head, _ := begin.Peek(sniffed)
	s.Reader = begin
	if i := slices.IndexFunc(forms, func(f Form) bool { return f.Recognise(head) }); i >= 0 {
		s.form = &forms[i]
	}
	text, marked := bytes.CutPrefix(head, byteOrderMark)
	base := unpackedName(s.name)
	if hasEnding(base, endings[2:]) ||
		// The name of standard input says nothing: a brace says JSON.
		in.stdin != nil && !hasEnding(base, endings) && bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) {
		s.format = jsonLines
	}
	if marked && s.format == jsonLines {
		// What has been peeked at is there to be passed over.
		_, _ = begin.Discard(len(byteOrderMark))
	}
	return s, nil
}

// find opens the file, which may have been compressed since it was listed.
func (in Input) find() (*os.File, error) {
	// A pipe that nothing writes to must not be waited for.
	f, err := os.OpenFile(in.Name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if in.listed && errors.Is(err, fs.ErrNotExist) {
		for _, ending := range compression {
			if f, err = os.Open(unpackedName(in.Name) + ending); !errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &GoneError{in.Name}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read sessions: %w", err)
	}
	if info, err := f.Stat(); err != nil || info.Mode()&fs.ModeDevice != 0 {
		f.Close()
		return nil, cmp.Or(err, fmt.Errorf("read sessions: %s is a device, expected a file, or - for standard input", in.Name))
	}
	return f, nil
}

// maxWindow is what zstd itself accepts without being asked to.
const maxWindow = 128 << 20

// unpack decompresses what is compressed: by its name, or by its first bytes.
func (s *source) unpack(raw *counter) error {
	r := bufio.NewReaderSize(raw, 64<<10)
	s.Reader = r
	magic, _ := r.Peek(4)
	switch {
	case strings.HasSuffix(s.name, ".gz") || bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		packed, err := gzip.NewReader(r)
		if err != nil {
			return unpackError(err)
		}
		s.Reader = &unpacker{r: packed, packed: raw}
	case strings.HasSuffix(s.name, ".zst") || bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		packed, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return unpackError(err)
		}
		file := s.close
		s.Reader, s.close = &unpacker{r: packed, packed: raw}, func() { packed.Close(); file() }
	}
	return nil
}

// Compressed data may expand to a thousand times its size, as gzip does at most, and
// beyond that to maxExpanded.
const (
	maxExpansion = 1000
	maxExpanded  = 64 << 20
)

type unpacker struct {
	r      io.Reader
	packed *counter
	n      int64
}

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if u.n += int64(n); u.n > maxExpanded+maxExpansion*u.packed.n {
		return 0, fmt.Errorf("compressed data expands to more than %d times its size", maxExpansion)
	}
	if err != nil && err != io.EOF {
		err = unpackError(err)
	}
	return n, err
}

// unpackError says that it is not the sessions that are at fault.
func unpackError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("compressed data ends too early")
	}
	return fmt.Errorf("compressed data: %w", err)
}

type counter struct {
	io.Reader
	n   int64
	all *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	c.all.Add(int64(n))
	return n, err
}
