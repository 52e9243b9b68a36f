package milter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	gomilter "github.com/d--j/go-milter"

	"milterd/milter/door"
	"milterd/policy"
)

// DefaultMaxConnections is the connection limit where Config names none.
const DefaultMaxConnections = 4096

// idleTimeout is how long an MTA may be silent between two frames: libmilter's
// own (MI_TIMEOUT), a little above the two hours that sendmail lets an SMTP
// client be silent.
const idleTimeout = 7210 * time.Second

// Evaluator judges the transactions of one SMTP connection, in order.
// *policy.Session is the one that milterd uses. One that has a method Close() is told
// of the end of the connection, and one with SetQueueID(string) of the MTA's ids for
// its messages.
type Evaluator interface {
	Helo(name string, tls policy.TLS)
	Mail(auth policy.Auth, m policy.Mail) policy.Verdict
	Rcpt(r policy.Recipient) policy.Verdict
	// ScrubReason says why the header of the current message will be changed,
	// empty where it will not.
	ScrubReason() string
	EndOfMessage(headers []policy.HeaderField) policy.Verdict
	Abort()
}

// Config is what a Server needs. Current is required.
type Config struct {
	// Current returns what is in force. It is asked once for each SMTP
	// connection, which keeps what it got: a reload changes no dialogue that
	// has begun.
	Current func() Snapshot
	// Logger gets one line a verdict, and what goes wrong. Default: none.
	Logger *slog.Logger
	// MaxConnections limits the connections from MTAs open at once; sendmail
	// opens one for each SMTP client. Default: DefaultMaxConnections.
	MaxConnections int
	// Limits bounds what one connection may send.
	Limits Limits
	// IdleGrace is how long Shutdown leaves connections open that are not in
	// the middle of a message. Default: 3 s.
	IdleGrace time.Duration
	// NewEvaluator begins the evaluation of one SMTP connection. Default:
	// the policy's own NewSession.
	NewEvaluator func(*policy.Policy, policy.Connection, Answers) Evaluator
}

// Snapshot is what one SMTP connection is judged by.
type Snapshot struct {
	Policy *policy.Policy
	// NewAnswers makes the answers about one SMTP connection; nil if there is nothing
	// to ask. ctx ends its look-ups, and panicked is told of panics in them.
	NewAnswers func(ctx context.Context, c policy.Connection, panicked func(value any)) Answers
	// Grants knows the relay grants; nil if there are none.
	Grants Grants
}

// Answers are what the policy asks about one SMTP connection, looked up while the
// client is busy with its own round trips.
type Answers interface {
	policy.Answers
	// Begin starts the look-ups about the client that may be asked for.
	Begin(needs policy.Needs)
	// EndMessage gives up what is still being looked up about the current message.
	EndMessage()
	// Record has every question noted from now on, and returns what gives them and
	// their answers as the dns lines of a recorded session.
	Record() (lines func() []string)
}

// Grants says which clients hold a relay grant.
type Grants interface {
	// Grant is asked while a client waits; it answers in good time.
	Grant(ctx context.Context, client netip.Addr) policy.GrantState
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
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.MaxConnections <= 0 {
		config.MaxConnections = DefaultMaxConnections
	}
	if config.IdleGrace <= 0 {
		config.IdleGrace = 3 * time.Second
	}
	if config.NewEvaluator == nil {
		config.NewEvaluator = NewPolicySession
	}
	config.Limits = config.Limits.withDefaults()
	RouteLibraryWarnings(config.Logger)

	s := &Server{config: config, logger: config.Logger, counter: newCounters()}
	s.guard = &guard{
		limits:  config.Limits,
		max:     config.MaxConnections,
		logger:  config.Logger,
		counter: s.counter,
		conns:   make(map[*guardedConn]struct{}),
	}
	options := []gomilter.Option{
		gomilter.WithDynamicMilter(func(_ uint32, actions gomilter.OptAction, protocol gomilter.OptProtocol, _ gomilter.DataSize) gomilter.Milter {
			return newSession(s, scrubbing(actions, protocol))
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

// NewPolicySession is the evaluator that milterd uses. The look-ups begin here.
func NewPolicySession(p *policy.Policy, c policy.Connection, answers Answers) Evaluator {
	if answers == nil {
		return p.NewSession(c, nil)
	}
	session := p.NewSession(c, answers)
	answers.Begin(session.Needs())
	return session
}

// Serve takes connections from ln until Shutdown, and then returns nil. It
// closes ln. It can be called for several listeners at once.
func (s *Server) Serve(ln net.Listener) error {
	guarded := s.guard.listener(ln)
	defer guarded.Close()
	if err := s.library.Serve(guarded); err != nil && !errors.Is(err, gomilter.ErrServerClosed) {
		return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
	}
	return nil
}

// Shutdown stops accepting and ends the connections, politely: a message in
// progress (between MAIL and its last answer) goes on to its verdict, within
// the time that ctx gives. What is still open then is cut off, and Shutdown
// returns ctx's error.
//
// Connections that are not in the middle of a message stay open for
// Config.IdleGrace and are then closed, each as soon as its message is done.
// SMTP clients may be silent for hours, so there is no waiting for them; and
// while they are waited for, nobody answers the new ones. sendmail treats the
// loss as its F= equate says: with F=T, the next MAIL of such a client is
// answered 451 and its mail comes again, so nothing is lost and nothing gets
// in unfiltered.
func (s *Server) Shutdown(ctx context.Context) error {
	timer := time.AfterFunc(s.config.IdleGrace, s.guard.releaseIdle)
	defer timer.Stop()
	if err := s.library.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("shut down the milter server: %w", err)
	}
	return nil
}

// Stats returns the counters of this moment.
func (s *Server) Stats() Stats {
	return s.counter.snapshot(s.guard.active())
}

var libraryWarnings sync.Once

// RouteLibraryWarnings sends the warnings of the go-milter library to logger,
// at level Debug: what they tell of, a peer that breaks the protocol or
// vanishes, the guard has counted and logged already. The library has one
// function for the whole process and by default writes to stderr, so the first
// call wins and the others do nothing. NewServer makes the call with its own
// logger; a program with several servers may make it before.
func RouteLibraryWarnings(logger *slog.Logger) {
	libraryWarnings.Do(func() {
		gomilter.LogWarning = func(format string, args ...any) {
			if logger.Enabled(context.Background(), slog.LevelDebug) {
				logger.Debug("go-milter: " + fmt.Sprintf(format, args...))
			}
		}
	})
}
