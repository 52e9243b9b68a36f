package dnscheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxFailures is how many time-outs in a row put a server behind the others,
	// and penalty is for how long: then it is tried first again.
	maxFailures = 2
	penalty     = 30 * time.Second
	// checkEvery is how often resolv.conf is looked at.
	checkEvery = 5 * time.Second
	// maxResolvConf bounds what is read of resolv.conf, in octets.
	maxResolvConf = 64 << 10
	// maxIdle bounds the sockets kept open to one server.
	maxIdle = 64
)

// ParseServer reads the address of a server, with or without a port; the default is 53.
func ParseServer(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(addr, 53), nil
	}
	if server, err := netip.ParseAddrPort(s); err == nil && server.Port() != 0 {
		return server, nil
	}
	return netip.AddrPort{}, fmt.Errorf("dns server %q: expected an address or address:port", s)
}

type server struct {
	addr netip.AddrPort
	// keeps: sockets are used again, which saves a third of a query's cost. That is
	// so for a resolver on this host. Towards any other each query has a socket, and
	// so a source port, of its own: a forger on the way has to guess it.
	keeps bool

	failures    atomic.Int32 // in a row
	behindUntil atomic.Int64 // unix nanoseconds

	mu     sync.Mutex
	idle   []net.Conn
	closed bool
}

func newServer(addr netip.AddrPort) *server {
	return &server{addr: addr, keeps: addr.Addr().Unmap().IsLoopback()}
}

// answered and failed keep the score that order goes by.
func (s *server) answered() {
	if s.failures.Load() != 0 {
		s.failures.Store(0)
		s.behindUntil.Store(0)
	}
}

func (s *server) failed(now time.Time) {
	if s.failures.Add(1) >= maxFailures {
		s.behindUntil.Store(now.Add(penalty).UnixNano())
	}
}

// takeSocket is a socket of an earlier query, or nil.
func (s *server) takeSocket() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == 0 {
		return nil
	}
	conn := s.idle[len(s.idle)-1]
	s.idle = s.idle[:len(s.idle)-1]
	return conn
}

// putSocket keeps a socket, or closes it if there are enough.
func (s *server) putSocket(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.keeps || s.closed || len(s.idle) >= maxIdle {
		_ = conn.Close()
		return
	}
	s.idle = append(s.idle, conn)
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.idle {
		_ = conn.Close()
	}
	s.idle, s.closed = nil, true
}

// serverSet is the servers in force; it is never changed, only replaced.
type serverSet []*server

// order is the servers in the order to ask them: those that answer, as they are
// listed, then those that lately did not.
func (set serverSet) order(now time.Time) serverSet {
	behind := func(s *server) int {
		if s.behindUntil.Load() > now.UnixNano() {
			return 1
		}
		return 0
	}
	ordered := slices.Clone(set)
	slices.SortStableFunc(ordered, func(a, b *server) int { return behind(a) - behind(b) })
	return ordered
}

// servers is the list of servers, from the configuration or from a file that is
// looked at now and then.
type servers struct {
	config  Config
	current atomic.Pointer[serverSet]

	next atomic.Int64 // when to look at the file again, unix nanoseconds
	mu   sync.Mutex   // held while the file is looked at
	seen []byte       // the text of the file
}

// newServers reads the list for the first time. A file that cannot be read is
// an error then; later it only means that the old list stays.
func newServers(config Config) (*servers, error) {
	s := &servers{config: config}
	if len(config.Servers) == 0 {
		return s, s.read(config.now())
	}
	addrs := make([]netip.AddrPort, 0, len(config.Servers))
	for _, text := range config.Servers {
		addr, err := ParseServer(text)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	s.replace(addrs)
	return s, nil
}

func (s *servers) get(now time.Time) serverSet {
	if len(s.config.Servers) == 0 && now.UnixNano() >= s.next.Load() && s.mu.TryLock() {
		err := s.read(now)
		s.mu.Unlock()
		if err != nil {
			s.config.Log.Warn("dns servers stay as they were", "error", err)
		}
	}
	return *s.current.Load()
}

// read takes the servers from the file if it has changed.
func (s *servers) read(now time.Time) error {
	s.next.Store(now.Add(checkEvery).UnixNano())
	text, err := readSome(s.config.ResolvConf)
	// Without the file the server is the one on this host: resolv.conf(5).
	if errors.Is(err, fs.ErrNotExist) && s.current.Load() == nil {
		text, err = []byte("# no file\n"), nil
	}
	if err != nil {
		return fmt.Errorf("read dns servers: %w", err)
	}
	if s.current.Load() != nil && bytes.Equal(text, s.seen) {
		return nil
	}
	s.seen = text
	addrs, err := resolvConfServers(text)
	if err != nil {
		return fmt.Errorf("read dns servers: %s: %w", s.config.ResolvConf, err)
	}
	s.replace(addrs)
	return nil
}

func readSome(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(io.LimitReader(file, maxResolvConf))
}

// resolvConfServers gives the servers of a text in the format of resolv.conf(5).
// Lines that name none are passed over, as the C library does.
func resolvConfServers(text []byte) (addrs []netip.AddrPort, err error) {
	config, err := dns.ClientConfigFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(config.Servers) == 0 {
		config.Servers = []string{"127.0.0.1"}
	}
	for _, text := range config.Servers {
		if addr, err := netip.ParseAddr(text); err == nil && len(addrs) < maxServers {
			addrs = append(addrs, netip.AddrPortFrom(addr, 53))
		}
	}
	if len(addrs) == 0 {
		return nil, errors.New("no nameserver line with an address")
	}
	return addrs, nil
}

// replace puts a list in force. Servers that stay keep their sockets and score.
func (s *servers) replace(addrs []netip.AddrPort) {
	var old serverSet
	if current := s.current.Load(); current != nil {
		old = *current
	}
	set := make(serverSet, 0, len(addrs))
	for _, addr := range addrs {
		at := func(known *server) bool { return known.addr == addr }
		if slices.ContainsFunc(set, at) {
			continue
		}
		if i := slices.IndexFunc(old, at); i >= 0 {
			set = append(set, old[i])
		} else {
			set = append(set, newServer(addr))
		}
	}
	s.current.Store(&set)
	for _, server := range old {
		if !slices.Contains(set, server) {
			server.close()
		}
	}
	if old != nil {
		s.config.Log.Info("dns servers have changed", "servers", addrs)
	}
}

func (s *servers) close() {
	for _, server := range *s.current.Load() {
		server.close()
	}
}
