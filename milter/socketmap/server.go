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

// DefaultIdleTimeout is how long a connection may be silent if Config does not
// say: a little above the two hours that sendmail lets an SMTP client be
// silent. A connection that is closed earlier costs its sendmail process a look-up.
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
	// Default: 100 ms, enough for what has been asked already.
	IdleGrace time.Duration
}

// Server answers MTAs. Its methods are safe for concurrent use.
type Server struct {
	config Config
	logger *slog.Logger
	// Counters are read while it serves.
	Counters door.Counters
	panics   door.PanicLog
	// unknown is what answers for all maps that there are not.
	maps    map[string]*servedMap
	unknown *servedMap
	notes   *notes

	// ctx is that of the look-ups.
	ctx    context.Context
	cancel context.CancelFunc

	mu        sync.Mutex
	conns     map[*conn]struct{}
	listeners map[*door.Listener]struct{}
	closing   bool
	running   sync.WaitGroup // the connections, and the calls of Serve
}

// servedMap is a map, and how often it gave each status.
type servedMap struct {
	lookUp   Map
	statuses map[Status]*atomic.Uint64
}

func newServedMap(m Map) *servedMap {
	return &servedMap{m, map[Status]*atomic.Uint64{OK: new(atomic.Uint64), NotFound: new(atomic.Uint64), Temp: new(atomic.Uint64)}}
}

// NewServer makes a server that listens nowhere yet.
func NewServer(config Config) *Server {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	config.MaxConnections = cmp.Or(config.MaxConnections, DefaultMaxConnections)
	config.IdleTimeout = cmp.Or(config.IdleTimeout, DefaultIdleTimeout)
	config.TransferTimeout = cmp.Or(config.TransferTimeout, 10*time.Second)
	config.IdleGrace = cmp.Or(config.IdleGrace, 100*time.Millisecond)
	s := &Server{
		config:    config,
		logger:    config.Logger,
		maps:      make(map[string]*servedMap, len(config.Maps)),
		notes:     newNotes(noteInterval),
		conns:     make(map[*conn]struct{}),
		listeners: make(map[*door.Listener]struct{}),
	}
	for name, m := range config.Maps {
		s.maps[name] = newServedMap(m)
	}
	names := strings.Join(slices.Sorted(maps.Keys(config.Maps)), ", ")
	s.unknown = newServedMap(func(context.Context, string) Answer { return Answer{Temp, "no map of this name, there are: " + names} })
	s.ctx, s.cancel = context.WithCancel(context.Background())
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
	if !s.addListener(listener) {
		return nil
	}
	defer s.running.Done()
	for {
		raw, err := listener.Accept()
		if err != nil {
			if s.removeListener(listener) {
				return nil
			}
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		s.admit(raw)
	}
}

func (s *Server) addListener(ln *door.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.listeners[ln] = struct{}{}
		s.running.Add(1)
	}
	return !s.closing
}

func (s *Server) removeListener(ln *door.Listener) (closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
	return s.closing
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
		if s.closing {
			// It was accepted just before; its client has asked, or is about to.
			c.endBy(time.Now().Add(s.config.IdleGrace))
		}
		s.running.Go(c.serve)
	}
	s.mu.Unlock()
	if refused {
		s.Counters.Refused.Add(1)
		s.notes.warn(s.logger, noteRefused, "map connection refused: too many connections", "limit", s.config.MaxConnections, "peer", door.PeerName(raw))
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
	s.unknown.register(r, "unknown")
	for name, m := range s.maps {
		m.register(r, name)
	}
}

func (m *servedMap) register(r prometheus.Registerer, name string) {
	for status, n := range m.statuses {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "milterd_map_lookups_total", Help: "Look-ups of sendmail's rules, by map (unknown: one that there is not) and answer.",
			ConstLabels: prometheus.Labels{"map": name, "status": string(status)},
		}, func() float64 { return float64(n.Load()) }))
	}
}

// Lookups is how many look-ups were answered.
func (s *Server) Lookups() (n uint64) {
	for _, m := range append(slices.Collect(maps.Values(s.maps)), s.unknown) {
		for _, answered := range m.statuses {
			n += answered.Load()
		}
	}
	return n
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
	s.closing = true
	for ln := range s.listeners {
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
	s.cancel()
	s.mu.Lock()
	for c := range s.conns {
		c.raw.Close()
	}
	s.mu.Unlock()
	return fmt.Errorf("shut down the map server: %w", ctx.Err())
}

// answer looks one key up. ctx has the memory of its connection.
func (s *Server) answer(ctx context.Context, name, key string) Answer {
	m, ok := s.maps[name]
	if !ok {
		s.unknown.statuses[Temp].Add(1)
		s.notes.warn(s.logger, noteUnknown, "look-up in a map that does not exist", "map", shown(name))
		return s.unknown.lookUp(ctx, key)
	}
	a := s.lookup(ctx, m.lookUp, name, key)
	if problem := a.problem(); problem != "" {
		s.notes.warn(s.logger, noteUnusable, "an answer cannot be given: "+problem, "map", name, "key", shown(key))
		a = Answer{Temp, "an answer that cannot be given"}
	}
	m.statuses[a.Status].Add(1)
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

// The kinds of notes.
const (
	noteRefused = iota
	noteMalformed
	noteUnknown
	noteUnusable
	noteKinds
)

// noteInterval keeps a flood of bad requests from flooding the log.
const noteInterval = 10 * time.Second

// notes are warnings of which only one of a kind is logged in an interval.
type notes [noteKinds]struct {
	rate.Sometimes
	// count is how many there were since the last that was logged.
	count atomic.Uint64
}

func newNotes(interval time.Duration) *notes {
	n := new(notes)
	for kind := range n {
		n[kind].Interval = interval
	}
	return n
}

func (n *notes) warn(logger *slog.Logger, kind int, message string, attrs ...any) {
	n[kind].count.Add(1)
	n[kind].Do(func() {
		if count := n[kind].count.Swap(0); count > 1 {
			attrs = append(attrs, "before", count-1)
		}
		logger.Warn(message, attrs...)
	})
}
