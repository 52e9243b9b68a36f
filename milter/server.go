package milter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	gomilter "github.com/d--j/go-milter"
	"golang.org/x/time/rate"

	"milterd/milter/door"
	"milterd/policy"
)

// DefaultMaxConnections is the connection limit if Config names none.
const DefaultMaxConnections = 4096

// idleTimeout is how long an MTA may be silent between two frames: libmilter's own
// (MI_TIMEOUT), above the two hours that sendmail lets an SMTP client be silent.
const idleTimeout = 7210 * time.Second

// Config is what a Server needs. Current is required.
type Config struct {
	// Current returns what is in force. It is asked once for each SMTP
	// connection, which keeps what it got: a reload changes no dialogue that
	// has begun.
	Current func() door.Snapshot
	// Logger gets one line a verdict, and what goes wrong. Default: none.
	Logger *slog.Logger
	// Noted is told of each line about a message or a refusal, whatever the level of the
	// log, while a client waits. The line is valid until it returns. Default: nothing is.
	Noted func(*door.Line)
	// MaxConnections limits the connections from MTAs open at once; sendmail
	// opens one for each SMTP client. Default: DefaultMaxConnections.
	MaxConnections int
	// Limits bounds what one connection may send.
	Limits Limits
	// IdleGrace is how long Shutdown leaves connections open that are not in
	// the middle of a message. Default: 3 s.
	IdleGrace time.Duration
	// NewEvaluator begins the evaluation of one SMTP connection. Default: the policy's
	// own NewSession.
	NewEvaluator func(*policy.Policy, policy.Connection, policy.Answers) policy.Evaluator
}

// Server answers MTAs. Its methods are safe for concurrent use.
type Server struct {
	config  Config
	logger  *slog.Logger
	counter *counters
	guard   *guard
	library *gomilter.Server
	panics  door.PanicLog
}

// NewServer makes a server that listens nowhere yet.
func NewServer(config Config) *Server {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	config.MaxConnections = cmp.Or(config.MaxConnections, DefaultMaxConnections)
	config.IdleGrace = cmp.Or(config.IdleGrace, 3*time.Second)
	if config.NewEvaluator == nil {
		config.NewEvaluator = policyEvaluator
	}
	config.Limits = config.Limits.withDefaults()
	RouteLibraryWarnings(config.Logger)

	s := &Server{config: config, logger: config.Logger, counter: newCounters()}
	s.guard = &guard{
		limits:  config.Limits,
		max:     config.MaxConnections,
		logger:  config.Logger,
		counter: s.counter,
		conns:   make(map[uint32]*guardedConn),
		refusal: rate.Sometimes{Interval: refusalInterval},
	}
	options := []gomilter.Option{
		gomilter.WithDynamicMilter(func(_ uint32, actions gomilter.OptAction, protocol gomilter.OptProtocol, _ gomilter.DataSize) gomilter.Milter {
			return newSession(s, s.guard.numbered(numberOf(actions)), scrubbing(actions, protocol), protocol&gomilter.OptNoHeaderReply != 0)
		}),
		gomilter.WithNegotiationCallback(s.negotiate),
		gomilter.WithReadTimeout(idleTimeout),
	}
	for _, stage := range wantedMacros {
		options = append(options, gomilter.WithMacroRequest(stage.stage, stage.names))
	}
	s.library = gomilter.NewServer(options...)
	return s
}

func policyEvaluator(p *policy.Policy, c policy.Connection, answers policy.Answers) policy.Evaluator {
	return p.NewSession(c, answers)
}

// Counters are read while it serves.
func (s *Server) Counters() *door.Counters { return &s.counter.Counters }

// Serve takes connections from ln until Shutdown, and then returns nil. It
// closes ln. It can be called for several listeners at once.
func (s *Server) Serve(ln net.Listener) error {
	guarded := s.guard.listener(ln)
	defer guarded.Close()
	if err := s.library.Serve(guarded); err != nil && !errors.Is(err, gomilter.ErrServerClosed) && !s.guard.drains() {
		return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
	}
	return nil
}

// Shutdown stops accepting and ends the connections: a message in progress (between MAIL
// and its last answer) goes on to its verdict, within the time that ctx gives. What is still
// open then is cut off, and Shutdown returns ctx's error.
//
// Connections that are not in the middle of a message stay open for Config.IdleGrace only, as
// SMTP clients may be silent for hours. With F=T the next MAIL of such a client is answered
// 451 and its mail comes again.
func (s *Server) Shutdown(ctx context.Context) error {
	s.guard.stopAccepting()
	timer := time.AfterFunc(s.config.IdleGrace, s.guard.releaseIdle)
	defer timer.Stop()
	// The library looks for its last connection in growing intervals. Until the map door
	// closes as well, new SMTP clients are answered there whose filter connections wait for
	// the next process.
	ended := make(chan struct{})
	go func() {
		s.guard.open.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	if err := s.library.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("shut down the milter server: %w", err)
	}
	return nil
}

// recovered counts and logs a panic of a callback; value is what recover()
// returned in the deferred function that calls this. It reports whether there
// was a panic at all.
func (s *Server) recovered(callback string, value any, attrs ...any) bool {
	if value == nil {
		return false
	}
	s.counter.Panics.Add(1)
	s.panics.Log(s.logger, "milter callback panicked", value, append(attrs, "callback", callback)...)
	return true
}
