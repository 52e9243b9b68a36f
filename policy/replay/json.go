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
	var errs []error
	for empty := true; ; empty = false {
		block, first, err := b.next(nil)
		switch {
		case errors.Is(err, io.EOF) && empty:
			return noLine(name)
		case errors.Is(err, io.EOF):
			return errors.Join(errs...)
		}
		errs = append(errs, fresh.block(block, first, each), err)
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
func (d *lineDecoder) block(block []byte, first int, each func(*Session)) error {
	var errs []error
	number := first - 1
	for line := range bytes.Lines(block) {
		number++
		s, err := d.line(bytes.TrimSpace(line), number)
		if err != nil {
			errs = append(errs, err)
		} else if s != nil {
			each(s)
		}
	}
	return errors.Join(errs...)
}

// line reads one line; nothing of an empty one.
func (d *lineDecoder) line(line []byte, number int) (*Session, error) {
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
	if err != nil {
		err = jsonError(line, err)
	} else {
		err = s.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", d.name, number, err)
	}
	s.name()
	return s, nil
}
