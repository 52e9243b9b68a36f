package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// blockSize is about how many bytes are worked on at a time: enough that handing them
// on costs nothing, and little enough to keep many of them.
const blockSize = 64 << 10

// format is a way to write one session behind the other, each in a record of its own.
type format struct {
	// record and sessions say in messages what a record is and what a file holds.
	record, sessions string
	// max is the largest size of a record in bytes.
	max int
	// values is about how many values a record has, or more.
	values func(record []byte) int
	// ends reports whether a record ends with the line that was read last.
	ends func(next *bufio.Reader) bool
}

// The largest sessions, in bytes and in values: a value of two bytes can take two hundred
// in memory.
const (
	maxLine     = 4 << 20
	maxDocument = 1 << 20
	maxValues   = 256 << 10
)

var (
	jsonLines = &format{
		record: "line", sessions: "one JSON object a line", max: maxLine,
		values: jsonValues, ends: func(*bufio.Reader) bool { return true },
	}
	yamlDocuments = &format{
		record: "document", sessions: "a YAML document", max: maxDocument,
		values: yamlValues, ends: beforeMarker,
	}
	// otherForm is that of a Form, which reads by itself.
	otherForm = &format{sessions: "a connection with a message"}
)

// beforeMarker reports whether the next line begins a YAML document: with a marker, and
// white space behind it (YAML 1.2 section 9.1.2).
func beforeMarker(next *bufio.Reader) bool {
	const marker = "---"
	// At the end of the file there is less.
	head, _ := next.Peek(len(marker) + 1)
	return len(head) > len(marker) && string(head[:len(marker)]) == marker && strings.IndexByte(" \t\r\n", head[len(marker)]) >= 0
}

// jsonValues counts the tokens of a line, as far as it is JSON.
func jsonValues(line []byte) (count int) {
	d := jsontext.NewDecoder(bytes.NewBuffer(line), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		if _, err := d.ReadToken(); err != nil {
			return count
		}
		count++
	}
}

// yamlValues counts what stands between the values of a document.
func yamlValues(document []byte) (count int) {
	for _, c := range document {
		switch c {
		case ',', ':', '-', '?', '[', '{', '\n':
			count++
		}
	}
	return count
}

// piece is a part of a file: whole records.
type piece struct {
	data []byte
	// ends are the ends of the records in data.
	ends []int
	// line is the number of the first line.
	line int
	// tooLong: of the last record there is only the beginning.
	tooLong bool
	// unreadable are the records that are no sessions, err is why the file ends here
	// although it should go on.
	unreadable unreadable
	err        error
}

// splitter cuts a stream into pieces.
type splitter struct {
	*format
	name string
	in   *bufio.Reader
	// line is the number of the line that comes next.
	line int
}

func newSplitter(f *format, name string, r io.Reader) *splitter {
	return &splitter{format: f, name: name, in: bufio.NewReaderSize(r, blockSize), line: 1}
}

// next reads an empty piece. It reports whether another one follows.
func (s *splitter) next(p *piece) (more bool) {
	p.line = s.line
	for begin, passed := 0, 0; ; {
		part, err := s.in.ReadSlice('\n')
		// What is beyond the largest record, and white space around it, is passed over.
		if p.tooLong = len(p.data)-begin > s.max+blockSize; !p.tooLong {
			if cap(p.data)-len(p.data) < len(part) {
				p.data = slices.Grow(p.data, max(len(p.data), 2*blockSize))
			}
			p.data = append(p.data, part...)
		} else if passed += len(part); passed > maxIdle {
			p.err, err = fmt.Errorf("%s: %w", s.name, errIdle), io.EOF
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == nil:
			if s.line++; !s.ends(s.in) {
				continue
			}
		case !errors.Is(err, io.EOF):
			// What has been read whole counts; the record that broke off does not.
			p.err = fmt.Errorf("%s:%d: %w", s.name, s.line, err)
			p.data, p.tooLong = p.data[:begin], false
		}
		if len(p.data) > begin {
			begin = len(p.data)
			p.ends = append(p.ends, begin)
		}
		if err != nil || p.tooLong || len(p.data) >= blockSize {
			return err == nil
		}
	}
}

// large reports whether a record may take much memory, or time.
func large(record []byte) bool { return len(record) > maxValues/2 }
