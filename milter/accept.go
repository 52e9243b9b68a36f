package milter

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"milterd/milter/door"
)

// guard stands between the sockets and the go-milter library. The library has
// no recover in its goroutines and trusts what it reads, so one malformed
// frame would end the process and a length prefix alone would make it allocate
// half a gigabyte. A guarded connection lets only whole, bounded and
// well-formed frames through.
//
// The guard also limits the number of connections, survives temporary errors of
// Accept, and knows which connections are idle, which a shutdown needs.
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

	// refusal keeps a flood of refused connections from flooding the log.
	refusal rate.Sometimes
}

// refusalInterval is how often the log tells of refused connections.
const refusalInterval = 10 * time.Second

// admit takes a new connection in, or closes it when there are too many.
//
// A connection above the limit is accepted and closed at once rather than left
// waiting in the backlog: sendmail then answers 451 right away (with F=T) and
// the client comes back later. Left waiting, every such SMTP client would hang
// for sendmail's time-out, hold one more sendmail process, and get the same
// 451 at the end.
func (g *guard) admit(raw net.Conn) *guardedConn {
	g.counter.Connections.Add(1)
	c := &guardedConn{Conn: raw, guard: g, frames: frameChecker{limits: g.limits}}

	g.mu.Lock()
	refused := len(g.conns) >= g.max
	if !refused {
		g.conns[c] = struct{}{}
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
	*door.Listener
	guard *guard
}

func (g *guard) listener(ln net.Listener) *guardedListener {
	return &guardedListener{
		Listener: door.NewListener(ln, func(err error, pause time.Duration) {
			g.counter.AcceptErrors.Add(1)
			g.logger.Warn("accept milter connection, trying again", "error", err, "pause", pause)
		}),
		guard: g,
	}
}

// Accept returns the next connection within the limit. It returns an error
// only when the listener is closed or broken: an error here would end Serve.
func (l *guardedListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.guard.admit(raw); c != nil {
			return c, nil
		}
	}
}
