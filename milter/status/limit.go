package status

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// limitedPage bounds the connections of the status page. If too many have not asked yet, the
// oldest of them is closed: clients that say nothing cannot hold up the question whether
// milterd serves, which a service manager may answer with a restart.
type limitedPage struct {
	page http.Handler
	// busy has an element for each request other than for /healthz that is answered.
	busy chan struct{}

	mu sync.Mutex
	// silent are those that have no request under way: first those that have had an
	// answer, then the others, the oldest first.
	silent []net.Conn
}

type connKey struct{}

// bound bounds the connections of a server.
func bound(server *http.Server) {
	p := &limitedPage{page: server.Handler, busy: make(chan struct{}, maxConnections)}
	server.Handler = p
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			p.add(conn, false)
		case http.StateIdle:
			p.add(conn, true)
		case http.StateClosed, http.StateHijacked:
			p.remove(conn)
		}
	}
}

// add takes a connection in, and closes the first of the silent ones if there are too many.
// One that has had an answer, all of it (what a handler writes is sent after its end), is
// the next to go.
func (p *limitedPage) add(conn net.Conn, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	place := len(p.silent)
	if answered {
		place = 0
	}
	p.silent = slices.Insert(p.silent, place, conn)
	if len(p.silent) > maxConnections {
		// It fails if the client has gone.
		_ = p.silent[0].Close()
		p.silent = p.silent[1:]
	}
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
		select {
		case p.busy <- struct{}{}:
			defer func() { <-p.busy }()
		default:
			http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
			return
		}
	}
	p.page.ServeHTTP(w, request)
}
