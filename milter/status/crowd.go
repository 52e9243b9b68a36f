package status

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// crowd bounds the connections of the status page. Connections that have not asked yet
// never keep others waiting: the oldest of them is closed when there are too many. So
// clients that connect and say nothing cannot hold up the question whether milterd
// serves, which a service manager may answer with a restart.
type crowd struct {
	page http.Handler

	mu sync.Mutex
	// silent are those that have no request under way: those that have had an answer, then the others, the oldest
	// first.
	silent []net.Conn
	// busy is how many requests other than for /healthz are answered.
	busy int
}

// connKey finds the connection of a request.
type connKey struct{}

// bound puts a crowd between a server and its page.
func bound(server *http.Server) {
	c := &crowd{page: server.Handler}
	server.Handler = c
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			c.mu.Lock()
			defer c.mu.Unlock()
			c.silent = append(c.silent, conn)
			c.close()
		case http.StateIdle:
			c.answered(conn)
		case http.StateClosed, http.StateHijacked:
			c.remove(conn)
		}
	}
}

// close closes the first of the silent connections if there are too many.
func (c *crowd) close() {
	if len(c.silent) > maxConnections {
		// It fails if the client has gone.
		_ = c.silent[0].Close()
		c.silent = c.silent[1:]
	}
}

// answered takes back a connection that has had an answer, all of it: what a handler
// writes is sent after its end. It is the next to go, before those that have not had one.
func (c *crowd) answered(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = slices.Insert(c.silent, 0, conn)
	c.close()
}

func (c *crowd) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = slices.DeleteFunc(c.silent, func(other net.Conn) bool { return other == conn })
}

// ServeHTTP hands on as many requests at a time as there may be connections. The answer
// about the health is short and waits for nothing, so it is always given.
func (c *crowd) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if conn, ok := request.Context().Value(connKey{}).(net.Conn); ok {
		c.remove(conn)
	}
	if request.URL.Path != "/healthz" {
		if !c.begin() {
			http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
			return
		}
		defer c.end()
	}
	c.page.ServeHTTP(w, request)
}

func (c *crowd) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy >= maxConnections {
		return false
	}
	c.busy++
	return true
}

func (c *crowd) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
}
