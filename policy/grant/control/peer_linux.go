package control

import (
	"fmt"
	"net"
	"syscall"
)

// peer is the process at the other end, as it was when it connected.
type peer struct {
	uid uint32
	pid int32
}

// peerOf asks the kernel who has connected (unix(7), SO_PEERCRED).
func peerOf(conn *net.UnixConn) (peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("peer of the control socket: %w", err)
	}
	var credentials *syscall.Ucred
	var optionErr error
	err = raw.Control(func(fd uintptr) {
		credentials, optionErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err == nil {
		err = optionErr
	}
	if err != nil {
		return peer{}, fmt.Errorf("peer of the control socket: %w", err)
	}
	return peer{uid: credentials.Uid, pid: credentials.Pid}, nil
}
