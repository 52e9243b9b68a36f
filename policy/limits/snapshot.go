package limits

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A snapshot is a text: a first line with the time at which it was written, one for each
// count and each block with the time that it has left, and a last one with the CRC-32 of
// all before it. Times are in microseconds, and logins are quoted as Go does.
//
//	milterd limits 1 1772366400000000
//	count 0f1e2d3c4b5a69788796a5b4c3d2e1f0 3600000000
//	block 86400000000 "shin"
//	end 8f3a2c11
const snapshotHead = "milterd limits 1 "

// maxSnapshotLine is longer than every line of a snapshot.
const maxSnapshotLine = 8 << 10

var errDamaged = errors.New("damaged")

// save writes a snapshot beside the file and renames it, so that a crash at any moment
// leaves the old one or the new one.
func (m *Memory) save(path string) error {
	name := path + ".new"
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = m.write(file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (m *Memory) write(w io.Writer) error {
	sum := crc32.NewIEEE()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	line := append(strconv.AppendInt([]byte(snapshotHead), m.now().UnixMicro(), 10), '\n')
	_, err := out.Write(line)
	if err != nil {
		return err
	}
	m.sweep(func(some []count) {
		for _, c := range some {
			line = hex.AppendEncode(append(line[:0], "count "...), c.key[:])
			line = append(strconv.AppendInt(append(line, ' '), c.left, 10), '\n')
			_, _ = out.Write(line) // a bufio.Writer keeps its first error
		}
	})
	for login, left := range m.Blocks() {
		fmt.Fprintf(out, "block %d %q\n", left.Microseconds(), login)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "end %08x\n", sum.Sum32())
	return err
}

// load reads a snapshot. Without a file, or with an empty one, there is nothing. The time
// since it was written has passed for all counts, unless the machine's clock says that it
// was written later than now.
func (m *Memory) load(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	loaded := NewMemory(m.max, m.now)
	loaded.start = m.start
	if err := loaded.read(file); err != nil {
		return err
	}
	m.empty, m.blocks = loaded.empty, loaded.blocks
	return nil
}

func (m *Memory) read(r io.Reader) error {
	in := bufio.NewReaderSize(r, maxSnapshotLine)
	if _, err := in.Peek(1); errors.Is(err, io.EOF) {
		return nil
	}
	sum, now, since := crc32.NewIEEE(), m.clock(), int64(0)
	for n := 1; ; n++ {
		text, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("%w: line %d does not end, or is too long", errDamaged, n)
		}
		line := strings.TrimSuffix(string(text), "\n")
		switch kind, rest, _ := strings.Cut(line, " "); {
		case n == 1:
			written, err := strconv.ParseInt(strings.TrimPrefix(line, snapshotHead), 10, 64)
			if err != nil || !strings.HasPrefix(line, snapshotHead) {
				return fmt.Errorf("%w: it does not begin with %q", errDamaged, snapshotHead)
			}
			since = max(m.now().UnixMicro()-written, 0)
		case kind == "end":
			if rest != fmt.Sprintf("%08x", sum.Sum32()) {
				return fmt.Errorf("%w: its checksum is wrong", errDamaged)
			}
			return nil
		default:
			if err := m.readLine(kind, rest, now-since); err != nil {
				return fmt.Errorf("%w: line %d: %w", errDamaged, n, err)
			}
		}
		sum.Write(text)
	}
}

// readLine takes one count or block; written is when it was.
func (m *Memory) readLine(kind, rest string, written int64) error {
	first, second, _ := strings.Cut(rest, " ")
	switch kind {
	case "count":
		var key Key
		n, err := hex.Decode(key[:], []byte(first[:min(len(first), 2*len(key))]))
		left, leftErr := parseLeft(second)
		if err = errors.Join(err, leftErr); err != nil || n != len(key) || len(first) != 2*n {
			return fmt.Errorf("not a count: %w", err)
		}
		if now := m.clock(); written+left > now {
			m.set(key, written+left, now)
		}
	case "block":
		login, err := strconv.Unquote(second)
		left, leftErr := parseLeft(first)
		if err = errors.Join(err, leftErr); err != nil || len(login) > maxLogin {
			return fmt.Errorf("not a block: %w", err)
		}
		if len(m.blocks) < maxBlocks {
			m.blocks[login] = written + left
		}
	default:
		return fmt.Errorf("%.20q, expected count or block", kind)
	}
	return nil
}

// Forever is how long a block lasts that ends by hand only.
const Forever = 100 * 365 * 24 * time.Hour

// parseLeft reads a time that is left. None is longer than Forever.
func parseLeft(s string) (int64, error) {
	left, err := strconv.ParseInt(s, 10, 64)
	if err == nil && (left < 0 || left > Forever.Microseconds()) {
		err = errors.New("a time that cannot be")
	}
	return left, err
}
