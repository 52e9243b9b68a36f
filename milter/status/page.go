// Package status tells other programs how milterd is. It reads what others count and
// decides nothing. It also asks at the doors of a milterd that runs, as sendmail does.
package status

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// What a client of the status page may take up. The page is for a few programs
// that come every few seconds.
const (
	// maxConnections is how many may be silent, and how many requests are answered at a time.
	maxConnections = 16
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	idleTimeout    = 5 * time.Second
	maxHeader      = 8 << 10
	// shutdownTime is how long an answer under way gets at the end.
	shutdownTime = time.Second
)

// Page tells how milterd is in numbers only: it names no client, no user and no secret. It answers
//
//	GET /healthz  200 "ok" while mail is decided, else 503 and a line that says why not
//	GET /metrics  the metrics, as Prometheus reads them
//
// and 404 or 405 to anything else.
type Page struct {
	// Problem says in one line why mail is not decided, empty while it is.
	Problem func() string
	Metrics http.Handler
}

// ServeHTTP answers one request.
func (p Page) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	answer := p.Metrics
	switch request.URL.Path {
	case "/metrics":
	case "/healthz":
		answer = http.HandlerFunc(p.healthz)
	default:
		http.Error(w, "not found: expected /healthz or /metrics", http.StatusNotFound)
		return
	}
	if request.Method != http.MethodGet && request.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	// A proxy that keeps an answer would tell how milterd was.
	w.Header().Set("Cache-Control", "no-store")
	answer.ServeHTTP(w, request)
}

func (p Page) healthz(w http.ResponseWriter, _ *http.Request) {
	if problem := p.Problem(); problem != "" {
		http.Error(w, problem, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// It fails if the client has gone.
	_, _ = w.Write([]byte("ok\n"))
}

// Server serves the page.
type Server struct {
	http    *http.Server
	logger  *slog.Logger
	running sync.WaitGroup
}

// Serve serves a page on listeners, of which there may be none, until Shutdown.
func Serve(listeners []net.Listener, page http.Handler, logger *slog.Logger) *Server {
	s := &Server{
		http: &http.Server{
			Handler:           page,
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       requestTimeout,
			WriteTimeout:      requestTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			// OPTIONS * is nothing special here.
			DisableGeneralOptionsHandler: true,
			ErrorLog:                     slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		},
		logger: logger,
	}
	bound(s.http)
	for _, ln := range listeners {
		logger.Info("listening", "door", "status", "address", ln.Addr().Network()+":"+ln.Addr().String())
		s.running.Go(func() {
			// Mail does not depend on the page.
			if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				logger.Error("the status page is gone; milterd goes on without it until it is restarted", "error", err)
			}
		})
	}
	return s
}

// Shutdown lets answers under way finish, and ends the page.
func (s *Server) Shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		// Those that have asked nothing yet count as well, so this is no news.
		s.logger.Debug("shut down the status page", "error", err)
		_ = s.http.Close()
	}
	s.running.Wait()
}
