package door

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// Listener is a net.Listener whose Accept waits and tries again where an error
// may pass. An error of Accept ends the serving of a listener; a process that is
// short of file descriptors for a moment must not be deaf from then on.
type Listener struct {
	net.Listener
	passing func(err error, pause time.Duration)
	done    chan struct{}
	once    sync.Once
}

// NewListener wraps ln. passing is told of each error that may pass, before the
// pause that follows it.
func NewListener(ln net.Listener, passing func(err error, pause time.Duration)) *Listener {
	return &Listener{Listener: ln, passing: passing, done: make(chan struct{})}
}

// The pause after an Accept error that will pass doubles from the first to the
// last of these.
const (
	firstAcceptPause = 5 * time.Millisecond
	lastAcceptPause  = time.Second
)

// Accept returns the next connection. It returns an error only when the listener
// is closed or broken.
func (l *Listener) Accept() (net.Conn, error) {
	for pause := firstAcceptPause; ; pause = min(2*pause, lastAcceptPause) {
		conn, err := l.Listener.Accept()
		if err == nil || !isPassing(err) {
			return conn, err
		}
		l.passing(err, pause)
		timer := time.NewTimer(pause)
		select {
		case <-l.done:
			timer.Stop()
			return nil, net.ErrClosed
		case <-timer.C:
		}
	}
}

// Close stops Accept, also where it waits after an error.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.done)
		err = l.Listener.Close()
	})
	return err
}

// isPassing reports whether Accept may succeed later: the process or the
// system is short of something, or the client has gone (accept(2), "Error
// handling").
func isPassing(err error) bool {
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
