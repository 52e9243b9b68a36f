package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"milterd/policy/grant"
	"milterd/policy/grant/httpserve"
)

// Source is what grants made by hand name as their source.
const Source = "control"

// maxHeader bounds the header of a request, in octets.
const maxHeader = 8 << 10

// Keeper has the grants. *grant.Keeper is the one that milterd uses.
type Keeper interface {
	grant.Granter
	Revoke(context.Context, netip.Addr) (bool, error)
	RevokeUser(context.Context, string) (int, error)
	List(context.Context, func(grant.Grant) bool) error
}

// Config is what a Server needs. Keeper is required.
type Config struct {
	Keeper Keeper
	// Limits answers what is asked about limits; nil: nothing is.
	Limits Limits
	// Logger gets a line for each change and who made it, and what goes wrong.
	// Default: none.
	Logger *slog.Logger
	// MaxConnections limits the connections open at once; others wait. Default: 16.
	MaxConnections int
	// Timeout is how long a client may take for a request, for its answer and until
	// the next request. Default: one minute.
	Timeout time.Duration
}

// Server answers requests. Its methods are safe for concurrent use.
type Server struct {
	config Config
	logger *slog.Logger
}

// NewServer makes a server that listens nowhere yet.
func NewServer(config Config) *Server {
	config.MaxConnections = cmp.Or(config.MaxConnections, 16)
	config.Timeout = cmp.Or(config.Timeout, time.Minute)
	return &Server{config: config, logger: cmp.Or(config.Logger, slog.New(slog.DiscardHandler))}
}

// Serve takes connections from ln until ctx ends. It then lets each finish the
// change it has begun, but no list, and returns nil. It closes ln, and takes unix
// sockets only.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if network := ln.Addr().Network(); network != "unix" {
		ln.Close()
		return fmt.Errorf("control requests on %s: a %s socket does not know who connects, expected a unix socket", ln.Addr(), network)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /grants", s.list)
	mux.HandleFunc("PUT /grants/{addr}", s.grant)
	mux.HandleFunc("DELETE /grants/{addr}", s.revoke)
	mux.HandleFunc("DELETE /grants", s.revokeUser)
	if s.config.Limits != nil {
		mux.HandleFunc("GET /limits", s.listLimits)
		mux.HandleFunc("PUT /limits/blocked", s.block)
		mux.HandleFunc("DELETE /limits/blocked", s.release)
	}
	server := &http.Server{
		Handler:     mux,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, conn.RemoteAddr())
		},
		ReadTimeout:    s.config.Timeout,
		WriteTimeout:   s.config.Timeout,
		IdleTimeout:    s.config.Timeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
	}
	return httpserve.Serve(ctx, server, peerListener{ln, s.logger}, s.config.MaxConnections)
}

// list answers GET /grants.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/jsonl")
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	told := 0
	var writeErr error
	err := s.config.Keeper.List(r.Context(), func(g grant.Grant) bool {
		g.Since, g.Expires = g.Since.UTC().Truncate(time.Second), g.Expires.UTC().Truncate(time.Second)
		writeErr = lines.Encode(g)
		told++
		return writeErr == nil
	})
	switch {
	case err != nil && told == 0:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case err != nil || writeErr != nil:
		panic(http.ErrAbortHandler) // net/http's way to break off an answer
	}
}

// grant answers PUT /grants/ADDR.
func (s *Server) grant(w http.ResponseWriter, r *http.Request) {
	addr, ok := address(w, r)
	user := r.URL.Query().Get("user")
	if !ok || user != "" && !validUser(w, user) {
		return
	}
	result, err := s.config.Keeper.Login(change(r), grant.Login{Addr: addr, User: user, Source: Source})
	s.log(r, "grant", addr, user, result.Decision.String(), err)
	refusal := fmt.Sprintf("%s: %s", result.Decision, result.Reason)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case result.Decision == grant.Granted || result.Decision == grant.Renewed:
		fmt.Fprintf(w, "%s %s until %s\n", result.Decision, addr, result.Grant.Expires.UTC().Format(time.RFC3339))
	case result.Decision == grant.Full:
		http.Error(w, refusal, http.StatusServiceUnavailable)
	default:
		http.Error(w, refusal, http.StatusForbidden)
	}
}

// revoke answers DELETE /grants/ADDR.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	addr, ok := address(w, r)
	if !ok {
		return
	}
	held, err := s.config.Keeper.Revoke(change(r), addr)
	s.log(r, "revoke", addr, "", fmt.Sprintf("held: %t", held), err)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case !held:
		http.Error(w, addr.String()+" has no grant", http.StatusNotFound)
	default:
		fmt.Fprintf(w, "revoked %s\n", addr)
	}
}

// revokeUser answers DELETE /grants?user=USER.
func (s *Server) revokeUser(w http.ResponseWriter, r *http.Request) {
	user := r.URL.Query().Get("user")
	if user == "" {
		http.Error(w, "expected DELETE /grants/ADDR or DELETE /grants?user=USER", http.StatusBadRequest)
		return
	}
	if !validUser(w, user) {
		return
	}
	n, err := s.config.Keeper.RevokeUser(change(r), user)
	s.log(r, "revoke-user", netip.Addr{}, user, grants(n), err)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case n == 0:
		http.Error(w, fmt.Sprintf("%q has no grants", user), http.StatusNotFound)
	default:
		fmt.Fprintf(w, "revoked %s of %q\n", grants(n), user)
	}
}

// change is the context of a change, which is finished once it has begun. The keeper
// bounds its time.
func change(r *http.Request) context.Context { return context.WithoutCancel(r.Context()) }

// address reads the address in the path, or answers that it is none.
func address(w http.ResponseWriter, r *http.Request) (netip.Addr, bool) {
	text := r.PathValue("addr")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		http.Error(w, fmt.Sprintf("%.64q is not an IP address", text), http.StatusBadRequest)
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// validUser says whether a name can be a user's, or answers why not.
func validUser(w http.ResponseWriter, user string) bool {
	if err := grant.ValidUser(user); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// log tells of a request that changes grants or limits.
func (s *Server) log(r *http.Request, command string, addr netip.Addr, user, outcome string, err error) {
	what := "relay grants by hand"
	if command == "block" || command == "release" {
		what = "limits by hand"
	}
	who, _ := r.Context().Value(peerKey{}).(peer)
	attrs := []any{"uid", who.uid, "pid", who.pid, "command", command}
	if addr.IsValid() {
		attrs = append(attrs, "client", addr)
	}
	if user != "" {
		attrs = append(attrs, "user", user)
	}
	if err != nil {
		s.logger.Error(what, append(attrs, "error", err)...)
		return
	}
	s.logger.Info(what, append(attrs, "outcome", outcome)...)
}

// grants is a number of grants in words.
func grants(n int) string {
	if n == 1 {
		return "1 grant"
	}
	return fmt.Sprintf("%d grants", n)
}
