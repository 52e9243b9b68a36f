package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// Stream replays the sessions of many files on several cores. Sessions are read in
// blocks, which are worked on side by side and collected in the order of the
// files. Only so many blocks are under way at a time, and all buffers are used
// again, so the memory it takes does not grow with the number of sessions; but a
// YAML file is held whole.
//
// R is what comes of a block: a report, counts.
type Stream[R any] struct {
	// Forms are the forms of input that are understood besides session files.
	Forms []Form
	// Workers is how many sessions are worked on at a time; 1 where it is 0.
	Workers int
	// New makes an R. There are a few for each worker, which are used again.
	New func() R
	// Each works on one session, in one of several goroutines. The session is good
	// until it returns.
	Each func(R, *Session)
	// Collect takes what came of a block, with what could not be read of it: of a file
	// the first 20 lines one by one, and the number of the others. It empties R for the next one. It is called by Run, in the order of the input;
	// where it fails, Run ends.
	Collect func(R, error) error

	read atomic.Int64
}

// Read is how many bytes of the files have been read up to now.
func (s *Stream[R]) Read() int64 { return s.read.Load() }

// block is a part of a file on its way from the reader to Collect.
type block[R any] struct {
	name  string
	json  bool
	data  []byte
	first int
	// sessions is what a file of a further form holds, in place of data.
	sessions []*Session
	// broken are lines of data that cannot be read, err is what went wrong behind it.
	broken broken
	err    error
	// last: the file has no further block.
	last   bool
	result R
	// done has an element when the result is there.
	done chan struct{}
}

// perWorker is how many blocks are under way for each worker: one that takes long
// must not keep the others waiting at once.
const perWorker = 4

// sessionsInBlock is how many sessions of a further form make a block.
const sessionsInBlock = 16

// maxKept is the largest buffer that is kept for further blocks.
const maxKept = 1 << 20

// Run reads all inputs. It gives the first error of Collect.
func (s *Stream[R]) Run(inputs []Input) error {
	workers := max(s.Workers, 1)
	free := make(chan *block[R], perWorker*workers)
	for range cap(free) {
		free <- &block[R]{result: s.New(), done: make(chan struct{}, 1)}
	}
	work, order := make(chan *block[R], cap(free)), make(chan *block[R], cap(free))
	var stopped atomic.Bool
	var group sync.WaitGroup
	group.Go(func() {
		defer close(work)
		defer close(order)
		hand := func(b *block[R]) {
			order <- b
			work <- b
		}
		for _, in := range inputs {
			if stopped.Load() {
				return
			}
			s.readInput(in, &stopped, free, hand)
		}
	})
	for range workers {
		group.Go(func() {
			reused := new(Session)
			for b := range work {
				s.workOn(b, reused)
				b.done <- struct{}{}
			}
		})
	}
	var failed error
	var lines broken
	for b := range order {
		<-b.done
		err := errors.Join(lines.merge(b.broken), b.err)
		if b.last {
			err = errors.Join(err, lines.rest(b.name))
			lines = broken{}
		}
		if failed == nil {
			if failed = s.Collect(b.result, err); failed != nil {
				stopped.Store(true)
			}
		}
		b.broken, b.last = broken{}, false
		if cap(b.data) > maxKept {
			b.data = nil
		}
		free <- b
	}
	group.Wait()
	return failed
}

// readInput cuts one file into blocks. What cannot be opened is a block too, with
// an error.
func (s *Stream[R]) readInput(in Input, stopped *atomic.Bool, free <-chan *block[R], hand func(*block[R])) {
	src, err := in.open(&s.read, s.Forms...)
	if err != nil {
		b := <-free
		b.name, b.json, b.data, b.err, b.last = in.Name, true, b.data[:0], err, true
		hand(b)
		return
	}
	defer src.Close()
	in.Name = src.name
	if src.form != nil {
		s.readForm(in.Name, src, stopped, free, hand)
		return
	}
	if !src.json {
		b := <-free
		b.name, b.json, b.last = in.Name, false, true
		b.data, b.err = readWhole(in.Name, src, b.data[:0])
		hand(b)
		return
	}
	lines := newBlocks(in.Name, src)
	for empty := true; !stopped.Load(); empty = false {
		b := <-free
		b.name, b.json = in.Name, true
		b.data, b.first, b.err = lines.next(b.data)
		end := errors.Is(b.err, io.EOF)
		b.last = end
		if end && empty {
			b.err = noLine(in.Name)
		} else if end {
			b.err = nil
		} else if errors.Is(b.err, errTooLong) {
			// The block holds nothing else.
			b.broken.add(b.err)
			b.err = nil
		}
		hand(b)
		if end {
			return
		}
	}
}

// readForm hands over the sessions of a file of a further form, some at a time.
func (s *Stream[R]) readForm(name string, src *source, stopped *atomic.Bool, free <-chan *block[R], hand func(*block[R])) {
	fresh := func() *block[R] {
		b := <-free
		b.name, b.json, b.data, b.err = name, true, b.data[:0], nil
		return b
	}
	b := fresh()
	err := src.form.Read(name, src, func(session *Session) bool {
		b.sessions = append(b.sessions, session)
		if len(b.sessions) == sessionsInBlock {
			hand(b)
			b = fresh()
		}
		return !stopped.Load()
	})
	b.err, b.last = err, true
	hand(b)
}

// workOn reads the sessions of a block and works on them.
func (s *Stream[R]) workOn(b *block[R], reused *Session) {
	each := func(session *Session) { s.Each(b.result, session) }
	if len(b.sessions) > 0 {
		checked(b.sessions, &b.broken, each)
		clear(b.sessions)
		b.sessions = b.sessions[:0]
		return
	}
	if b.json {
		lines := lineDecoder{name: b.name, reused: reused}
		lines.block(b.data, b.first, &b.broken, each)
		return
	}
	data := b.data
	if b.err != nil {
		// The document that broke off may look whole.
		data = data[:bytes.LastIndex(data, []byte("\n---"))+1]
	}
	if b.err == nil || len(data) > 0 {
		b.err = errors.Join(decodeYAML(b.name, data, each), b.err)
	}
}

// checked hands over the sessions that can be.
func checked(sessions []*Session, bad *broken, each func(*Session)) {
	for _, session := range sessions {
		if err := session.check(); err != nil {
			bad.add(fmt.Errorf("%s:%d: %w", session.File, session.Line, err))
			continue
		}
		session.name()
		each(session)
	}
}

// readWhole reads a YAML file into buf.
func readWhole(name string, r io.Reader, buf []byte) ([]byte, error) {
	into := bytes.NewBuffer(buf)
	if _, err := into.ReadFrom(io.LimitReader(r, maxYAML+1)); err != nil {
		return into.Bytes(), fmt.Errorf("%s:%d: %w", name, 1+bytes.Count(into.Bytes(), newline), err)
	}
	if into.Len() > maxYAML {
		return buf, fmt.Errorf("%s:1: more than %d bytes, expected one object a line in a .jsonl file for so many sessions", name, maxYAML)
	}
	return into.Bytes(), nil
}
