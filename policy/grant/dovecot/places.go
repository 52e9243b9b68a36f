package dovecot

import (
	"container/list"
	"context"
	"net"
	"sync"
)

// places bounds the connections of a listener, and keeps some for Dovecot whoever else
// connects. Every user of this machine may be able to: one who opens connections without
// end, and keeps them open, takes places away from others who have not shown the secret
// either, those that have waited longest first, and never from a connection that has.
type places struct {
	net.Listener
	max int

	mu   sync.Mutex
	open int
	// strangers are the connections without an authorised request, in the order in
	// which they came.
	strangers list.List
}

// place is the connection in one.
type place struct {
	net.Conn
	of *places
	// stranger is where it stands among the strangers, nil where it does not; taken
	// is set until it is given up.
	stranger *list.Element
	taken    bool
}

// Accept waits for a connection, and makes a place for it. Where all places belong to
// connections with the secret, which Dovecot alone has no use for, the new one is closed.
func (p *places) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := p.take(conn); c != nil {
			return c, nil
		}
		conn.Close()
	}
}

func (p *places) take(conn net.Conn) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open >= p.max {
		oldest := p.strangers.Front()
		if oldest == nil {
			return nil
		}
		given := oldest.Value.(*place)
		given.leave()
		// The server finds out when it reads, and closes it again.
		given.Conn.Close()
	}
	c := &place{Conn: conn, of: p, taken: true}
	c.stranger = p.strangers.PushBack(c)
	p.open++
	return c
}

// leave gives the place up. The caller holds the lock.
func (c *place) leave() {
	if !c.taken {
		return
	}
	c.taken = false
	c.of.open--
	c.known()
}

// known takes the connection from the strangers. The caller holds the lock.
func (c *place) known() {
	if c.stranger != nil {
		c.of.strangers.Remove(c.stranger)
		c.stranger = nil
	}
}

// Close closes the connection, and gives its place up.
func (c *place) Close() error {
	c.of.mu.Lock()
	c.leave()
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets the server wait for the peer to read the answer before it closes a
// connection whose request it did not read to the end.
func (c *place) CloseWrite() error {
	if conn, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return conn.CloseWrite()
	}
	return nil
}

// placeKey is the key of a request's place in its context.
type placeKey struct{}

func withPlace(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, placeKey{}, conn)
}

// keepPlace says that a request of the connection had the secret.
func keepPlace(ctx context.Context) {
	if c, ok := ctx.Value(placeKey{}).(*place); ok {
		c.of.mu.Lock()
		c.known()
		c.of.mu.Unlock()
	}
}
