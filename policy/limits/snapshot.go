package limits

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"milterd/policy"
	"milterd/policy/snapshot"
)

// format is that of the file of counts. The first line has the time at which it was
// written, and a line is a count or a block, with the time that it has left; the counts of
// names that anybody can invent are told apart. Times are in microseconds, and logins are
// quoted as Go does:
//
//	milterd limits 1 1772366400000000
//	count 0f1e2d3c4b5a69788796a5b4c3d2e1f0 3600000000
//	invented 9f8e7d6c5b4a39281706f5e4d3c2b1a0 1800000000
//	block 86400000000 "shin"
var format = snapshot.Format{Head: "milterd limits 1 ", MaxLine: 8 << 10}

// save writes a snapshot in place of the file.
func (m *Memory) save(path string) error {
	file, err := snapshot.Replace(path, func(file *os.File) error { return m.write(file) })
	if file != nil {
		err = errors.Join(err, file.Close())
	}
	return err
}

func (m *Memory) write(w io.Writer) error {
	return format.Write(w, strconv.FormatInt(m.now().UnixMicro(), 10), func(add func([]byte) bool) {
		var line []byte
		m.sweep(func(some []count) {
			for _, c := range some {
				kind := "count "
				if c.invented {
					kind = "invented "
				}
				line = hex.AppendEncode(append(line[:0], kind...), c.key[:])
				line = strconv.AppendInt(append(line, ' '), c.left, 10)
				add(line)
			}
		})
		for login, left := range m.Blocks() {
			add(fmt.Appendf(nil, "block %d %q", left.Microseconds(), login))
		}
	})
}

// load reads a snapshot. Without a file, or with an empty one, there is nothing. The time
// since it was written has passed for all counts, unless the machine's clock says that it
// was written later than now.
func (m *Memory) load(path string) error {
	file, err := snapshot.Open(path, os.O_RDONLY)
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
	m.counts, m.blocks = loaded.counts, loaded.blocks
	return nil
}

func (m *Memory) read(r io.Reader) error {
	var written int64 // on the clock of memory
	return format.Read(r, func(rest string) error {
		at, err := strconv.ParseInt(rest, 10, 64)
		written = m.clock() - max(m.now().UnixMicro()-at, 0)
		return err
	}, func(text string) error {
		kind, rest, _ := strings.Cut(text, " ")
		return m.readLine(kind, rest, written)
	})
}

// readLine takes one count or block; written is when it was.
func (m *Memory) readLine(kind, rest string, written int64) error {
	first, second, _ := strings.Cut(rest, " ")
	switch kind {
	case "count", "invented":
		var key Key
		n, err := hex.Decode(key[:], []byte(first[:min(len(first), 2*len(key))]))
		left, leftErr := parseLeft(second)
		if err = errors.Join(err, leftErr); err != nil || n != len(key) || len(first) != 2*n {
			return fmt.Errorf("not a count: %w", err)
		}
		if now := m.clock(); written+left > now {
			m.set(key, written+left, now, kind == "invented")
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
		return fmt.Errorf("%.20q, expected count, invented or block", kind)
	}
	return nil
}

// Forever is how long a block lasts that ends by hand only.
const Forever = 100 * 365 * 24 * time.Hour

// EndsByHand reports whether a block that has so much time left ends by hand only.
func EndsByHand(left time.Duration) bool { return left >= Forever/2 }

// Longest is the longest time that a limit can look back.
const Longest = policy.MaxPeriod * time.Second

// parseLeft reads a time that is left. None is longer than Forever.
func parseLeft(s string) (int64, error) {
	left, err := strconv.ParseInt(s, 10, 64)
	if err == nil && (left < 0 || left > Forever.Microseconds()) {
		err = errors.New("a time that cannot be")
	}
	return left, err
}
