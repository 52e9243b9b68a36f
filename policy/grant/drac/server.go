package drac

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"milterd/policy/grant"
)

// Source begins the source that grants from here name; the address of the server
// that reported the login follows, as in drac:127.0.0.1.
const Source = "drac:"

// workers is how many calls are carried out at once. The store that grants go to
// may be across a network; what arrives meanwhile waits in the socket's buffer,
// and what that cannot hold the client sends again.
const workers = 4

// maxCall is more than the longest call that is valid: one with a full
// credential and verifier has 904 bytes.
const maxCall = 1024

// noteInterval keeps a flood of calls from flooding the log.
const noteInterval = 10 * time.Second

// Config is what a Server needs. Keeper is required. Package configs sees that Servers
// are not everybody.
type Config struct {
	// Keeper takes what servers report.
	Keeper grant.Granter
	// Servers are the networks whose datagrams may grant. Default: loopback.
	Servers []netip.Prefix
	// ReservedPort wants a source port below 1024 from them as well.
	ReservedPort bool
	// Logger gets what goes wrong, and who was refused. Default: none.
	Logger *slog.Logger
}

// Server answers DRAC calls. Its methods are safe for concurrent use.
type Server struct {
	config  Config
	logger  *slog.Logger
	counter struct {
		calls, granted, refused, failed, denied, malformed atomic.Uint64
	}
	denials, failures, readErrors rate.Sometimes
}

// NewServer makes a server that listens nowhere yet.
func NewServer(config Config) *Server {
	if config.Servers == nil {
		config.Servers = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return &Server{
		config: config, logger: cmp.Or(config.Logger, slog.New(slog.DiscardHandler)),
		denials:    rate.Sometimes{Interval: noteInterval},
		failures:   rate.Sometimes{Interval: noteInterval},
		readErrors: rate.Sometimes{Interval: noteInterval},
	}
}

func (s *Server) Register(r prometheus.Registerer) {
	n := &s.counter
	for result, n := range map[string]*atomic.Uint64{
		"granted": &n.granted, "refused": &n.refused, "failed": &n.failed, "denied": &n.denied, "malformed": &n.malformed,
	} {
		grant.Counter(r, "milterd_drac_calls_total", "Datagrams to the DRAC server, by result; denied: from a host that may not grant.", prometheus.Labels{"result": result}, n.Load)
	}
}

// Serve answers what arrives on conn until ctx ends, and then returns nil. It
// closes conn. It can be called for several sockets at once.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	// A deadline in the past, and not Close, ends the reading: the calls that
	// are being carried out still want to answer.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	errs := make([]error, workers)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { errs[i] = s.work(ctx, conn) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("receive drac calls on %s: %w", conn.LocalAddr(), err)
		}
	}
	return nil
}

// readPause is how long reading waits after an error that will pass.
const readPause = 100 * time.Millisecond

// work answers calls, one after the other.
func (s *Server) work(ctx context.Context, conn *net.UDPConn) error {
	buffer := make([]byte, maxCall)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case err != nil:
			s.readErrors.Do(func() { s.logger.Warn("receive drac calls, trying again", "error", err) })
			select {
			case <-ctx.Done():
			case <-time.After(readPause):
			}
			continue
		}
		reply := s.answer(ctx, buffer[:n], from)
		if reply == nil {
			continue
		}
		if _, err := conn.WriteToUDPAddrPort(reply, from); err != nil {
			s.logger.Debug("answer drac call", "server", unmapped(from), "error", err)
		}
	}
}

// answer carries a call out. It returns nil if there is nothing to say.
func (s *Server) answer(ctx context.Context, datagram []byte, from netip.AddrPort) []byte {
	from = unmapped(from)
	s.counter.calls.Add(1)
	// A datagram that fills the buffer was cut off.
	if len(datagram) == maxCall {
		s.counter.malformed.Add(1)
		return nil
	}
	c, ok := parseCall(datagram)
	if !ok || c.broken {
		s.counter.malformed.Add(1)
		return c.reply
	}
	if !c.add.IsValid() {
		return c.reply
	}
	if reason := s.mayNotGrant(from); reason != "" {
		s.counter.denied.Add(1)
		s.denials.Do(func() { s.logger.Warn("drac call denied", "server", from, "client", c.add, "reason", reason) })
		return c.added(statusDenied)
	}
	result, err := s.config.Keeper.Login(ctx, grant.Login{Addr: c.add, Source: Source + from.Addr().WithZone("").String()})
	if err != nil {
		if ctx.Err() != nil {
			return nil // unanswered, the call comes again, to our successor
		}
		s.counter.failed.Add(1)
		s.failures.Do(func() { s.logger.Error("drac call failed", "server", from, "client", c.add, "error", err) })
		return c.added(statusSystemError)
	}
	s.logger.Debug("drac call", "server", from, "client", c.add, "outcome", result.Decision)
	switch result.Decision {
	case grant.Granted, grant.Renewed:
		s.counter.granted.Add(1)
		return c.added(statusSuccess)
	case grant.Full:
		s.counter.failed.Add(1)
		return c.added(statusSystemError)
	}
	s.counter.refused.Add(1)
	return c.added(statusDenied)
}

// mayNotGrant says why a sender may not grant, nothing if it may.
func (s *Server) mayNotGrant(from netip.AddrPort) string {
	const firstUnreserved = 1024
	for _, network := range s.config.Servers {
		if !network.Contains(from.Addr().WithZone("")) {
			continue
		}
		if s.config.ReservedPort && from.Port() >= firstUnreserved {
			return "the source port is not below 1024"
		}
		return ""
	}
	return "not one of the servers"
}

// unmapped is the address as the sender knows it: a socket for both families
// shows IPv4 addresses inside IPv6 ones.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
