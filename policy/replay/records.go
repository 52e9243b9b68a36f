package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

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
	// first finds where the first further record of data begins, last where the last
	// one does; 0 if there is none.
	first, last func(data []byte) int
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
		first:  func(data []byte) int { return bytes.IndexByte(data, '\n') + 1 },
		last:   func(data []byte) int { return bytes.LastIndexByte(data, '\n') + 1 },
		values: jsonValues,
	}
	yamlDocuments = &format{
		record: "document", sessions: "a YAML document", max: maxDocument,
		first: firstDocument, last: lastDocument, values: yamlValues,
	}
	// otherForm is that of a Form, which reads by itself.
	otherForm = &format{sessions: "a connection with a message"}
)

// marker begins a YAML document wherever it stands at the beginning of a line, with
// white space behind it (YAML 1.2 section 9.1.2).
var (
	marker  = []byte("\n---")
	newline = marker[:1]
)

func firstDocument(data []byte) int {
	for at := 0; ; {
		i := bytes.Index(data[at:], marker)
		if i < 0 {
			return 0
		}
		if at += i + 1; isMarker(data, at) {
			return at
		}
	}
}

func lastDocument(data []byte) int {
	for end := len(data); ; {
		end = bytes.LastIndex(data[:end], marker)
		if end < 0 || isMarker(data, end+1) {
			return end + 1
		}
	}
}

func isMarker(data []byte, at int) bool {
	behind := at + len(marker) - 1
	return behind < len(data) && bytes.IndexByte([]byte(" \t\r\n"), data[behind]) >= 0
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

// records takes data apart.
func (f *format) records(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			end := f.first(data)
			if end == 0 {
				end = len(data)
			}
			if !yield(data[:end]) {
				return
			}
			data = data[end:]
		}
	}
}

// piece is a part of a file: whole records.
type piece struct {
	data []byte
	// line is the number of the first line.
	line int
	// unreadable are the records that are no sessions, err is why the file ends here
	// although it should go on.
	unreadable unreadable
	err        error
}

// splitter cuts a stream into pieces.
type splitter struct {
	*format
	name string
	r    io.Reader
	// rest is the beginning of a record whose end has not been read yet.
	rest []byte
	// line is the number of the line that comes next.
	line int
	done bool
}

func newSplitter(f *format, name string, r io.Reader) *splitter {
	return &splitter{format: f, name: name, r: r, line: 1}
}

// next reads a piece, into the memory of the one before. It reports whether another
// one follows.
func (s *splitter) next(p *piece) bool {
	data := append(p.data[:0], s.rest...)
	s.rest = s.rest[:0]
	for !s.done {
		if len(data) >= blockSize {
			if whole := s.last(data); whole > 0 {
				s.rest = append(s.rest, data[whole:]...)
				return s.give(p, data[:whole])
			} else if len(data) > s.max {
				return s.skip(p, data)
			}
		}
		if len(data) == cap(data) {
			data = append(make([]byte, 0, max(blockSize, 2*len(data))), data...)
		}
		n, err := s.r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		s.done = err != nil
		if err != nil && !errors.Is(err, io.EOF) {
			// What has been read whole counts; the record that broke off does not.
			p.err = fmt.Errorf("%s:%d: %w", s.name, s.line+bytes.Count(data, newline), err)
			data = data[:s.last(data)]
		}
	}
	return s.give(p, data)
}

func (s *splitter) give(p *piece, data []byte) bool {
	p.data, p.line = data, s.line
	s.line += bytes.Count(data, newline)
	return !s.done
}

// skip reads on to the end of a record that is too long.
func (s *splitter) skip(p *piece, data []byte) bool {
	p.unreadable.add(s.tooLong(s.name, s.line))
	for skipped := 0; !s.done; {
		// A marker may have been read in part.
		kept := len(data) - len(marker)
		s.line += bytes.Count(data[:kept], newline)
		data = append(data[:0], data[kept:]...)
		n, err := s.r.Read(data[len(data):cap(data)])
		data, s.done = data[:len(data)+n], err != nil
		if skipped += n; skipped > maxIdle {
			p.err = fmt.Errorf("%s: %w", s.name, errIdle)
			s.done = true
		}
		if end := s.first(data); end > 0 {
			s.line += bytes.Count(data[:end], newline)
			s.rest = append(s.rest, data[end:]...)
			break
		}
	}
	return s.give(p, data[:0])
}

func (f *format) tooLong(name string, line int) error {
	return fmt.Errorf("%s:%d: %s of more than %d bytes", name, line, f.record, f.max)
}

// large reports whether a record may take much memory, or time.
func large(record []byte) bool { return len(record) > maxValues/2 }
