package traffic

import (
	"container/list"
	"errors"
	"fmt"
	"io"

	"milterd/policy/replay"
)

// Bounds of what is kept of all connections together.
const (
	// maxOpen is how many processes are followed at a time. sendmail serves far fewer
	// at once; but that a delivery has ended is not in the log.
	maxOpen = 16 << 10
	// maxKept is how many octets of commands and header fields are kept.
	maxKept = 64 << 20
)

// Form is the form of traffic logs, for replay.Stream.
func Form() replay.Form { return replay.Form{Recognise: recognise, Read: Read} }

// Read makes sessions of a traffic log and hands them over, in the order in which the
// connections end, until each is false. name stands in sessions and errors, which begin
// with FILE:LINE:. Connections without a message make no session.
func Read(name string, r io.Reader, each func(*replay.Session) bool) error {
	l, im := newLines(r), newImporter(name, each)
	for !im.stopped {
		e, err := l.next()
		if err != nil {
			im.finishAll()
			if errors.Is(err, io.EOF) {
				return im.err()
			}
			return errors.Join(fmt.Errorf("%s:%d: %w", name, l.number+1, err), im.err())
		}
		im.entry(e)
	}
	return nil
}

type importer struct {
	name string
	each func(*replay.Session) bool
	// stopped: each wants no more.
	stopped bool

	open map[int]*process
	// recent has the processes in the order in which they were last heard of.
	recent *list.List
	// kept is the sum of what the connections keep.
	kept int
	// unfinished is the process whose reply may go on in the line that comes next;
	// nil for none.
	unfinished *process

	// unknown counts connections with messages of an unknown client, the first of which
	// begins at line unknownLine.
	unknown, unknownLine int
	// maxOpen and maxKept are bounds, which tests make smaller.
	maxOpen, maxKept int
}

type process struct {
	pid int
	at  *list.Element
	// conn is the connection that it serves; nil for none.
	conn *connection
	// delivering: it speaks to another server, or runs a delivery agent.
	delivering bool
	// unconfirmed is what a greeting says that it wrote while it was delivering; see
	// connection.
	unconfirmed *replay.Connect
}

func newImporter(name string, each func(*replay.Session) bool) *importer {
	return &importer{
		name: name, each: each, open: make(map[int]*process), recent: list.New(),
		maxOpen: maxOpen, maxKept: maxKept,
	}
}

func (im *importer) entry(e entry) {
	unfinished := im.unfinished
	im.unfinished = nil
	if e.kind == other {
		// A filter's reply of several lines is one to sendmail.
		if unfinished != nil && parseReply(e.text).code == unfinished.conn.first.code {
			im.talk(unfinished, e)
		}
		return
	}
	p := im.open[e.pid]
	if p == nil {
		p = &process{pid: e.pid}
		p.at = im.recent.PushBack(p)
		im.open[e.pid] = p
	} else {
		im.recent.MoveToBack(p.at)
	}
	if p.serves(e) {
		im.talk(p, e)
	}
	for im.recent.Len() > im.maxOpen || im.kept > im.maxKept && im.recent.Len() > 1 {
		im.end(im.recent.Front().Value.(*process))
	}
}

// serves reports whether a line belongs to a connection that the process serves, and
// not to a delivery.
//
// While it delivers, what it writes is commands, and messages, whose text a client
// may have chosen: a line of such a text can look like a reply. What it reads is replies.
// So only a line that is read and is no reply tells that it serves again; with it, either
// the connection goes on, or another process has got the number.
func (p *process) serves(e entry) bool {
	isReply := parseReply(e.text).ok
	switch {
	case e.kind == delivers,
		e.kind == written && !isReply,
		e.kind == read && isReply && p.conn == nil:
		p.delivering = true
	case p.delivering:
		p.delivering = e.kind != read || isReply || isEnd(e.text)
	}
	if p.delivering && p.conn != nil {
		p.conn.interrupt()
	}
	if p.delivering && p.conn == nil && e.kind == written && isReply {
		if peer := parseGreeting(string(e.text)); peer != nil {
			p.unconfirmed = peer
		}
	}
	return !p.delivering
}

func (im *importer) talk(p *process, e entry) {
	if e.kind == written && p.isGreeted(parseReply(e.text)) {
		im.close(p)
		p.conn = &connection{line: e.line, kept: &im.kept, client: parseGreeting(string(e.text))}
	}
	if p.conn == nil {
		p.conn = &connection{line: e.line, kept: &im.kept, beginningMissing: true, unconfirmed: p.unconfirmed}
		p.unconfirmed = nil
	}
	c := p.conn
	if e.kind == read {
		c.hear(e)
	} else {
		c.say(parseReply(e.text))
	}
	switch {
	case c.ended:
		im.end(p)
	case c.next != nil:
		im.close(p)
		p.conn = c.next
	default:
		im.emit(p)
		if c.replying {
			im.unfinished = p
		}
	}
}

// isGreeted reports whether a reply begins a connection.
func (p *process) isGreeted(r reply) bool {
	if p.conn == nil {
		return r.code == 220 || r.code == 554 || r.code == 421
	}
	// 220 answers STARTTLS as well.
	return r.code == 220 && !p.conn.replying && !p.conn.awaits("STARTTLS")
}

func (im *importer) end(p *process) {
	im.close(p)
	im.recent.Remove(p.at)
	delete(im.open, p.pid)
}

func (im *importer) close(p *process) {
	if p.conn == nil {
		return
	}
	p.conn.finish()
	im.emit(p)
	p.conn.release()
	p.conn = nil
}

func (im *importer) emit(p *process) {
	for _, s := range p.conn.ready {
		if p.conn.client == nil {
			if im.unknown++; im.unknownLine == 0 {
				im.unknownLine = s.Line
			}
			continue
		}
		if im.stopped {
			break
		}
		s.File, s.ID, s.Connect = im.name, fmt.Sprintf("line-%d-pid-%d", s.Line, p.pid), *p.conn.client
		im.stopped = !im.each(s)
	}
	p.conn.ready = nil
}

func (im *importer) finishAll() {
	for im.recent.Len() > 0 {
		im.end(im.recent.Front().Value.(*process))
	}
}

func (im *importer) err() error {
	if im.unknown == 0 {
		return nil
	}
	return fmt.Errorf("%s:%d: connections that cannot be decided: %d; the first begins here, and nothing in the log says who its client is (no answer to EHLO or HELO)", im.name, im.unknownLine, im.unknown)
}
