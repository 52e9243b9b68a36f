package status

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// limitedPage bounds the connections of the status page. Connections that have not asked
// yet never keep others waiting: the oldest of them is closed when there are too many. So
// clients that connect and say nothing cannot hold up the question whether milterd
// serves, which a service manager may answer with a restart.
type limitedPage struct {
	page http.Handler

	mu sync.Mutex
	// silent are those that have no request under way: first those that have had an
	// answer, then the others, the oldest first.
	silent []net.Conn
	// busy is how many requests other than for /healthz are answered.
	busy int
}

// connKey finds the connection of a request.
type connKey struct{}

// bound bounds the connections of a server.
func bound(server *http.Server) {
	p := &limitedPage{page: server.Handler}
	server.Handler = p
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.silent = append(p.silent, conn)
			p.close()
		case http.StateIdle:
			p.answered(conn)
		case http.StateClosed, http.StateHijacked:
			p.remove(conn)
		}
	}
}

// close closes the first of the silent connections if there are too many.
func (p *limitedPage) close() {
	if len(p.silent) > maxConnections {
		// It fails if the client has gone.
		_ = p.silent[0].Close()
		p.silent = p.silent[1:]
	}
}

// answered takes back a connection that has had an answer, all of it: what a handler
// writes is sent after its end. It is the next to go, before those that have not had one.
func (p *limitedPage) answered(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = slices.Insert(p.silent, 0, conn)
	p.close()
}

func (p *limitedPage) remove(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = slices.DeleteFunc(p.silent, func(other net.Conn) bool { return other == conn })
}

// ServeHTTP hands on as many requests at a time as there may be connections. The answer
// about the health is short and waits for nothing, so it is always given.
func (p *limitedPage) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if conn, ok := request.Context().Value(connKey{}).(net.Conn); ok {
		p.remove(conn)
	}
	if request.URL.Path != "/healthz" {
		if !p.begin() {
			http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
			return
		}
		defer p.end()
	}
	p.page.ServeHTTP(w, request)
}

func (p *limitedPage) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy >= maxConnections {
		return false
	}
	p.busy++
	return true
}

func (p *limitedPage) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
}
