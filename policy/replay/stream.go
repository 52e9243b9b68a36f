package replay

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Stream replays the sessions of many files on several cores. Sessions are read in
// blocks, which are worked on side by side and collected in the order of the
// files. Only so many blocks are under way at a time, so the memory it takes does not
// grow with the number of sessions.
//
// R is what comes of a block: a report, counts.
type Stream[R any] struct {
	// Forms are the forms of input that are understood besides session files.
	Forms []Form
	// Workers is how many sessions are worked on at a time; 0 is 1.
	Workers int
	// New makes an R. There are a few for each worker, which are used again.
	New func() R
	// Each works on one session, in one of several goroutines. The session is good
	// until it returns.
	Each func(R, *Session)
	// Collect takes what came of a block, with what could not be read of it: of a file
	// the first 20 mistakes one by one, and the number of the others. It empties R for the
	// next one. It is called by Run, in the order of the input; if it fails, Run ends.
	Collect func(R, error) error

	// keep: sessions stay good.
	keep bool
	read atomic.Int64
	// stopped: Collect has failed.
	stopped atomic.Bool
	// free are the blocks that can be used again, work those with something to do, order
	// has all of them in the order of the files.
	free, work, order chan *block[R]
	// large is held while large sessions are worked on: one at a time, however many
	// workers there are.
	large sync.Mutex
}

// Read is how many bytes of the files have been read up to now.
func (s *Stream[R]) Read() int64 { return s.read.Load() }

// block is a part of a file on its way from the reader to Collect.
type block[R any] struct {
	piece
	file *file
	// sessions is what a file of a further form holds, in place of data; count is how
	// many sessions there were.
	sessions []*Session
	count    int
	// last: the file has no further block.
	last   bool
	result R
	// done has an element when the result is there.
	done chan struct{}
}

const (
	// perWorker is how many blocks are under way for each worker: one that takes long
	// must not keep the others waiting at once.
	perWorker = 4
	// sessionsInBlock is how many sessions of a further form make a block.
	sessionsInBlock = 16
	// maxKept is the largest buffer that is kept for further blocks.
	maxKept = 1 << 20
)

// Run reads all inputs. It gives the first error of Collect.
func (s *Stream[R]) Run(inputs []Input) error {
	workers := max(s.Workers, 1)
	n := perWorker * workers
	s.free, s.work, s.order = make(chan *block[R], n), make(chan *block[R], n), make(chan *block[R], n)
	for range n {
		s.free <- &block[R]{result: s.New(), done: make(chan struct{}, 1)}
	}
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		defer close(s.work)
		defer close(s.order)
		for _, in := range inputs {
			if !s.stopped.Load() {
				s.readInput(in)
			}
		}
	})
	for range workers {
		group.Go(s.worker)
	}
	var failed error
	for b := range s.order {
		<-b.done
		err := b.file.collect(&b.piece, b.count, b.last)
		if failed == nil {
			failed = s.Collect(b.result, err)
			s.stopped.Store(failed != nil)
		}
		s.free <- b
	}
	return failed
}

// next is an empty block for a part of a file.
func (s *Stream[R]) next(f *file) *block[R] {
	b := <-s.free
	if cap(b.data) > maxKept {
		b.data = nil
	}
	b.file, b.piece, b.count, b.last = f, piece{data: b.data[:0], ends: b.ends[:0]}, 0, false
	return b
}

func (s *Stream[R]) hand(b *block[R], last bool) {
	b.last = last
	s.order <- b
	s.work <- b
}

// readInput cuts one file into blocks. What cannot be opened is a block too, with
// an error.
func (s *Stream[R]) readInput(in Input) {
	src, err := in.open(&s.read, s.Forms...)
	if err != nil {
		b := s.next(&file{name: in.Name, format: otherForm})
		b.err = err
		s.hand(b, true)
		return
	}
	defer src.close()
	f := &file{name: src.name, format: src.format}
	if src.form != nil {
		f.format = otherForm
		s.readForm(f, src)
		return
	}
	pieces := newSplitter(src.format, src.name, src.Reader)
	for more := true; more && !s.stopped.Load(); {
		b := s.next(f)
		more = pieces.next(&b.piece) && !f.enough.Load()
		s.hand(b, !more)
	}
}

// readForm hands over the sessions of a file of a further form, some at a time.
func (s *Stream[R]) readForm(f *file, src *source) {
	b := s.next(f)
	err := src.form.Read(src.name, src, func(session *Session) bool {
		b.sessions = append(b.sessions, session)
		if len(b.sessions) == sessionsInBlock {
			s.hand(b, false)
			b = s.next(f)
		}
		return !s.stopped.Load() && !f.enough.Load()
	})
	b.err = err
	s.hand(b, true)
}

func (s *Stream[R]) worker() {
	d := decoder{reused: new(Session)}
	if s.keep {
		d.reused = nil
	}
	for b := range s.work {
		d.format, d.name = b.file.format, b.file.name
		s.workOn(b, &d)
		b.done <- struct{}{}
	}
}

func (s *Stream[R]) workOn(b *block[R], d *decoder) {
	if large(b.data) {
		s.large.Lock()
		defer s.large.Unlock()
	}
	each := func(session *Session) {
		b.count++
		s.Each(b.result, session)
	}
	d.sessions(&b.piece, each)
	for _, session := range b.sessions {
		if err := session.check(); err != nil {
			b.unreadable.addf("%s:%d: %w", session.File, session.Line, err)
			continue
		}
		each(session)
	}
	clear(b.sessions)
	b.sessions = b.sessions[:0]
}

// file is one input, and what has come of it so far.
type file struct {
	name   string
	format *format
	// enough: no more of it is wanted.
	enough     atomic.Bool
	unreadable unreadable
	sessions   int
	failed     bool
	// idle is how many bytes have come since the last session.
	idle int
}

// Bounds of a file that holds something else than sessions.
const (
	maxIdle       = 16 << 20
	maxUnreadable = 100_000
)

// errIdle is why a file is left that has no session for so long.
var errIdle = fmt.Errorf("no session in %d bytes, the rest of the file is left out", maxIdle)

// collect takes the next piece, which has so many sessions, and gives what is to be said
// of it.
func (f *file) collect(p *piece, sessions int, last bool) error {
	err := errors.Join(f.unreadable.merge(p.unreadable), p.err)
	f.sessions += sessions
	f.failed = f.failed || err != nil
	if f.idle += len(p.data); sessions > 0 {
		f.idle = 0
	}
	switch {
	case last && f.sessions == 0 && !f.failed:
		return fmt.Errorf("%s:1: no session, expected %s", f.name, f.format.sessions)
	case last:
		return errors.Join(err, f.unreadable.rest(f.name))
	case f.enough.Load():
	case f.unreadable.count() > maxUnreadable:
		f.enough.Store(true)
		err = errors.Join(err, fmt.Errorf("%s: more than %d mistakes, the rest of the file is left out", f.name, maxUnreadable))
	case f.idle > maxIdle:
		f.enough.Store(true)
		err = errors.Join(err, fmt.Errorf("%s: %w", f.name, errIdle))
	}
	return err
}
