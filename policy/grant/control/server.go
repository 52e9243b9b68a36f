package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"

	"milterd/policy/grant"
)

// Source is what grants made by hand name as their source.
const Source = "control"

// The defaults of a Config.
const (
	DefaultMaxConnections = 16
	DefaultIdleTimeout    = time.Minute
)

// writeTimeout bounds how long a client may take to make room for more of an
// answer.
const writeTimeout = 10 * time.Second

// Keeper has the grants. *grant.Keeper is the one that milterd uses.
type Keeper interface {
	Login(context.Context, grant.Login) (grant.Result, error)
	Revoke(context.Context, netip.Addr) (bool, error)
	RevokeUser(context.Context, string) (int, error)
	List(context.Context, func(grant.Grant) bool) error
}

// Config is what a Server needs. Keeper is required.
type Config struct {
	Keeper Keeper
	// Logger gets a line for each change and who made it, and what goes wrong.
	// Default: none.
	Logger *slog.Logger
	// MaxConnections limits the connections open at once. Default:
	// DefaultMaxConnections.
	MaxConnections int
	// IdleTimeout is how long a client may take for its next line, from the
	// first to the last byte as well. Default: DefaultIdleTimeout.
	IdleTimeout time.Duration
}

// Server answers commands. Its methods are safe for concurrent use.
type Server struct {
	config Config
	logger *slog.Logger
	places chan struct{} // one for each connection
}

// NewServer makes a server that listens nowhere yet.
func NewServer(config Config) (*Server, error) {
	if config.Keeper == nil {
		return nil, errors.New("control server: no keeper of the grants")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.MaxConnections <= 0 {
		config.MaxConnections = DefaultMaxConnections
	}
	if config.IdleTimeout <= 0 {
		config.IdleTimeout = DefaultIdleTimeout
	}
	return &Server{config: config, logger: config.Logger, places: make(chan struct{}, config.MaxConnections)}, nil
}

// Serve takes connections from ln until ctx ends. It then lets each finish the
// command it has begun, except for a listing, and returns nil. It closes ln, and
// takes unix sockets only. It can be called for several listeners at once; one
// that outlives passing errors of Accept is the caller's to provide.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	if network := ln.Addr().Network(); network != "unix" {
		return fmt.Errorf("control commands on %s: a %s socket does not know who connects, expected a unix socket", ln.Addr(), network)
	}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	serving, leave := context.WithCancel(ctx)
	var sessions sync.WaitGroup
	defer func() {
		leave()
		sessions.Wait()
	}()
	for {
		accepted, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept control connection on %s: %w", ln.Addr(), err)
		}
		conn, ok := accepted.(*net.UnixConn)
		if !ok {
			accepted.Close()
			return fmt.Errorf("accept control connection on %s: it is a %T", ln.Addr(), accepted)
		}
		select {
		case s.places <- struct{}{}:
			sessions.Go(func() {
				defer func() { <-s.places }()
				s.serve(serving, conn)
			})
		default:
			s.logger.Debug("control connection refused: too many", "limit", cap(s.places))
			// Nothing has been written before, so there is room in the buffer.
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = conn.Write([]byte("error too many connections\n"))
			conn.Close()
		}
	}
}

// serve answers one client until it leaves.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	who, err := peerOf(conn)
	if err != nil {
		s.logger.Warn("control connection closed", "error", err)
		return
	}
	d := dialogue{
		server: s,
		logger: s.logger.With("uid", who.uid, "pid", who.pid),
		in:     bufio.NewReaderSize(conn, maxLine),
		out:    bufio.NewWriter(patientWriter{conn}),
	}
	for {
		if conn.SetReadDeadline(time.Now().Add(s.config.IdleTimeout)) != nil {
			return
		}
		// From here on the end of ctx ends the wait for a line.
		if ctx.Err() != nil || !d.next(ctx) {
			return
		}
	}
}

// patientWriter gives each write its time.
type patientWriter struct{ conn net.Conn }

func (w patientWriter) Write(p []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return w.conn.Write(p)
}

// dialogue is one connection.
type dialogue struct {
	server *Server
	logger *slog.Logger
	in     *bufio.Reader
	out    *bufio.Writer
}

// next answers one line and reports whether the dialogue goes on.
func (d *dialogue) next(ctx context.Context) bool {
	line, err := d.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		d.failed(fmt.Errorf("the line is longer than %d bytes", maxLine))
		_ = d.out.Flush()
		return false
	}
	if err != nil {
		return false // gone, or silent for too long
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
	c, err := parseCommand(text)
	if err != nil {
		d.failed(err)
	} else {
		d.execute(ctx, c)
	}
	return d.out.Flush() == nil && c.verb != verbQuit
}

// execute carries a command out and writes its answer.
func (d *dialogue) execute(ctx context.Context, c command) {
	keeper := d.server.config.Keeper
	// A change that has begun is finished; the keeper bounds its time.
	change := context.WithoutCancel(ctx)
	switch c.verb {
	case verbGrant:
		result, err := keeper.Login(change, grant.Login{Addr: c.addr, User: c.user, Source: Source})
		d.changed(c, result.Outcome.String(), err)
		d.granted(c, result, err)
	case verbRevoke:
		held, err := keeper.Revoke(change, c.addr)
		d.changed(c, fmt.Sprintf("held: %t", held), err)
		switch {
		case err != nil:
			d.failed(err)
		case !held:
			d.failed(fmt.Errorf("%s has no grant", c.addr))
		default:
			d.done("revoked %s", c.addr)
		}
	case verbRevokeUser:
		n, err := keeper.RevokeUser(change, c.user)
		d.changed(c, grants(n), err)
		switch {
		case err != nil:
			d.failed(err)
		case n == 0:
			d.failed(fmt.Errorf("%s has no grants", quote(c.user)))
		default:
			d.done("revoked %s of %s", grants(n), quote(c.user))
		}
	case verbList:
		d.list(ctx)
	case verbHelp:
		for _, u := range usage {
			fmt.Fprintf(d.out, "help %-18s %s\n", u.form, u.purpose)
		}
		d.done("%d commands", len(usage))
	case verbQuit:
		d.done("bye")
	}
}

// granted answers grant.
func (d *dialogue) granted(c command, result grant.Result, err error) {
	switch {
	case err != nil:
		d.failed(err)
	case result.Outcome == grant.Granted || result.Outcome == grant.Renewed:
		d.done("%s %s until %s", result.Outcome, c.addr, result.Grant.Expires.UTC().Format(timeForm))
	default:
		d.failed(fmt.Errorf("%s: %s", result.Outcome, result.Reason))
	}
}

// list answers list.
func (d *dialogue) list(ctx context.Context) {
	n := 0
	var writeErr error
	err := d.server.config.Keeper.List(ctx, func(g grant.Grant) bool {
		_, writeErr = fmt.Fprintln(d.out, grantLine(g))
		n++
		return writeErr == nil
	})
	switch {
	case err != nil:
		d.failed(err)
	case writeErr == nil:
		d.done("%s", grants(n))
	}
}

// changed logs a command that changes grants.
func (d *dialogue) changed(c command, outcome string, err error) {
	attrs := []any{"command", c.verb}
	if c.addr.IsValid() {
		attrs = append(attrs, "client", c.addr)
	}
	if c.user != "" {
		attrs = append(attrs, "user", c.user)
	}
	if err != nil {
		d.logger.Error("relay grants by hand", append(attrs, "error", err)...)
		return
	}
	d.logger.Info("relay grants by hand", append(attrs, "outcome", outcome)...)
}

// done ends an answer well.
func (d *dialogue) done(format string, args ...any) {
	fmt.Fprintf(d.out, "ok "+format+"\n", args...)
}

// failed ends an answer with an error. Its text may quote others, so it is made
// to fit a line.
func (d *dialogue) failed(err error) {
	fmt.Fprintf(d.out, "error %s\n", oneLine(err.Error()))
}

// oneLine makes a text short, and blank where it has anything that may act on a
// terminal.
func oneLine(text string) string {
	const most = 512
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// grants is a number of grants in words.
func grants(n int) string {
	if n == 1 {
		return "1 grant"
	}
	return fmt.Sprintf("%d grants", n)
}
