package milter

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// guard stands between the sockets and the go-milter library. The library has
// no recover in its goroutines and trusts what it reads, so one malformed
// frame would end the process and a length prefix alone would make it allocate
// half a gigabyte. A guarded connection lets only whole, bounded and
// well-formed frames through.
//
// The guard also limits the number of connections, survives passing Accept
// errors, and knows which connections are idle, which a shutdown needs.
type guard struct {
	limits  Limits
	max     int
	logger  *slog.Logger
	counter *counters

	mu    sync.Mutex
	conns map[*guardedConn]struct{}
	// closeIdle: connections that are not in the middle of a message are
	// closed as soon as they have nothing more to do.
	closeIdle bool
	// nextNote is when the connection limit may be logged again.
	nextNote time.Time
}

// limitNoteInterval keeps a flood of refused connections from flooding the log.
const limitNoteInterval = 10 * time.Second

// admit takes a new connection in, or closes it when there are too many.
//
// A connection above the limit is accepted and closed at once rather than left
// waiting in the backlog: sendmail then answers 451 right away (with F=T) and
// the client comes back later. Left waiting, every such SMTP client would hang
// for sendmail's time-out, hold one more sendmail process, and get the same
// 451 at the end.
func (g *guard) admit(raw net.Conn) *guardedConn {
	g.counter.connections.Add(1)
	c := &guardedConn{Conn: raw, guard: g, frames: frameChecker{limits: g.limits}}
	now := time.Now()

	g.mu.Lock()
	refused := len(g.conns) >= g.max
	note := refused && !now.Before(g.nextNote)
	if note {
		g.nextNote = now.Add(limitNoteInterval)
	}
	if !refused {
		g.conns[c] = struct{}{}
	}
	g.mu.Unlock()

	if !refused {
		return c
	}
	g.counter.refused.Add(1)
	if note {
		g.logger.Warn("milter connection refused: too many connections", "limit", g.max, "peer", peerName(raw))
	}
	if err := raw.Close(); err != nil {
		g.logger.Debug("close refused milter connection", "error", err)
	}
	return nil
}

func (g *guard) active() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// releaseIdle closes every connection that is not in the middle of a message,
// and the others when they come to that point.
func (g *guard) releaseIdle() {
	g.mu.Lock()
	g.closeIdle = true
	var idle []*guardedConn
	for c := range g.conns {
		if c.waiting && !c.inMessage {
			idle = append(idle, c)
		}
	}
	g.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// guardedListener hands out guarded connections.
type guardedListener struct {
	net.Listener
	guard *guard
	done  chan struct{}
	once  sync.Once
}

func (g *guard) listener(ln net.Listener) *guardedListener {
	return &guardedListener{Listener: ln, guard: g, done: make(chan struct{})}
}

// The pause after an Accept error that will pass doubles from the first to the
// last of these.
const (
	firstAcceptPause = 5 * time.Millisecond
	lastAcceptPause  = time.Second
)

// Accept returns the next connection within the limit. It returns an error
// only when the listener is closed or broken: an error here would end Serve.
func (l *guardedListener) Accept() (net.Conn, error) {
	pause := firstAcceptPause
	for {
		raw, err := l.Listener.Accept()
		if err == nil {
			pause = firstAcceptPause
			if c := l.guard.admit(raw); c != nil {
				return c, nil
			}
			continue
		}
		if !isPassing(err) {
			return nil, err
		}
		l.guard.counter.acceptErrors.Add(1)
		l.guard.logger.Warn("accept milter connection, trying again", "error", err, "pause", pause)
		timer := time.NewTimer(pause)
		select {
		case <-l.done:
			timer.Stop()
			return nil, net.ErrClosed
		case <-timer.C:
		}
		pause = min(2*pause, lastAcceptPause)
	}
}

// Close stops Accept, also where it waits after an error.
func (l *guardedListener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.done)
		err = l.Listener.Close()
	})
	return err
}

// isPassing reports whether Accept may succeed later: the process or the
// system is short of something, or the client has gone (accept(2), "Error
// handling").
func isPassing(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR, syscall.EAGAIN,
		syscall.EPROTO, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EHOSTDOWN,
		syscall.ENONET, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH,
		syscall.EPERM, // a firewall rule forbids it
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// peerName names the other end for the log; the client end of a unix socket
// has no name.
func peerName(c net.Conn) string {
	addr := c.RemoteAddr()
	if addr == nil {
		return "unknown"
	}
	if name := addr.String(); name != "" && name != "@" {
		return name
	}
	return addr.Network()
}
