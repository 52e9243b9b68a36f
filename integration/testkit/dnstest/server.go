package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxLog bounds the queries a server remembers one by one.
	maxLog = 100_000
	// closeTimeout bounds how long Close waits for queries under way.
	closeTimeout = 5 * time.Second
	// bindAttempts is how often Start tries to find a port that is free for
	// both UDP and TCP.
	bindAttempts = 20
)

// Unknown says what becomes of a query for a name that no line mentions.
type Unknown int

// The choices for unknown names.
const (
	// UnknownNXDOMAIN: the name does not exist.
	UnknownNXDOMAIN Unknown = iota
	// UnknownTimeout: there is no answer.
	UnknownTimeout
)

// Options set up a server. The zero value is a server without names on a free
// port of 127.0.0.1.
type Options struct {
	// Addr is the address to listen on, for UDP and TCP alike; empty means
	// 127.0.0.1 and a free port.
	Addr string
	// Lines are the records and faults, as the package comment has them.
	Lines []string
	// Unknown is the answer for every other name.
	Unknown Unknown
}

// Query is one question a server was asked.
type Query struct {
	Name string // in lower case, with the final dot
	Type uint16 // such as dns.TypePTR
	Net  string // "udp" or "tcp"
}

// Server is a DNS server that runs until Close.
type Server struct {
	addr string
	zone atomic.Pointer[zone]

	servers []*dns.Server
	running sync.WaitGroup
	closing chan struct{}
	once    sync.Once

	mu      sync.Mutex
	log     []Query
	total   int
	unknown Unknown
}

// Start begins to listen and to answer.
func Start(o Options) (*Server, error) {
	z, err := parseZone(o.Lines, o.Unknown)
	if err != nil {
		return nil, err
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	packets, listener, err := bind(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("start dns server on %s: %w", o.Addr, err)
	}
	s := &Server{addr: packets.LocalAddr().String(), unknown: o.Unknown, closing: make(chan struct{})}
	s.zone.Store(z)
	started := make(chan struct{}, 2)
	failed := make(chan error, 2)
	for _, server := range []*dns.Server{
		{PacketConn: packets, Handler: s.handler("udp")},
		{Listener: listener, Handler: s.handler("tcp")},
	} {
		server.NotifyStartedFunc = func() { started <- struct{}{} }
		s.servers = append(s.servers, server)
		s.running.Go(func() {
			if err := server.ActivateAndServe(); err != nil {
				failed <- err
			}
		})
	}
	for range s.servers {
		select {
		case <-started:
		case err := <-failed:
			// Closing both listeners ends the one that did start.
			err = errors.Join(fmt.Errorf("start dns server on %s: %w", o.Addr, err),
				packets.Close(), listener.Close())
			s.running.Wait()
			return nil, err
		}
	}
	return s, nil
}

// bind opens the same port for UDP and TCP. With port 0 the one the kernel
// picks for UDP may be taken for TCP, so it tries again.
func bind(addr string) (net.PacketConn, net.Listener, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	for range bindAttempts {
		packets, udpErr := net.ListenPacket("udp", addr)
		if udpErr != nil {
			return nil, nil, udpErr
		}
		listener, tcpErr := net.Listen("tcp", packets.LocalAddr().String())
		if tcpErr == nil {
			return packets, listener, nil
		}
		err = errors.Join(tcpErr, packets.Close())
		if port != "0" {
			break
		}
	}
	return nil, nil, err
}

// Addr is the address of the server, for UDP and TCP.
func (s *Server) Addr() string { return s.addr }

// SetLines replaces everything the server knows. Where a line is wrong the
// old lines stay.
func (s *Server) SetLines(lines []string) error {
	z, err := parseZone(lines, s.unknown)
	if err != nil {
		return err
	}
	s.zone.Store(z)
	return nil
}

// Queries are the questions asked so far, in order: the first 100,000 of them.
func (s *Server) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Query(nil), s.log...)
}

// Total is how many questions were asked so far, remembered or not.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Count is how often a name was asked for, over UDP and TCP together. It
// counts the queries that Queries returns.
func (s *Server) Count(name string, qtype uint16) int {
	name = dns.CanonicalName(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, q := range s.log {
		if q.Name == name && q.Type == qtype {
			n++
		}
	}
	return n
}

// ResetLog forgets the queries seen so far.
func (s *Server) ResetLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.total = nil, 0
}

// Close stops the server and waits until its goroutines have ended.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	s.once.Do(func() { close(s.closing) })
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.ShutdownContext(ctx))
	}
	s.running.Wait()
	return errors.Join(errs...)
}

// handler answers the queries of one transport.
func (s *Server) handler(network string) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		if len(query.Question) != 1 {
			s.write(w, refusal(dns.RcodeFormatError)(query))
			return
		}
		s.note(Query{dns.CanonicalName(query.Question[0].Name), query.Question[0].Qtype, network})
		zone := s.zone.Load()
		tricks := zone.tricks(query)
		if !s.wait(tricks.delay) {
			return
		}
		for _, lie := range tricks.lies {
			s.write(w, lie)
		}
		reply := zone.answer(query)
		if reply == nil {
			return
		}
		if tricks.truncated && network == "udp" {
			reply.Answer, reply.Truncated = nil, true
			s.write(w, reply)
			return
		}
		size := dns.MaxMsgSize
		if network == "udp" {
			size = dns.MinMsgSize
		}
		if edns := query.IsEdns0(); edns != nil {
			reply.SetEdns0(dns.DefaultMsgSize, false)
			if network == "udp" {
				size = int(edns.UDPSize())
			}
		}
		reply.Truncate(size)
		s.write(w, reply)
	})
}

// wait lets a delay pass; false if the server is closed meanwhile.
func (s *Server) wait(d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closing:
		return false
	}
}

// write sends a reply; a client that is gone is no concern of the server's.
func (s *Server) write(w dns.ResponseWriter, reply *dns.Msg) {
	_ = w.WriteMsg(reply)
}

func (s *Server) note(q Query) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	if len(s.log) < maxLog {
		s.log = append(s.log, q)
	}
}
