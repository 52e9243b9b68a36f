package dryrun

import (
	"bufio"
	"cmp"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// mostHeld is how much is sorted in memory, in octets. What is beyond goes to temporary
// files of that size.
const mostHeld = 64 << 20

// dated is something of a time, in microseconds of Unix time.
type dated struct {
	At   int64
	Data []byte
}

// byTime sorts any number of things by their time, in bounded memory. Those of the same
// time stay in their order.
type byTime struct {
	most, size int
	held       []dated
	files      []*os.File
}

// perDated is what keeping one takes besides its data, in octets.
const perDated = 40

func (t *byTime) add(d dated) error {
	t.held = append(t.held, d)
	if t.size += perDated + len(d.Data); t.size < t.most {
		return nil
	}
	if err := t.spill(); err != nil {
		return fmt.Errorf("sort messages by time: %w", err)
	}
	return nil
}

func (t *byTime) spill() error {
	file, err := os.CreateTemp("", "milterd-check-")
	if err != nil {
		return err
	}
	t.files = append(t.files, file)
	// It goes with this process, however that ends.
	if err := os.Remove(file.Name()); err != nil {
		return err
	}
	t.sort()
	w := bufio.NewWriterSize(file, 256<<10)
	to := gob.NewEncoder(w)
	for _, d := range t.held {
		if err := to.Encode(d); err != nil {
			return err
		}
	}
	t.held, t.size = t.held[:0], 0
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = file.Seek(0, io.SeekStart)
	return err
}

func (t *byTime) sort() {
	slices.SortStableFunc(t.held, func(a, b dated) int { return cmp.Compare(a.At, b.At) })
}

// sorted are things that are in order, in a file or in memory. next reads the one behind
// first into it; io.EOF after the last.
type sorted struct {
	first dated
	next  func(first *dated) error
}

func (t *byTime) each(take func(dated) error) error {
	var all []*sorted
	goOn := func(s *sorted) error {
		err := s.next(&s.first)
		if errors.Is(err, io.EOF) {
			all = slices.DeleteFunc(all, func(other *sorted) bool { return other == s })
			return nil
		}
		return err
	}
	add := func(next func(*dated) error) error {
		all = append(all, &sorted{next: next})
		return goOn(all[len(all)-1])
	}
	for _, file := range t.files {
		from := gob.NewDecoder(bufio.NewReaderSize(file, 64<<10))
		if err := add(func(d *dated) error { *d = dated{}; return from.Decode(d) }); err != nil {
			return err
		}
	}
	t.sort()
	rest := t.held
	if err := add(func(d *dated) error {
		if len(rest) == 0 {
			return io.EOF
		}
		*d, rest = rest[0], rest[1:]
		return nil
	}); err != nil {
		return err
	}
	for len(all) > 0 {
		// Of the same time the one that was added first.
		earliest := slices.MinFunc(all, func(a, b *sorted) int { return cmp.Compare(a.first.At, b.first.At) })
		if err := errors.Join(take(earliest.first), goOn(earliest)); err != nil {
			return err
		}
	}
	return nil
}

func (t *byTime) close() error {
	var err error
	for _, file := range t.files {
		err = errors.Join(err, file.Close())
	}
	return err
}
