package milter

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"milterd/milter/door"
)

// The read buffer begins at firstBuffer, which holds the frames of a usual session up to
// MAIL, and one that grew beyond keptBuffer is dropped when empty. So is one for answers
// beyond keptAnswer: that to OPTNEG is the longest, and never comes again.
const (
	firstBuffer = 1 << 10
	keptBuffer  = 64 << 10
	keptAnswer  = 128
)

// idleSlack is how much earlier than the library asks an idle connection may be given up.
// It spares the timer a change for each frame.
const idleSlack = time.Minute

// guardedConn is one connection from an MTA. Each Read first takes one whole
// frame off the socket and checks it, and Write sends a whole frame at once,
// which the library writes in two pieces. Read and Write and the deadlines
// belong to the library's goroutine; Close may come from anywhere.
type guardedConn struct {
	net.Conn
	guard  *guard
	frames frameChecker

	in         []byte // read from the socket: in[start:end]
	start, end int
	ready      int // bytes at in[start:] that are checked and not yet handed on
	failure    error

	out         []byte // an answer that is not complete yet
	lastCommand byte

	kept   kept
	number uint32 // key in guard.conns

	begun sync.Once // when the library serves it

	readDeadline  time.Time // what the library asked for
	armed         time.Time // what the socket has
	writeDeadline time.Time

	// Guarded by guard.mu.
	waiting   bool // for the first byte of a frame
	inMessage bool // between MAIL and the message's last answer
	closed    bool
}

// Read hands on checked frames only.
func (c *guardedConn) Read(p []byte) (int, error) {
	c.begun.Do(c.guard.underway.Done)
	if c.ready == 0 {
		for c.failure == nil && c.ready == 0 {
			c.failure = c.nextFrame()
		}
		if c.failure != nil {
			return 0, c.failure
		}
	}
	n := copy(p, c.in[c.start:c.start+c.ready])
	c.start += n
	c.ready -= n
	return n, nil
}

// nextFrame reads until a whole frame is in the buffer, and checks it. What the library
// need not see stays here. Its errors are final.
func (c *guardedConn) nextFrame() error {
	if c.start == c.end {
		if err := c.awaitFrame(); err != nil {
			return err
		}
	}
	frameDeadline := time.Time{}
	need := lengthBytes
	for {
		have := c.end - c.start
		if need == lengthBytes && have >= lengthBytes {
			length := frameLength(c.in[c.start:])
			if length == 0 {
				return c.malformed(malformedFrame(0, "no command"))
			}
			if uint64(length) > uint64(c.guard.limits.FrameBytes) {
				return c.malformed(malformedFrame(0, fmt.Sprintf("%d bytes, expected %d at most", length, c.guard.limits.FrameBytes)))
			}
			need = lengthBytes + int(length)
		}
		// The command says how long its frame may be, before the rest is waited for.
		if have > lengthBytes && need > lengthBytes+1+maxLineFrame && !mayBeLong(c.in[c.start+lengthBytes]) {
			return c.malformed(malformedFrame(c.in[c.start+lengthBytes], fmt.Sprintf("%d bytes, expected %d at most", need-lengthBytes, maxLineFrame+1)))
		}
		if have >= need && need > lengthBytes {
			break
		}
		if frameDeadline.IsZero() {
			frameDeadline = c.frameDeadline()
			if err := c.arm(frameDeadline); err != nil {
				return err
			}
		}
		if err := c.fill(); err != nil {
			return c.cutShort(err, c.end-c.start)
		}
	}
	frame := c.in[c.start+lengthBytes : c.start+need]
	if err := c.frames.check(frame[0], frame[1:]); err != nil {
		return c.malformed(err)
	}
	if c.keeps(frame) {
		c.start += need
		return nil
	}
	c.ready = need
	c.arrived(frame)
	return nil
}

// keeps reports whether a frame is kept for the session, and not handed on.
func (c *guardedConn) keeps(frame []byte) bool {
	switch {
	case frame[0] == cmdMacro:
		c.kept.macros.take(frame[1:])
	case frame[0] == cmdHeader && c.kept.quiet:
		if c.inMessage && c.kept.wanted {
			c.kept.field(frame[1:])
		}
	default:
		return false
	}
	return true
}

// awaitFrame waits for the first bytes of a frame. Between messages this is
// where a connection idles, and where a shutdown may close it.
func (c *guardedConn) awaitFrame() error {
	if len(c.in) > keptBuffer {
		c.in = nil
	}
	c.start, c.end = 0, 0
	if early := c.readDeadline.Sub(c.armed); early < 0 || early > idleSlack {
		if err := c.arm(c.readDeadline); err != nil {
			return err
		}
	}

	g := c.guard
	g.mu.Lock()
	leave := g.closeIdle && !c.inMessage
	c.waiting = !leave
	g.mu.Unlock()
	if leave {
		return io.EOF
	}
	err := c.fill()
	g.mu.Lock()
	c.waiting = false
	g.mu.Unlock()
	return err
}

func (c *guardedConn) arm(deadline time.Time) error {
	c.armed = deadline
	return c.Conn.SetReadDeadline(deadline)
}

// frameDeadline is when the frame that has begun must be complete: the
// library's own deadline, or sooner.
func (c *guardedConn) frameDeadline() time.Time {
	deadline := time.Now().Add(c.guard.limits.FrameTime)
	if !c.readDeadline.IsZero() && c.readDeadline.Before(deadline) {
		return c.readDeadline
	}
	return deadline
}

// fill reads once from the socket. The buffer grows as data arrives, never by
// what a length prefix promises.
func (c *guardedConn) fill() error {
	if c.start > 0 && c.end == len(c.in) {
		c.end = copy(c.in, c.in[c.start:c.end])
		c.start = 0
	}
	if c.end == len(c.in) {
		size := max(firstBuffer, 2*len(c.in))
		grown := make([]byte, min(size, lengthBytes+c.guard.limits.FrameBytes))
		copy(grown, c.in[:c.end])
		c.in = grown
	}
	n, err := c.Conn.Read(c.in[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// cutShort judges an error in the middle of a frame. A peer that stalls or
// ends there has sent a malformed frame.
func (c *guardedConn) cutShort(err error, have int) error {
	switch {
	case errors.Is(err, io.EOF):
		return c.malformed(malformedFrame(0, fmt.Sprintf("ends after %d bytes", have)))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return c.malformed(malformedFrame(0, fmt.Sprintf("stalls after %d bytes", have)))
	}
	return err
}

func (c *guardedConn) malformed(err error) error {
	c.guard.counter.Malformed.Add(1)
	c.guard.logger.Warn("milter connection closed", "error", err, "peer", door.PeerName(c.Conn))
	c.Close()
	return err
}

// arrived keeps track of the message in progress, by what the MTA sends.
func (c *guardedConn) arrived(frame []byte) {
	command := frame[0]
	c.lastCommand = command
	switch command {
	case cmdNegotiate:
		numberOffer(frame[1:], c.number)
	case cmdMail:
		c.kept.macros.forget(stepRcpt)
		c.setInMessage(true)
	case cmdRcpt:
		c.kept.macros.forget(stepData)
	case cmdNewConn:
		c.kept.macros.forget(stepConnect)
		c.setInMessage(false)
	case cmdConnect, cmdHelo, cmdAbort, cmdQuit:
		c.setInMessage(false)
	}
}

// answered does the same by what milterd answers.
func (c *guardedConn) answered(answer byte) {
	switch answer {
	case answerDiscard:
		c.setInMessage(false)
	case answerAccept, answerReject, answerTempfail, answerReplyCode:
		// At RCPT these decide on the one recipient.
		if c.lastCommand != cmdRcpt {
			c.setInMessage(false)
		}
	case answerContinue:
		if c.lastCommand == cmdEndOfMsg {
			c.setInMessage(false)
		}
	}
}

func (c *guardedConn) setInMessage(in bool) {
	if !in {
		c.kept.macros.forget(stepMail)
	}
	c.guard.mu.Lock()
	c.inMessage = in
	c.guard.mu.Unlock()
}

// Write sends p once it completes an answer.
func (c *guardedConn) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	if len(c.out) <= lengthBytes || len(c.out)-lengthBytes < int(frameLength(c.out)) {
		return len(p), nil
	}
	if err := c.Conn.SetWriteDeadline(c.writeDeadline); err != nil {
		return 0, err
	}
	c.answered(c.out[lengthBytes])
	if c.out[lengthBytes] == cmdNegotiate {
		numberOffer(c.out[lengthBytes+1:], 0)
	}
	_, err := c.Conn.Write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > keptAnswer {
		c.out = nil
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetReadDeadline is kept for the next read from the socket: the library sets
// and clears it for every frame, but most frames are in the buffer already. The one
// second that it gives the first frame is too little for an MTA on a busy machine.
func (c *guardedConn) SetReadDeadline(t time.Time) error {
	if c.lastCommand == 0 {
		t = time.Now().Add(c.guard.limits.FrameTime)
	}
	c.readDeadline = t
	return nil
}

// SetWriteDeadline is kept for the next write to the socket.
func (c *guardedConn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline = t
	return nil
}

// Close closes the connection, once.
func (c *guardedConn) Close() error {
	g := c.guard
	g.mu.Lock()
	closed := c.closed
	c.closed = true
	delete(g.conns, c.number)
	g.mu.Unlock()
	if closed {
		return nil
	}
	defer g.open.Done()
	return c.Conn.Close()
}
