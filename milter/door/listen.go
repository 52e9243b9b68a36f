package door

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DefaultSocketMode is the mode of a unix socket if Listen is given none:
// sendmail, as the group or as root, may connect; others may not.
const DefaultSocketMode os.FileMode = 0o660

// Listen opens the socket that spec names, in ParseAddress's notation.
//
// A unix socket gets the mode (0 stands for DefaultSocketMode) and the group,
// a name or a number, empty for the process's own; both mean nothing to TCP.
// A directory that does not exist is made, with mode 0750 and the socket's group, but not
// those above it; sendmail refuses the socket if others may write to any of them. A socket left behind by a dead process is replaced; one that a process answers
// on, or a file that is not a socket, is an error. Closing the listener
// removes the socket, unless another one has taken its place.
func Listen(spec string, mode os.FileMode, group string) (net.Listener, error) {
	a, err := ParseAddress(spec)
	if err != nil {
		return nil, err
	}
	var ln net.Listener
	if a.network == "unix" {
		ln, err = listenUnix(a.path, mode, group)
	} else {
		ln, err = net.Listen(a.Dial())
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return ln, nil
}

// ListenPacket opens the UDP socket that spec names, in ParsePacketAddress's
// notation.
func ListenPacket(spec string) (*net.UDPConn, error) {
	a, err := ParsePacketAddress(spec)
	if err != nil {
		return nil, err
	}
	network, address := a.Dial()
	network = strings.Replace(network, "tcp", "udp", 1)
	addr, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	conn, err := net.ListenUDP(network, addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return conn, nil
}

// listenUnix binds in a private directory beside the path, sets mode and group there, and
// then moves the socket into place: no process can connect before they are right, and the
// umask, which other goroutines share, need not be touched.
func listenUnix(path string, mode os.FileMode, group string) (net.Listener, error) {
	if mode == 0 {
		mode = DefaultSocketMode
	}
	if mode&^os.ModePerm != 0 {
		return nil, fmt.Errorf("socket mode %o, expected permission bits only", uint32(mode))
	}
	gid, err := groupID(group)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, os.ErrNotExist):
		if err := makeDirectory(dir, gid); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	if err := checkReplaceable(path); err != nil {
		return nil, err
	}

	private, err := os.MkdirTemp(dir, ".m")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	temporary := filepath.Join(private, "s")
	if len(temporary) > maxSocketPath {
		return nil, fmt.Errorf("the path is too long, expected a directory name of %d bytes at most", maxSocketPath-len(temporary)+len(dir))
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	s, err := place(ln, temporary, path, mode, gid)
	if err != nil {
		ln.Close()
		return nil, err
	}
	return s, nil
}

// directoryMode is the mode of a directory that is made for a socket: the group may
// reach the sockets, and only the owner may put another in their place.
const directoryMode os.FileMode = 0o750

func makeDirectory(dir string, gid int) error {
	if err := os.Mkdir(dir, directoryMode); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("directory %s does not exist", filepath.Dir(dir))
		}
		if errors.Is(err, os.ErrExist) {
			return nil // another socket's listener was faster
		}
		return fmt.Errorf("make its directory: %w", err)
	}
	if gid >= 0 {
		if err := os.Lchown(dir, -1, gid); err != nil {
			return err
		}
	}
	// The umask may have taken the group's rights away.
	return os.Chmod(dir, directoryMode)
}

func place(ln *net.UnixListener, temporary, path string, mode os.FileMode, gid int) (*unixSocket, error) {
	if gid >= 0 {
		if err := os.Lchown(temporary, -1, gid); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(temporary, mode); err != nil {
		return nil, err
	}
	info, err := os.Lstat(temporary)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(temporary, path); err != nil {
		return nil, err
	}
	return &unixSocket{UnixListener: ln, path: path, info: info}, nil
}

// groupID looks a group up by name or number; -1 means leave it.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if id, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(id), nil
	}
	found, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("socket group: %w", err)
	}
	id, err := strconv.Atoi(found.Gid)
	if err != nil {
		return 0, fmt.Errorf("socket group %s: %w", group, err)
	}
	return id, nil
}

// answerTime is how long a process behind an old socket has to take a
// connection.
const answerTime = time.Second

// checkReplaceable returns an error if there is a file at path that may not be
// replaced.
func checkReplaceable(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	conn, err := net.DialTimeout("unix", path, answerTime)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another process is listening on %s", path)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("cannot tell whether another process is listening on %s: %w", path, err)
}

// unixSocket is a listening unix socket that was bound under another name.
type unixSocket struct {
	*net.UnixListener
	path string
	info os.FileInfo
}

// Addr is the socket's own path, not the one it was bound to.
func (s *unixSocket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close removes the socket if it is still this one, and stops listening.
func (s *unixSocket) Close() error {
	// A file's number may be used again once it is gone; its time is not.
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.info) && info.ModTime().Equal(s.info.ModTime()) {
		os.Remove(s.path)
	}
	return s.UnixListener.Close()
}
