package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ReadJSON reads one JSON object a line; name stands in messages.
func ReadJSON(name string, r io.Reader, each func(*Session)) error {
	b := newBlocks(name, r)
	fresh := lineDecoder{name: name}
	var lines broken
	var failed error
	for empty := true; ; empty = false {
		block, first, err := b.next(nil)
		switch {
		case errors.Is(err, io.EOF) && empty:
			return noLine(name)
		case errors.Is(err, io.EOF):
			return errors.Join(lines.err(name), failed)
		}
		fresh.block(block, first, &lines, each)
		if errors.Is(err, errTooLong) {
			lines.add(err)
		} else if err != nil {
			failed = err
		}
	}
}

func noLine(name string) error {
	return fmt.Errorf("%s:1: no session, expected one JSON object a line", name)
}

// lineDecoder reads sessions out of lines.
type lineDecoder struct {
	name string
	// reused is the one session that all lines are read into, for those who have
	// done with a session when its turn is over; nil makes a new one for each.
	reused *Session
}

// block reads the lines of a block. A line that cannot be read is passed over.
func (d *lineDecoder) block(block []byte, first int, bad *broken, each func(*Session)) {
	number := first - 1
	for line := range bytes.Lines(block) {
		number++
		s, err := d.line(bytes.TrimSpace(line), number, bad.full())
		if err != nil {
			bad.add(err)
		} else if s != nil {
			each(s)
		}
	}
}

// line reads one line; nothing of an empty one. Where nobody reads what is wrong with
// it, it is not put in words, which takes longer than reading.
func (d *lineDecoder) line(line []byte, number int, wordless bool) (*Session, error) {
	if len(line) == 0 {
		return nil, nil
	}
	if len(line) > maxLine {
		return nil, tooLong(d.name, number)
	}
	s := d.reused
	if s == nil {
		s = new(Session)
	} else {
		// What the slices hold is written over.
		*s = Session{Messages: s.Messages[:0], Grants: s.Grants[:0], DNS: s.DNS[:0], Expect: s.Expect[:0]}
	}
	s.File, s.Line = d.name, number
	err := json.Unmarshal(line, s, json.RejectUnknownMembers(true), jsontext.AllowInvalidUTF8(true))
	switch {
	case err == nil:
		err = s.check()
	case !wordless:
		err = jsonError(line, err)
	}
	if err != nil && wordless {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", d.name, number, err)
	}
	s.name()
	return s, nil
}
