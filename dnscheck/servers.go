package dnscheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
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
	// maxResolvConf bounds what is read of resolv.conf.
	maxResolvConf = 64 << 10
)

// server is one DNS server.
type server struct {
	addr    netip.AddrPort
	sockets *sockets

	failures    atomic.Int32 // in a row
	behindUntil atomic.Int64 // unix nanoseconds
}

func newServer(addr netip.AddrPort) *server {
	s := &server{addr: addr}
	if addr.Addr().Unmap().IsLoopback() {
		s.sockets = &sockets{}
	}
	return s
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

// serverSet is the servers in force; it is never changed, only replaced.
type serverSet []*server

// order is the servers in the order to ask them: those that answer, as they are
// listed, then those that lately did not.
func (set serverSet) order(now time.Time) serverSet {
	behind := func(s *server) bool { return s.behindUntil.Load() > now.UnixNano() }
	if !slices.ContainsFunc(set, behind) {
		return set
	}
	ordered := make(serverSet, 0, len(set))
	for _, s := range set {
		if !behind(s) {
			ordered = append(ordered, s)
		}
	}
	for _, s := range set {
		if !slices.Contains(ordered, s) {
			ordered = append(ordered, s)
		}
	}
	return ordered
}

func (set serverSet) close() {
	for _, s := range set {
		if s.sockets != nil {
			s.sockets.close()
		}
	}
}

// servers is the list of servers, from the configuration or from a file that is
// looked at now and then.
type servers struct {
	config  Config
	current atomic.Pointer[serverSet]

	next atomic.Int64 // when to look at the file again, unix nanoseconds
	mu   sync.Mutex   // held while the file is looked at
	seen fileState
}

// fileState tells one version of a file from another.
type fileState struct {
	modified time.Time
	size     int64
	file     fs.FileInfo
}

func (f fileState) same(info fs.FileInfo) bool {
	return f.file != nil && f.size == info.Size() && f.modified.Equal(info.ModTime()) && os.SameFile(f.file, info)
}

// newServers reads the list for the first time. A file that cannot be read is
// an error then; later it only means that the old list stays.
func newServers(config Config) (*servers, error) {
	s := &servers{config: config}
	if len(config.Servers) > 0 {
		addrs := make([]netip.AddrPort, 0, len(config.Servers))
		for _, text := range config.Servers {
			addr, err := serverAddr(text)
			if err != nil {
				return nil, err
			}
			addrs = append(addrs, addr)
		}
		s.replace(addrs)
		return s, nil
	}
	return s, s.reread(config.now())
}

// get is the servers in force.
func (s *servers) get(now time.Time) serverSet {
	if len(s.config.Servers) == 0 && now.UnixNano() >= s.next.Load() && s.mu.TryLock() {
		err := s.rereadLocked(now)
		s.mu.Unlock()
		if err != nil {
			s.config.Log.Warn("dns servers stay as they were", "error", err)
		}
	}
	return *s.current.Load()
}

func (s *servers) reread(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rereadLocked(now)
}

func (s *servers) rereadLocked(now time.Time) error {
	s.next.Store(now.Add(checkEvery).UnixNano())
	info, err := os.Stat(s.config.ResolvConf)
	if err == nil && s.seen.same(info) {
		return nil
	}
	// Without the file the server is the one on this host: resolv.conf(5).
	if errors.Is(err, fs.ErrNotExist) && s.current.Load() == nil {
		s.replace([]netip.AddrPort{localServer()})
		return nil
	}
	if err != nil {
		return fmt.Errorf("read dns servers: %w", err)
	}
	addrs, err := readResolvConf(s.config.ResolvConf)
	if err != nil {
		return err
	}
	s.seen = fileState{info.ModTime(), info.Size(), info}
	s.replace(addrs)
	return nil
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
	var gone serverSet
	for _, server := range old {
		if !slices.Contains(set, server) {
			gone = append(gone, server)
		}
	}
	gone.close()
	if old != nil {
		s.config.Log.Info("dns servers have changed", "servers", addrs)
	}
}

func (s *servers) close() { (*s.current.Load()).close() }

func localServer() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)
}

// readResolvConf gives the servers of a file in the format of resolv.conf(5).
// Lines that name none are passed over, as the C library does.
func readResolvConf(path string) ([]netip.AddrPort, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read dns servers: %w", err)
	}
	defer func() { _ = file.Close() }()
	// Read before it is parsed: the parser does not report a failure to read.
	text, err := io.ReadAll(io.LimitReader(file, maxResolvConf))
	if err != nil {
		return nil, fmt.Errorf("read dns servers: %w", err)
	}
	config, err := dns.ClientConfigFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read dns servers: %s: %w", path, err)
	}
	var addrs []netip.AddrPort
	for _, text := range config.Servers {
		addr, err := netip.ParseAddr(text)
		if err == nil && len(addrs) < maxServers {
			addrs = append(addrs, netip.AddrPortFrom(addr, 53))
		}
	}
	if len(config.Servers) == 0 {
		addrs = []netip.AddrPort{localServer()}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("read dns servers: %s: no nameserver line with an address", path)
	}
	return addrs, nil
}
