package socketmap

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"milterd/milter/door"
	"milterd/policy/access"
)

const (
	// readAhead is what is read at a time: the usual request several times over.
	readAhead = 256
	// maxPending is how much of answers to pipelined requests is kept before it
	// is sent.
	maxPending = 4096
)

// conn is one connection from an MTA. All but last belongs to its goroutine.
type conn struct {
	server *Server
	raw    net.Conn

	in  *bufio.Reader // reads from conn
	out []byte        // answers that are not sent yet
	// within is how long the client has from the next read on; 0: no longer than it had.
	within time.Duration
	// seen: the server has been told of the client.
	seen   bool
	memory memory

	mu sync.Mutex
	// last is when the connection ends, once the server is shutting down.
	last time.Time
}

func (c *conn) serve() {
	defer c.server.remove(c)
	defer c.raw.Close()
	c.in = bufio.NewReaderSize(c, readAhead)
	ctx := withMemory(c.server.ctx, &c.memory)
	var r request
	for {
		if err := c.next(&r); err != nil {
			// What was asked before it is answered; if that fails, so did the reading.
			_ = c.flush()
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

func (c *conn) next(r *request) error {
	c.within = c.server.config.IdleTimeout
	if _, err := c.in.Peek(1); err != nil {
		return err
	}
	c.within = c.server.config.TransferTimeout
	return r.read(c.in)
}

// Read reads from the socket. Before it waits for the client, it sends the answers that the
// client may be waiting for.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	if c.within > 0 {
		if err := c.readBy(time.Now().Add(c.within)); err != nil {
			return 0, err
		}
		c.within = 0
	}
	return c.raw.Read(p)
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

// readBy sets when the client has to have sent something.
func (c *conn) readBy(deadline time.Time) error {
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
		s.Counters.Malformed.Add(1)
		s.malformed.warn(s.logger, "map connection closed", "error", err, "peer", door.PeerName(c.raw))
		return
	}
	if !errors.Is(err, io.EOF) {
		s.logger.Debug("map connection ended", "error", err, "peer", door.PeerName(c.raw))
	}
}

// memory is what a connection remembers of its look-ups. sendmail has a process, and so a
// connection, for each of its clients.
type memory struct {
	// previous is the key that was asked for before.
	previous string
	// question is the last one about a recipient, nil before it.
	question *question
}

type memoryKey struct{}

func withMemory(ctx context.Context, m *memory) context.Context {
	return context.WithValue(ctx, memoryKey{}, m)
}

// memoryOf is the memory of the connection that a look-up came on; one that came on none
// has an empty one.
func memoryOf(ctx context.Context) *memory {
	if m, ok := ctx.Value(memoryKey{}).(*memory); ok {
		return m
	}
	return new(memory)
}

// shortened reports whether sendmail has made a key of the one before by taking the
// last part of an IPv6 address away (ruleset A). With UseCompressedIPv6Addresses the
// rest can read as another address: IPv6:2001:db8::1:8 becomes IPv6:2001:db8::1,
// which is no client's.
func shortened(ctx context.Context, key string) bool {
	previous := memoryOf(ctx).previous
	return strings.Contains(previous, "::") && strings.HasPrefix(addressIn(previous), addressIn(key)+":")
}

func addressIn(key string) string {
	key = access.Fold(key)
	if i := strings.Index(key, "ipv6:"); i >= 0 {
		return key[i:]
	}
	return key
}
