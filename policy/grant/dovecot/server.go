package dovecot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/policy/grant"
	"milterd/policy/grant/httpserve"
)

// Source is the source of grants that were made of Dovecot's reports.
const Source = "dovecot"

type Config struct {
	// Granter is asked for a grant for each successful login.
	Granter grant.Granter
	// Secret is what requests must have, as in Dovecot's
	// auth_policy_server_api_header = Authorization: Bearer SECRET.
	Secret string
	// Logger is where failures are logged; default is nowhere.
	Logger *slog.Logger
}

// The bounds of what a peer can use.
const (
	maxBody        = 64 << 10
	maxHeader      = 16 << 10
	maxConnections = 256
	// maxUnauthenticated bounds the connections that have not shown the secret.
	maxUnauthenticated = maxConnections / 2
)

// timeouts are how long a connection is waited for.
type timeouts struct {
	// header bounds the header of a request, and so how long a connection may stay
	// that has not made one.
	header time.Duration
	// request bounds all of it, idle the time until the next one.
	request, idle time.Duration
	// forbidden bounds what is left of a request without the secret.
	forbidden time.Duration
}

// Server answers Dovecot. It is an http.Handler.
type Server struct {
	granter grant.Granter
	logger  *slog.Logger
	// digest is the hash of what the Authorization field must be, so that a comparison
	// takes the same time whatever it is compared to.
	digest          [sha256.Size]byte
	timeouts        timeouts
	count           counters
	unauthenticated unauthenticated
	// suspicious: the last request had no secret, or another.
	suspicious atomic.Bool
	// warned is when the log last told of reports that lack attributes, in Unix seconds.
	warned atomic.Int64
}

// counters count what a Server has done since it began: see Register.
type counters struct {
	allows, reports, logins, failed, unsuccessful, ignored, forbidden, malformed atomic.Uint64
}

func (s *Server) Register(r prometheus.Registerer) {
	n := &s.count
	for kind, n := range map[string]*atomic.Uint64{"allow": &n.allows, "report": &n.reports, "forbidden": &n.forbidden, "malformed": &n.malformed} {
		grant.Counter(r, "milterd_dovecot_requests_total", "Requests to the Dovecot auth policy server, by kind; forbidden: without the secret.", prometheus.Labels{"kind": kind}, n.Load)
	}
	for kind, n := range map[string]*atomic.Uint64{"login": &n.logins, "unsuccessful": &n.unsuccessful, "ignored": &n.ignored} {
		grant.Counter(r, "milterd_dovecot_reports_total", "Logins that Dovecot reported; unsuccessful: they failed, ignored: not of POP or IMAP, without an address or a name, of a proxy or of an account with nologin.", prometheus.Labels{"kind": kind}, n.Load)
	}
	grant.Counter(r, "milterd_dovecot_failed_grants_total", "Logins that Dovecot reported and the store could not take.", nil, n.failed.Load)
}

func New(c Config) (*Server, error) {
	if c.Granter == nil || c.Secret == "" {
		return nil, errors.New("dovecot policy server: no keeper of the grants, or no secret")
	}
	return &Server{
		granter: c.Granter, logger: cmp.Or(c.Logger, slog.New(slog.DiscardHandler)),
		digest:   sha256.Sum256([]byte(strings.TrimRight("Bearer "+c.Secret, " \t"))),
		timeouts: timeouts{header: 5 * time.Second, request: 10 * time.Second, idle: 2 * time.Minute, forbidden: time.Second},
	}, nil
}

// Serve answers on a listener until ctx ends, then lets requests under way finish, and
// closes it. It returns nil if that was why it ended. A listener that others than this
// machine can reach is closed at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if addr := ln.Addr(); !local(addr) {
		ln.Close()
		return fmt.Errorf("dovecot policy server: %s is not a loopback address; whoever reaches it could make this server relay", addr)
	}
	server := &http.Server{
		Handler: s,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		ConnState:         s.unauthenticated.watch,
		ReadHeaderTimeout: s.timeouts.header,
		ReadTimeout:       s.timeouts.request,
		WriteTimeout:      s.timeouts.request,
		IdleTimeout:       s.timeouts.idle,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
	}
	if err := httpserve.Serve(ctx, server, ln, maxConnections); err != nil {
		return fmt.Errorf("dovecot policy server: %w", err)
	}
	return nil
}

// unauthenticated are the connections that have not shown the secret, in the order in which
// they came. Every user of this machine may be able to connect: one who opens connections
// without end takes places away from others of these only, those that have waited longest
// first, and never from Dovecot.
type unauthenticated struct {
	mu    sync.Mutex
	conns []net.Conn
}

// watch is told of each connection that begins or ends.
func (u *unauthenticated) watch(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		u.mu.Lock()
		defer u.mu.Unlock()
		u.conns = append(u.conns, conn)
		if len(u.conns) > maxUnauthenticated {
			u.conns[0].Close()
			u.conns = u.conns[1:]
		}
	case http.StateClosed:
		u.remove(conn)
	}
}

func (u *unauthenticated) remove(conn net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conns = slices.DeleteFunc(u.conns, func(c net.Conn) bool { return c == conn })
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// local says whether an address can be reached from this machine only.
func local(addr net.Addr) bool {
	switch addr := addr.(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return addr.IP.IsLoopback()
	}
	return false
}
