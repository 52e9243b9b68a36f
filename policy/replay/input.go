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

	"github.com/klauspost/compress/zstd"
)

// Bounds of what decompression may take: the window that zstd itself accepts
// without being asked to, and the size of its header.
const (
	maxWindow = 128 << 20
	sniffed   = 512
)

// Input is one file of sessions.
type Input struct {
	// Name stands in messages.
	Name string
	// Size is the number of bytes in the file, 0 where it is not known.
	Size int64
	// listed: it came from a directory, where milterd may be at work on it.
	listed bool
	// stdin is what is read where no file of that name is.
	stdin io.Reader
}

// endings of the files that are looked for in a directory, and how they may be
// compressed.
var (
	endings     = []string{".yaml", ".yml", ".jsonl", ".json"}
	compression = []string{"", ".gz", ".zst"}
)

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
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			files, err := directory(name)
			inputs, errs = append(inputs, files...), append(errs, err)
			continue
		}
		if err != nil {
			// Opening it will say why; others are read before and after it.
			inputs = append(inputs, Input{Name: name})
			continue
		}
		inputs = append(inputs, Input{Name: name, Size: info.Size()})
	}
	return inputs, errors.Join(errs...)
}

// directory lists the session files below a directory.
func directory(name string) ([]Input, error) {
	var inputs []Input
	var errs []error
	taken := make(map[string]bool)
	err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		hidden := path != name && strings.HasPrefix(filepath.Base(path), ".")
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("read sessions: %w", err))
			return nil
		case hidden && entry.IsDir():
			return fs.SkipDir
		case hidden || entry.IsDir() || !isSessionFile(path):
			return nil
		}
		info, err := os.Stat(path)
		var size int64
		switch {
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
			size = info.Size()
		}
		// The plain one comes before the compressed ones.
		base := unpackedName(path)
		if strings.HasSuffix(base, ".jsonl") && taken[base] {
			return nil
		}
		taken[base] = true
		inputs = append(inputs, Input{Name: path, Size: size, listed: true})
		return nil
	})
	if len(inputs) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: no session files, expected names that end in %s, or in these and .gz or .zst", name, strings.Join(endings, " ")))
	}
	return inputs, errors.Join(append(errs, err)...)
}

func isSessionFile(name string) bool {
	return slices.ContainsFunc(endings, func(ending string) bool {
		return slices.ContainsFunc(compression, func(packed string) bool { return strings.HasSuffix(name, ending+packed) })
	})
}

// byteOrderMark is what some editors begin a file of UTF-8 with. YAML allows it, JSON
// does not.
var byteOrderMark = []byte("\ufeff")

// source is an open input, decompressed.
type source struct {
	io.Reader
	// name is the file's, as it has been found.
	name string
	// format is that of the sessions in it.
	format *format
	// form is a further form that the data has; nil for none.
	form  *Form
	close []func() error
}

// Form is a further form of input, such as the log of an MTA. What a file is called
// does not matter to it.
type Form struct {
	// Recognise reports whether a file of this form begins with head, its first
	// 512 bytes, or all of it where there are less.
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

// find opens the file, which may have been compressed since it was listed, and gives
// the name that it has.
func (in Input) find() (*os.File, string, error) {
	f, err := os.Open(in.Name)
	if !in.listed || !errors.Is(err, fs.ErrNotExist) {
		return f, in.Name, err
	}
	for _, packed := range []string{".gz", ".zst"} {
		name := unpackedName(in.Name) + packed
		if f, err := os.Open(name); !errors.Is(err, fs.ErrNotExist) {
			return f, name, err
		}
	}
	return nil, in.Name, &GoneError{in.Name}
}

// open opens an input, which may be of a further form; read counts its bytes as
// they are on the disk.
func (in Input) open(read *atomic.Int64, forms ...Form) (*source, error) {
	s := &source{name: in.Name}
	raw := in.stdin
	if raw == nil {
		f, name, err := in.find()
		if err != nil {
			return nil, fmt.Errorf("read sessions: %w", err)
		}
		in.Name, s.name = name, name
		s.close = append(s.close, f.Close)
		raw = f
	}
	r, err := s.unpack(in.Name, counter{raw, read})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s:1: %w", in.Name, err), s.Close())
	}
	begin := bufio.NewReaderSize(r, sniffed)
	head, _ := begin.Peek(sniffed)
	s.Reader = begin
	if i := slices.IndexFunc(forms, func(f Form) bool { return f.Recognise(head) }); i >= 0 {
		s.form = &forms[i]
	}
	text, marked := bytes.CutPrefix(head, byteOrderMark)
	base := unpackedName(in.Name)
	s.format = yamlDocuments
	if strings.HasSuffix(base, ".jsonl") || strings.HasSuffix(base, ".json") ||
		// The name of standard input says nothing: a brace says JSON.
		in.stdin != nil && !isSessionFile(base) && bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) {
		s.format = jsonLines
	}
	if marked && s.format == jsonLines {
		// What has been peeked at is there to be passed over.
		_, _ = begin.Discard(len(byteOrderMark))
	}
	return s, nil
}

// unpack decompresses what is compressed: by its name, or by its first bytes.
func (s *source) unpack(name string, raw io.Reader) (io.Reader, error) {
	r := bufio.NewReaderSize(raw, 64<<10)
	magic, _ := r.Peek(4)
	switch {
	case strings.HasSuffix(name, ".gz") || bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		packed, err := gzip.NewReader(r)
		if err != nil {
			return nil, unpackError(err)
		}
		s.close = append(s.close, packed.Close)
		return unpacker{packed}, nil
	case strings.HasSuffix(name, ".zst") || bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		packed, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, unpackError(err)
		}
		s.close = append(s.close, func() error { packed.Close(); return nil })
		return unpacker{packed}, nil
	}
	return r, nil
}

// Close closes the file.
func (s *source) Close() error {
	var errs []error
	for _, f := range slices.Backward(s.close) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// unpacker reads decompressed data.
type unpacker struct{ r io.Reader }

func (u unpacker) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
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

// unpackedName is a name without the ending that says how it is compressed.
func unpackedName(name string) string {
	return cmp.Or(cutSuffix(name, ".gz"), cutSuffix(name, ".zst"), name)
}

func cutSuffix(name, ending string) string {
	if before, ok := strings.CutSuffix(name, ending); ok {
		return before
	}
	return ""
}

// counter counts what is read.
type counter struct {
	io.Reader
	read *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read.Add(int64(n))
	return n, err
}
