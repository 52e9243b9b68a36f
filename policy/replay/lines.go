package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// blockSize is about how many bytes of lines are worked on at a time: enough that
// handing them on costs nothing, and little enough to keep many of them.
const blockSize = 64 << 10

// blocks cuts a stream into blocks of whole lines.
type blocks struct {
	name string
	r    io.Reader
	// rest is the beginning of a line whose end has not been read yet.
	rest []byte
	// line is the number of the line that comes next.
	line int
	done bool
}

func newBlocks(name string, r io.Reader) *blocks { return &blocks{name: name, r: r, line: 1} }

// next reads a block into buf, which is used again, and gives the number of its
// first line. An error may come with a block, whose lines are good; io.EOF comes
// alone, at the end.
func (b *blocks) next(buf []byte) (block []byte, first int, err error) {
	if b.done {
		return buf[:0], b.line, io.EOF
	}
	buf = append(buf[:0], b.rest...)
	b.rest = b.rest[:0]
	for {
		whole := bytes.LastIndexByte(buf, '\n') + 1
		switch {
		case whole == 0 && len(buf) > maxLine:
			return b.skipLine(buf)
		case whole > 0 && len(buf) >= blockSize:
			b.rest = append(b.rest, buf[whole:]...)
			return b.give(buf[:whole], nil)
		case len(buf) == cap(buf):
			grown := make([]byte, len(buf), max(blockSize, 2*len(buf)))
			copy(grown, buf)
			buf = grown
		}
		n, err := b.r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			b.done = true
			if len(buf) == 0 {
				return buf, b.line, io.EOF
			}
			return b.give(buf, nil)
		case err != nil:
			// What has been read whole counts; the line that broke off does not.
			b.done = true
			whole := buf[:bytes.LastIndexByte(buf, '\n')+1]
			return b.give(whole, fmt.Errorf("%s:%d: %w", b.name, b.line+bytes.Count(whole, newline), err))
		}
	}
}

var newline = []byte{'\n'}

// give hands out a block and counts its lines.
func (b *blocks) give(block []byte, err error) ([]byte, int, error) {
	first := b.line
	b.line += bytes.Count(block, newline)
	return block, first, err
}

// skipLine reads on to the end of a line that is too long.
func (b *blocks) skipLine(buf []byte) ([]byte, int, error) {
	long := b.line
	for {
		n, err := b.r.Read(buf[:cap(buf)])
		if end := bytes.IndexByte(buf[:n], '\n'); end >= 0 {
			b.rest = append(b.rest, buf[end+1:n]...)
			b.line++
			return buf[:0], b.line, tooLong(b.name, long)
		}
		if err != nil {
			b.done = true
			return buf[:0], b.line, tooLong(b.name, long)
		}
	}
}

func tooLong(name string, line int) error {
	return fmt.Errorf("%s:%d: %w", name, line, errTooLong)
}
