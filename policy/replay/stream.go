package replay

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Stream replays the sessions of many files on several cores. Sessions are read in
// blocks, which are worked on side by side and collected in the order of the
// files. Only so many blocks are under way at a time, and all buffers are used
// again, so the memory it takes does not grow with the number of sessions.
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
	// the first 20 records one by one, and the number of the others. It empties R for the
	// next one. It is called by Run, in the order of the input; if it fails, Run ends.
	Collect func(R, error) error

	// keep: sessions stay good.
	keep bool
	read atomic.Int64
	// large is held while large sessions are worked on: one at a time, however many
	// workers there are.
	large sync.Mutex
}

// Read is how many bytes of the files have been read up to now.
func (s *Stream[R]) Read() int64 { return s.read.Load() }

// block is a part of a file on its way from the reader to Collect.
type block[R any] struct {
	piece
	name   string
	format *format
	// sessions is what a file of a further form holds, in place of data; count is how
	// many sessions there were.
	sessions []*Session
	count    int
	// last: the file has no further block. enough is set when nothing more of it is
	// wanted.
	last   bool
	enough *atomic.Bool
	result R
	// done has an element when the result is there.
	done chan struct{}
}

// empty makes a block ready for another part of a file.
func (b *block[R]) empty(name string, f *format, enough *atomic.Bool) {
	if cap(b.data) > maxKept {
		b.data = nil
	}
	b.name, b.format, b.piece, b.count, b.last, b.enough = name, f, piece{data: b.data[:0]}, 0, false, enough
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
				if s.keep {
					reused = nil
				}
				s.workOn(b, reused)
				b.done <- struct{}{}
			}
		})
	}
	var failed error
	var file fileSummary
	for b := range order {
		<-b.done
		err := file.add(&b.piece, b.count)
		if why := file.enough(); why != "" && !b.last && !b.enough.Swap(true) {
			err = errors.Join(err, fmt.Errorf("%s: %s, the rest of the file is left out", b.name, why))
		}
		if b.last {
			err = errors.Join(err, file.end(b.name, b.format))
			file = fileSummary{}
		}
		if failed == nil {
			if failed = s.Collect(b.result, err); failed != nil {
				stopped.Store(true)
			}
		}
		free <- b
	}
	group.Wait()
	return failed
}

// fileSummary is what has come of a file so far.
type fileSummary struct {
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

// add takes the next piece, which has so many sessions, and gives what is wrong with it.
func (f *fileSummary) add(p *piece, sessions int) error {
	err := errors.Join(f.unreadable.merge(p.unreadable), p.err)
	f.sessions += sessions
	f.failed = f.failed || err != nil
	if f.idle += len(p.data); sessions > 0 {
		f.idle = 0
	}
	return err
}

// enough says why no more of the file is wanted.
func (f *fileSummary) enough() string {
	switch {
	case f.unreadable.count() > maxUnreadable:
		return fmt.Sprintf("more than %d mistakes", maxUnreadable)
	case f.idle > maxIdle:
		return withoutSession
	}
	return ""
}

var withoutSession = fmt.Sprintf("no session in %d bytes", maxIdle)

// end is what is to be said at the end of a file.
func (f *fileSummary) end(name string, as *format) error {
	if f.sessions == 0 && !f.failed {
		return fmt.Errorf("%s:1: no session, expected %s", name, as.sessions)
	}
	return f.unreadable.rest(name)
}

// readInput cuts one file into blocks. What cannot be opened is a block too, with
// an error.
func (s *Stream[R]) readInput(in Input, stopped *atomic.Bool, free <-chan *block[R], hand func(*block[R])) {
	enough := new(atomic.Bool)
	src, err := in.open(&s.read, s.Forms...)
	if err != nil {
		b := <-free
		b.empty(in.Name, otherForm, enough)
		b.err, b.last = err, true
		hand(b)
		return
	}
	defer src.close()
	if src.form != nil {
		s.readForm(src, stopped, enough, free, hand)
		return
	}
	pieces := newSplitter(src.format, src.name, src)
	for more := true; more && !stopped.Load(); {
		b := <-free
		b.empty(src.name, src.format, enough)
		more = pieces.next(&b.piece) && !enough.Load()
		b.last = !more
		hand(b)
	}
}

// readForm hands over the sessions of a file of a further form, some at a time.
func (s *Stream[R]) readForm(src *source, stopped, enough *atomic.Bool, free <-chan *block[R], hand func(*block[R])) {
	fresh := func() *block[R] {
		b := <-free
		b.empty(src.name, otherForm, enough)
		return b
	}
	b := fresh()
	err := src.form.Read(src.name, src, func(session *Session) bool {
		b.sessions = append(b.sessions, session)
		if len(b.sessions) == sessionsInBlock {
			hand(b)
			b = fresh()
		}
		return !stopped.Load() && !enough.Load()
	})
	b.err, b.last = err, true
	hand(b)
}

// workOn reads the sessions of a block and works on them.
func (s *Stream[R]) workOn(b *block[R], reused *Session) {
	if large(b.data) {
		s.large.Lock()
		defer s.large.Unlock()
	}
	d := decoder{format: b.format, name: b.name, reused: reused}
	each := func(session *Session) { s.Each(b.result, session) }
	b.count = d.sessions(&b.piece, each)
	for _, session := range b.sessions {
		if err := session.check(); err != nil {
			b.unreadable.addf("%s:%d: %w", session.File, session.Line, err)
			continue
		}
		b.count++
		each(session)
	}
	clear(b.sessions)
	b.sessions = b.sessions[:0]
}
