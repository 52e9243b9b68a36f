package socketmap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"milterd/milter/door"
)

const (
	// firstBuffer holds the usual request several times over.
	firstBuffer = 256
	// maxPending is how much of answers to pipelined requests is kept before it
	// is sent.
	maxPending = 4096
)

// conn is one connection from an MTA. All but endBy belongs to its goroutine.
type conn struct {
	server *Server
	raw    net.Conn

	in         []byte // read from the socket: in[start:end]
	start, end int
	out        []byte // answers that are not sent yet
	// seen: the server has been told of the client.
	seen   bool
	memory memory

	mu sync.Mutex
	// last is when the connection ends, once the server is shutting down.
	last time.Time
}

func newConn(s *Server, raw net.Conn) *conn {
	return &conn{server: s, raw: raw}
}

// serve answers request after request until the connection ends.
func (c *conn) serve() {
	defer c.server.remove(c)
	defer c.raw.Close()
	ctx := withMemory(c.server.ctx, &c.memory)
	for {
		r, err := c.next()
		if err != nil {
			c.ended(err)
			return
		}
		key := string(r.key)
		c.see(key)
		c.out = c.server.answer(ctx, string(r.name), key).append(c.out)
		c.memory.previous = key
		if len(c.out) < maxPending {
			continue
		}
		if err := c.flush(); err != nil {
			c.ended(err)
			return
		}
	}
}

// see tells the server of the client once its address is asked for. sendmail makes a
// connection for each of its clients.
func (c *conn) see(key string) {
	if c.seen || c.server.config.Seen == nil {
		return
	}
	if client := whoseKey(key); client.IsValid() {
		c.seen = true
		c.server.config.Seen(client)
	}
}

// whoseKey is the client that a key of any map is about, as far as it says.
func whoseKey(key string) netip.Addr {
	if client, ok := clientOf(key); ok {
		return client
	}
	if _, client := whoseQuestion(key); client.IsValid() {
		return client
	}
	k, _ := readKey(key)
	return k.client
}

// next returns the next request. Before it waits for the client, it sends the
// answers that the client may be waiting for.
func (c *conn) next() (request, error) {
	begun := false
	for {
		r, n, parseErr := parseRequest(c.in[c.start:c.end])
		if n > 0 {
			c.start += n
			return r, nil
		}
		if err := c.flush(); err != nil {
			return request{}, err
		}
		if parseErr != nil {
			return request{}, parseErr
		}
		if have := c.end - c.start; have == 0 {
			c.start, c.end = 0, 0
			if err := c.readBy(c.server.config.IdleTimeout); err != nil {
				return request{}, err
			}
		} else if !begun {
			begun = true
			if err := c.readBy(c.server.config.TransferTimeout); err != nil {
				return request{}, err
			}
		}
		if err := c.fill(); err != nil {
			return request{}, err
		}
	}
}

// readBy sets the time within which the client has to send something.
func (c *conn) readBy(within time.Duration) error {
	deadline := time.Now().Add(within)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last.IsZero() && c.last.Before(deadline) {
		deadline = c.last
	}
	return c.raw.SetReadDeadline(deadline)
}

// endBy lets the connection end at last, or with the answers it owes then.
func (c *conn) endBy(last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = last
	// If this fails, so do the reads.
	_ = c.raw.SetReadDeadline(last)
}

// fill reads once from the socket. The buffer grows as data arrives, never by
// what a length promises.
func (c *conn) fill() error {
	if c.start > 0 {
		c.end = copy(c.in, c.in[c.start:c.end])
		c.start = 0
	}
	if c.end == len(c.in) {
		grown := make([]byte, min(max(firstBuffer, 2*len(c.in)), maxRequest+maxAround))
		copy(grown, c.in)
		c.in = grown
	}
	n, err := c.raw.Read(c.in[c.end:])
	c.end += n
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	case c.end == 0:
		return err
	case errors.Is(err, io.EOF):
		return malformedError(fmt.Sprintf("ends after %d octets", c.end))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return malformedError(fmt.Sprintf("stops after %d octets", c.end))
	}
	return err
}

// flush sends the answers that are there.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	if err := c.raw.SetWriteDeadline(time.Now().Add(c.server.config.TransferTimeout)); err != nil {
		return err
	}
	_, err := c.raw.Write(c.out)
	c.out = c.out[:0]
	return err
}

// ended counts and logs a connection that ended for another reason than its client.
func (c *conn) ended(err error) {
	s := c.server
	if malformed := malformedError(""); errors.As(err, &malformed) {
		s.counter.Malformed.Add(1)
		s.notes.warn(s.logger, noteMalformed, "map connection closed", "error", err, "peer", door.PeerName(c.raw))
		return
	}
	if !errors.Is(err, io.EOF) {
		s.logger.Debug("map connection ended", "error", err, "peer", door.PeerName(c.raw))
	}
}
