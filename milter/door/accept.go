package door

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// Listener is a net.Listener whose Accept waits and tries again after a temporary
// error. An error of Accept ends the serving of a listener; a process that is short
// of file descriptors for a moment must not stop serving.
type Listener struct {
	net.Listener
	retry func(err error, pause time.Duration)
	done  chan struct{}
	once  sync.Once
}

// NewListener wraps ln. retry is called with each temporary error, before the pause
// that follows it.
func NewListener(ln net.Listener, retry func(err error, pause time.Duration)) *Listener {
	return &Listener{Listener: ln, retry: retry, done: make(chan struct{})}
}

// The pause after a temporary error of Accept doubles from the first to the last of
// these.
const (
	firstAcceptPause = 5 * time.Millisecond
	lastAcceptPause  = time.Second
)

// Accept returns the next connection. It returns an error only when the listener
// is closed or broken.
func (l *Listener) Accept() (net.Conn, error) {
	for pause := firstAcceptPause; ; pause = min(2*pause, lastAcceptPause) {
		conn, err := l.Listener.Accept()
		if err == nil || !isTemporary(err) {
			return conn, err
		}
		l.retry(err, pause)
		select {
		case <-l.done:
			return nil, net.ErrClosed
		case <-time.After(pause):
		}
	}
}

// Close stops Accept, also if it waits after an error.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.done)
		err = l.Listener.Close()
	})
	return err
}

// isTemporary reports whether Accept may succeed later: the process or the system
// is short of something, or the client has gone (accept(2), "Error handling").
func isTemporary(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR, syscall.EAGAIN,
		syscall.EPROTO, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EHOSTDOWN,
		syscall.ENONET, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH,
		syscall.EPERM, // a firewall rule forbids it
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// PeerName names the other end for the log; the client end of a unix socket
// has no name.
func PeerName(c net.Conn) string {
	addr := c.RemoteAddr()
	if addr == nil {
		return "unknown"
	}
	if name := addr.String(); name != "" && name != "@" {
		return name
	}
	return addr.Network()
}
