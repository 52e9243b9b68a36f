package dryrun

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
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
	at   int64
	data []byte
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
	if t.size += perDated + len(d.data); t.size < t.most {
		return nil
	}
	return t.spill()
}

// spill writes what is held to a file, sorted.
func (t *byTime) spill() error {
	file, err := os.CreateTemp("", "milterd-check-")
	if err != nil {
		return fmt.Errorf("sort messages by time: %w", err)
	}
	t.files = append(t.files, file)
	// It goes with this process, however that ends.
	if err := os.Remove(file.Name()); err != nil {
		return err
	}
	t.sort()
	w := bufio.NewWriterSize(file, 256<<10)
	var head []byte
	for _, d := range t.held {
		head = binary.AppendUvarint(binary.AppendVarint(head[:0], d.at), uint64(len(d.data)))
		// The error of a write is that of Flush, too.
		_, _ = w.Write(head)
		_, _ = w.Write(d.data)
	}
	t.held, t.size = t.held[:0], 0
	if err := w.Flush(); err != nil {
		return fmt.Errorf("sort messages by time: %w", err)
	}
	_, err = file.Seek(0, io.SeekStart)
	return err
}

func (t *byTime) sort() {
	slices.SortStableFunc(t.held, func(a, b dated) int { return cmp.Compare(a.at, b.at) })
}

// each calls take with all things, the earliest first.
func (t *byTime) each(take func(dated) error) error {
	t.sort()
	var all runs
	for i, file := range t.files {
		r := &sorted{place: i, from: bufio.NewReaderSize(file, 64<<10)}
		if err := r.next(); err != nil {
			return err
		}
		all = append(all, r)
	}
	if len(t.held) > 0 {
		r := &sorted{place: len(t.files), rest: t.held}
		if err := r.next(); err != nil {
			return err
		}
		all = append(all, r)
	}
	heap.Init(&all)
	for len(all) > 0 {
		if err := take(all[0].first); err != nil {
			return err
		}
		switch err := all[0].next(); {
		case errors.Is(err, io.EOF):
			heap.Pop(&all)
		case err != nil:
			return err
		default:
			heap.Fix(&all, 0)
		}
	}
	return nil
}

// close gives the files up.
func (t *byTime) close() error {
	var err error
	for _, file := range t.files {
		err = errors.Join(err, file.Close())
	}
	return err
}

// sorted are things that are in order, in a file or in memory.
type sorted struct {
	place int
	first dated
	from  *bufio.Reader
	rest  []dated
}

// next goes on to the next thing; io.EOF after the last.
func (r *sorted) next() error {
	if r.from == nil {
		if len(r.rest) == 0 {
			return io.EOF
		}
		r.first, r.rest = r.rest[0], r.rest[1:]
		return nil
	}
	at, err := binary.ReadVarint(r.from)
	if err != nil {
		return err
	}
	size, err := binary.ReadUvarint(r.from)
	if err != nil {
		return err
	}
	r.first = dated{at, make([]byte, size)}
	_, err = io.ReadFull(r.from, r.first.data)
	return err
}

// runs is a heap.Interface.
type runs []*sorted

func (r runs) Len() int { return len(r) }
func (r runs) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(r[i].first.at, r[j].first.at), cmp.Compare(r[i].place, r[j].place)) < 0
}
func (r runs) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r *runs) Push(x any)   { *r = append(*r, x.(*sorted)) }
func (r *runs) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}
