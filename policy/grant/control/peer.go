package control

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
)

// peer is the process at the other end, as it was when it connected. It takes the place
// of the remote address, which a unix socket does not have.
type peer struct {
	uid uint32
	pid int32
}

func (peer) Network() string { return "unix" }

func (p peer) String() string { return fmt.Sprintf("uid %d pid %d", p.uid, p.pid) }

// peerKey is the key of a request's peer in its context.
type peerKey struct{}

// peerListener takes connections of which the kernel tells who made them.
type peerListener struct {
	net.Listener
	logger *slog.Logger
}

type peerConn struct {
	net.Conn
	peer peer
}

func (c peerConn) RemoteAddr() net.Addr { return c.peer }

func (l peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who, err := peerOf(conn)
		if err == nil {
			return peerConn{conn, who}, nil
		}
		l.logger.Warn("control connection closed", "error", err)
		conn.Close()
	}
}

// peerOf asks the kernel who has connected (unix(7), SO_PEERCRED).
func peerOf(conn net.Conn) (peer, error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return peer{}, fmt.Errorf("peer of the control socket: it is a %T", conn)
	}
	var credentials *syscall.Ucred
	raw, err := socket.SyscallConn()
	if err == nil {
		controlErr := raw.Control(func(fd uintptr) {
			credentials, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		})
		err = errors.Join(controlErr, err)
	}
	if err != nil {
		return peer{}, fmt.Errorf("peer of the control socket: %w", err)
	}
	return peer{uid: credentials.Uid, pid: credentials.Pid}, nil
}
