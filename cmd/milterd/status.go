package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// What a client of the status page may take up. The page is for a few programs
// that come every few seconds; connections beyond these wait.
const (
	statusConnections    = 16
	statusHeaderTimeout  = 5 * time.Second
	statusRequestTimeout = 10 * time.Second
	statusIdleTimeout    = 5 * time.Second
	statusMaxHeader      = 8 << 10
	// statusShutdown is how long an answer under way gets at the end.
	statusShutdown = time.Second
)

// statusPage tells other programs how milterd is, in numbers only: it names no
// client, no user and no secret. It answers
//
//	GET /healthz  200 "ok" while mail is decided, else 503 and a line that says why not
//	GET /metrics  the metrics, as Prometheus reads them
//
// and 404 or 405 to anything else.
type statusPage struct {
	// problem is why mail is not decided, empty while it is.
	problem func() string
	metrics http.Handler
}

// ServeHTTP answers one request.
func (p statusPage) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	answer := p.metrics
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

func (p statusPage) healthz(w http.ResponseWriter, _ *http.Request) {
	if problem := p.problem(); problem != "" {
		http.Error(w, problem, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// Whoever asked has gone if this fails.
	_, _ = w.Write([]byte("ok\n"))
}

// problem is why mail is not decided, in one line; empty while it is.
func problem(r *reloader, d *doors) string {
	if now := r.current.Load(); now == nil || now.Policy == nil {
		return "the policy is not loaded"
	}
	if name := d.shut.Load(); name != nil {
		return "the " + *name + " door is shut"
	}
	return ""
}

// statusServer serves the status page.
type statusServer struct {
	http    *http.Server
	logger  *slog.Logger
	running sync.WaitGroup
}

// serveStatus serves a page on listeners, of which there may be none, until shutdown.
func serveStatus(listeners []net.Listener, page http.Handler, logger *slog.Logger) *statusServer {
	s := &statusServer{
		http: &http.Server{
			Handler:           page,
			ReadHeaderTimeout: statusHeaderTimeout,
			ReadTimeout:       statusRequestTimeout,
			WriteTimeout:      statusRequestTimeout,
			IdleTimeout:       statusIdleTimeout,
			MaxHeaderBytes:    statusMaxHeader,
			// OPTIONS * is nothing special here.
			DisableGeneralOptionsHandler: true,
			ErrorLog:                     slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		},
		logger: logger,
	}
	for _, ln := range listeners {
		logger.Info("listening", "door", "status", "address", ln.Addr().Network()+":"+ln.Addr().String())
		s.running.Go(func() {
			// Mail does not depend on the page.
			if err := s.http.Serve(netutil.LimitListener(ln, statusConnections)); !errors.Is(err, http.ErrServerClosed) {
				logger.Error("the status page is gone; milterd goes on without it until it is restarted", "error", err)
			}
		})
	}
	return s
}

// shutdown lets answers under way finish, and ends the page.
func (s *statusServer) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), statusShutdown)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		// Those that have asked nothing yet count as well, so this is no news.
		s.logger.Debug("shut down the status page", "error", err)
		_ = s.http.Close()
	}
	s.running.Wait()
}
