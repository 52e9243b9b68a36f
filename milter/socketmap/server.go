package socketmap

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"milterd/milter/door"
	"milterd/policy/access"
	"milterd/policy/printable"
)

// DefaultMaxConnections is the connection limit if Config names none.
const DefaultMaxConnections = 4096

// DefaultIdleTimeout is how long a connection may be silent if Config does not say; see
// Connections in the package comment.
const DefaultIdleTimeout = 7210 * time.Second

// Config is what a Server needs. Maps is required.
type Config struct {
	// Maps are the maps by their names, those of the K lines in sendmail.cf.
	Maps map[string]Map
	// Seen is told the client of each connection, as far as sendmail asks about one. May
	// be nil.
	Seen func(client netip.Addr)
	// Logger gets what goes wrong, and at level Debug every look-up. Default: none.
	Logger *slog.Logger
	// MaxConnections limits the connections from MTAs open at once; sendmail
	// opens one for each SMTP client. Default: DefaultMaxConnections.
	MaxConnections int
	// IdleTimeout is how long a connection may be silent between two requests.
	// Default: DefaultIdleTimeout.
	IdleTimeout time.Duration
	// TransferTimeout is how long a client may take to send a request that it has
	// begun, and to take an answer. Default: 10 s.
	TransferTimeout time.Duration
	// IdleGrace is how long Shutdown goes on answering on open connections.
	// Default: 500 ms, enough for what has been asked already.
	IdleGrace time.Duration
}

// Server answers MTAs. Its methods are safe for concurrent use.
type Server struct {
	config Config
	logger *slog.Logger
	// Counters and Lookups, of all look-ups that were answered, are read while it serves.
	Counters door.Counters
	Lookups  atomic.Uint64
	lookups  *prometheus.CounterVec
	panics   door.PanicLog
	// unknown is what answers for all maps that there are not.
	maps    map[string]*servedMap
	unknown *servedMap
	// What a client can provoke is noted once in a while.
	refused, malformed, unknownName, unusable note

	// ctx is that of the look-ups.
	ctx    context.Context
	cancel context.CancelFunc

	// closing ends when Shutdown begins.
	closing context.Context
	close   context.CancelFunc

	mu        sync.Mutex // also held when closing ends
	conns     map[*conn]struct{}
	listeners []*door.Listener
	running   sync.WaitGroup // the connections, and the calls of Serve
}

// servedMap is a map, and how often it gave each status.
type servedMap struct {
	lookUp   Map
	statuses map[Status]prometheus.Counter
}

func (s *Server) newServedMap(name string, m Map) *servedMap {
	served := &servedMap{m, make(map[Status]prometheus.Counter)}
	for _, status := range []Status{OK, NotFound, Temp} {
		served.statuses[status] = s.lookups.WithLabelValues(name, string(status))
	}
	return served
}

func (s *Server) count(m *servedMap, status Status) {
	s.Lookups.Add(1)
	m.statuses[status].Inc()
}

// NewServer makes a server that listens nowhere yet.
func NewServer(config Config) *Server {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	config.MaxConnections = cmp.Or(config.MaxConnections, DefaultMaxConnections)
	config.IdleTimeout = cmp.Or(config.IdleTimeout, DefaultIdleTimeout)
	config.TransferTimeout = cmp.Or(config.TransferTimeout, 10*time.Second)
	config.IdleGrace = cmp.Or(config.IdleGrace, 500*time.Millisecond)
	s := &Server{
		config: config,
		logger: config.Logger,
		maps:   make(map[string]*servedMap, len(config.Maps)),
		conns:  make(map[*conn]struct{}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "milterd_map_lookups_total", Help: "Look-ups of sendmail's rules, by map (unknown: one that there is not) and answer.",
		}, []string{"map", "status"}),
	}
	for _, n := range []*note{&s.refused, &s.malformed, &s.unknownName, &s.unusable} {
		n.Interval = noteInterval
	}
	for name, m := range config.Maps {
		s.maps[name] = s.newServedMap(name, m)
	}
	names := strings.Join(slices.Sorted(maps.Keys(config.Maps)), ", ")
	s.unknown = s.newServedMap("unknown", func(context.Context, string) Answer { return Answer{Temp, "no map of this name, there are: " + names} })
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// Serve takes connections from ln until Shutdown, and then returns nil. It
// closes ln. It can be called for several listeners at once.
func (s *Server) Serve(ln net.Listener) error {
	listener := door.NewListener(ln, func(err error, pause time.Duration) {
		s.Counters.AcceptErrors.Add(1)
		s.logger.Warn("accept map connection, trying again", "error", err, "pause", pause)
	})
	defer listener.Close()
	if !s.begin(listener) {
		return nil
	}
	defer s.running.Done()
	for {
		raw, err := listener.Accept()
		if err != nil {
			if s.closing.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		s.admit(raw)
	}
}

// begin counts a call of Serve, unless there shall be none any more.
func (s *Server) begin(ln *door.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return false
	}
	s.listeners = append(s.listeners, ln)
	s.running.Add(1)
	return true
}

// admit begins to serve a connection, or closes it when there are too many. Closed
// at once, sendmail answers its SMTP client 451 without delay.
func (s *Server) admit(raw net.Conn) {
	s.Counters.Connections.Add(1)
	c := &conn{server: s, raw: raw}
	s.mu.Lock()
	refused := len(s.conns) >= s.config.MaxConnections
	if !refused {
		s.conns[c] = struct{}{}
		if s.closing.Err() != nil {
			// It was accepted just before; its client has asked, or is about to.
			c.endBy(time.Now().Add(s.config.IdleGrace))
		}
		s.running.Go(c.serve)
	}
	s.mu.Unlock()
	if refused {
		s.Counters.Refused.Add(1)
		s.refused.warn(s.logger, "map connection refused: too many connections", "limit", s.config.MaxConnections, "peer", door.PeerName(raw))
		raw.Close()
	}
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// Register has a registry read the server's counters.
func (s *Server) Register(r prometheus.Registerer) {
	s.Counters.Register(r, "map", s.active)
	r.MustRegister(s.lookups)
}

func (s *Server) active() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Shutdown stops accepting, goes on answering for Config.IdleGrace, and then closes
// each connection, one with look-ups to answer when they are answered. What is
// still open when ctx ends is cut off, and Shutdown returns ctx's error.
//
// sendmail asks about a message that is in progress, too: if both doors are to be shut,
// the filter door is shut first.
func (s *Server) Shutdown(ctx context.Context) error {
	last := time.Now().Add(s.config.IdleGrace)
	s.mu.Lock()
	s.close()
	// At once: what is accepted here from now on belongs to an SMTP client whose filter
	// connection waits for the next process.
	for _, ln := range s.listeners {
		ln.Close()
	}
	for c := range s.conns {
		c.endBy(last)
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.raw.Close()
	}
	s.mu.Unlock()
	// Only now, so that no look-up that it ends is answered.
	s.cancel()
	return fmt.Errorf("shut down the map server: %w", ctx.Err())
}

// answer looks one key up. ctx has the memory of its connection.
func (s *Server) answer(ctx context.Context, name, key string) Answer {
	m, ok := s.maps[name]
	if !ok {
		s.count(s.unknown, Temp)
		s.unknownName.warn(s.logger, "look-up in a map that does not exist", "map", shown(name))
		return s.unknown.lookUp(ctx, key)
	}
	a := s.lookup(ctx, m.lookUp, name, key)
	if problem := a.problem(); problem != "" {
		s.unusable.warn(s.logger, "an answer cannot be given: "+problem, "map", name, "key", shown(key))
		a = Answer{Temp, "an answer that cannot be given"}
	}
	s.count(m, a.Status)
	if s.logger.Enabled(s.ctx, slog.LevelDebug) {
		s.logger.Debug("map look-up", "map", name, "key", shown(key), "status", string(a.Status), "value", shown(access.Shown(key, a.Value)))
	}
	return a
}

// lookup asks the map and outlives its panics.
func (s *Server) lookup(ctx context.Context, m Map, name, key string) (a Answer) {
	defer func() {
		if value := recover(); value != nil {
			s.Counters.Panics.Add(1)
			s.panics.Log(s.logger, "map look-up panicked", value, "map", name, "key", shown(key))
			a = Answer{Temp, "internal error"}
		}
	}()
	return m(ctx, key)
}

// maxLogged is how much of a name or key the log shows.
const maxLogged = 256

func shown(text string) string { return printable.Short(text, maxLogged, "") }

// noteInterval keeps a flood of bad requests from flooding the log.
const noteInterval = 10 * time.Second

// note is a warning that is logged once in an interval.
type note struct {
	rate.Sometimes
	// count is how many there were since the last that was logged.
	count atomic.Uint64
}

func (n *note) warn(logger *slog.Logger, message string, attrs ...any) {
	n.count.Add(1)
	n.Do(func() {
		if count := n.count.Swap(0); count > 1 {
			attrs = append(attrs, "before", count-1)
		}
		logger.Warn(message, attrs...)
	})
}
