package milter

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"milterd/milter/door"
)

// guard stands between the sockets and the go-milter library. The library trusts what it
// reads: one malformed frame would end the process, and a length prefix alone would make it
// allocate half a gigabyte. A guarded connection lets only whole, bounded and well-formed
// frames through. The guard also limits the number of connections, survives temporary errors
// of Accept, and knows which connections are idle, which a shutdown needs.
type guard struct {
	limits  Limits
	max     int
	logger  *slog.Logger
	counter *counters

	mu sync.Mutex
	// conns are the open connections by their number, which is not 0.
	conns     map[uint32]*guardedConn
	last      uint32 // number of the last connection
	listeners []*guardedListener
	// draining: no further connection is accepted.
	draining bool
	// underway counts the calls of Accept, and the connections that it has returned
	// and the library has not begun to serve.
	underway sync.WaitGroup
	// open counts the open connections.
	open sync.WaitGroup
	// closeIdle: connections that are not in the middle of a message are
	// closed as soon as they have nothing more to do.
	closeIdle bool

	// refusal keeps a flood of refused connections from flooding the log.
	refusal rate.Sometimes
}

// refusalInterval is how often the log tells of refused connections.
const refusalInterval = 10 * time.Second

// admit takes a new connection in, or closes it when there are too many.
//
// Closed at once, sendmail answers its client 451 right away (with F=T). Left waiting in the
// backlog, every such client would hang for sendmail's time-out, and get the same 451.
func (g *guard) admit(raw net.Conn) *guardedConn {
	g.counter.Connections.Add(1)
	c := &guardedConn{Conn: raw, guard: g, frames: frameChecker{limits: g.limits}}

	g.mu.Lock()
	refused := len(g.conns) >= min(g.max, maxNumber)
	if !refused {
		c.number = g.nextNumber()
		g.conns[c.number] = c
		g.open.Add(1)
		g.underway.Add(1)
	}
	g.mu.Unlock()

	if !refused {
		return c
	}
	g.counter.Refused.Add(1)
	g.refusal.Do(func() {
		g.logger.Warn("milter connection refused: too many connections", "limit", g.max, "peer", door.PeerName(raw))
	})
	if err := raw.Close(); err != nil {
		g.logger.Debug("close refused milter connection", "error", err)
	}
	return nil
}

func (g *guard) nextNumber() uint32 {
	for {
		g.last = g.last%maxNumber + 1
		if _, taken := g.conns[g.last]; !taken {
			return g.last
		}
	}
}

// numbered is the connection with a number, nil if it is not open.
func (g *guard) numbered(n uint32) *guardedConn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns[n]
}

func (g *guard) active() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// stopAccepting closes the listeners and returns when the library serves all
// connections that were accepted. Had it begun to shut down before, it would close
// those that it does not serve yet.
func (g *guard) stopAccepting() {
	g.mu.Lock()
	g.draining = true
	for _, l := range g.listeners {
		l.Listener.Close()
	}
	g.mu.Unlock()
	g.underway.Wait()
}

// accepting counts a call of Accept, unless there shall be none any more.
func (g *guard) accepting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.draining {
		g.underway.Add(1)
	}
	return !g.draining
}

func (g *guard) drains() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining
}

// releaseIdle closes every connection that is not in the middle of a message,
// and the others when they come to that point.
func (g *guard) releaseIdle() {
	g.mu.Lock()
	g.closeIdle = true
	var idle []*guardedConn
	for _, c := range g.conns {
		if c.waiting && !c.inMessage {
			idle = append(idle, c)
		}
	}
	g.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

type guardedListener struct {
	*door.Listener
	guard *guard
}

func (g *guard) listener(ln net.Listener) *guardedListener {
	l := &guardedListener{
		Listener: door.NewListener(ln, func(err error, pause time.Duration) {
			g.counter.AcceptErrors.Add(1)
			g.logger.Warn("accept milter connection, trying again", "error", err, "pause", pause)
		}),
		guard: g,
	}
	g.mu.Lock()
	g.listeners = append(g.listeners, l)
	g.mu.Unlock()
	return l
}

// Accept returns the next connection within the limit. It returns an error
// only when the listener is closed or broken: an error here would end Serve.
func (l *guardedListener) Accept() (net.Conn, error) {
	for l.guard.accepting() {
		c, err := l.accept()
		if c != nil {
			return c, nil
		}
		if err != nil && !l.guard.drains() {
			return nil, err
		}
	}
	return nil, net.ErrClosed
}

func (l *guardedListener) accept() (net.Conn, error) {
	defer l.guard.underway.Done()
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if c := l.guard.admit(raw); c != nil {
		return c, nil
	}
	return nil, nil
}
