package door

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// listenAt listens on a path and closes at the end of the test.
func listenAt(t *testing.T, path string, mode os.FileMode, group string) net.Listener {
	t.Helper()
	ln, err := Listen("local:"+path, mode, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func TestListenUnixModeAndGroup(t *testing.T) {
	for _, tt := range []struct {
		given, want os.FileMode
	}{{0, 0o660}, {0o600, 0o600}, {0o666, 0o666}} {
		t.Run(fmt.Sprintf("%o", tt.given), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			ln := listenAt(t, path, tt.given, strconv.Itoa(os.Getgid()))
			info, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != os.ModeSocket|tt.want {
				t.Errorf("mode %v, want %v", info.Mode(), os.ModeSocket|tt.want)
			}
			if gid := info.Sys().(*syscall.Stat_t).Gid; int(gid) != os.Getgid() {
				t.Errorf("group %d, want %d", gid, os.Getgid())
			}
			if got := ln.Addr().String(); got != path {
				t.Errorf("address %s, want %s", got, path)
			}
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			left, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(left) != 1 {
				t.Errorf("left in the directory: %v, %v", left, err)
			}
		})
	}
}

func TestListenUnixRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), link); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used")
	listenAt(t, used, 0, "")
	long := filepath.Join(dir, strings.Repeat("d", 100-len(dir)))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path, group string
		mode              os.FileMode
		want              string
	}{
		{"a directory in one that does not exist", dir + "/none/deeper/s", "", 0, "directory " + dir + "/none does not exist"},
		{"a directory that cannot be made", file + "/none/s", "", 0, "stat "},
		{"a directory that is a file", file + "/s", "", 0, file + " is not a directory"},
		{"a file that is no socket", file, "", 0, file + " exists and is not a socket"},
		{"a symbolic link", link, "", 0, link + " exists and is not a socket"},
		{"a socket in use", used, "", 0, "another process is listening on " + used},
		{"a group that does not exist", dir + "/s", "no-such-group", 0, "socket group: group: unknown group no-such-group"},
		{"a mode that is not one of a socket", dir + "/s", "", os.ModeSetuid | 0o600, "socket mode 40000600, expected permission bits only"},
		{"a directory name that leaves no room", long + "/s", "", 0, "the path is too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := Listen("local:"+tt.path, tt.mode, tt.group)
			if err == nil {
				ln.Close()
				t.Fatal("listens")
			}
			if !strings.HasPrefix(err.Error(), "listen on local:"+tt.path+": "+tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file is now %q, %v", data, err)
	}
	if conn, err := net.Dial("unix", used); err != nil {
		t.Errorf("the socket in use is gone: %v", err)
	} else {
		conn.Close()
	}
}

func TestListenUnixMakesTheSocketsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sockets")
	first := listenAt(t, filepath.Join(dir, "a"), 0, strconv.Itoa(os.Getgid()))
	info, err := os.Lstat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeDir|0o750 || int(info.Sys().(*syscall.Stat_t).Gid) != os.Getgid() {
		t.Errorf("the directory has mode %v and group %d", info.Mode(), info.Sys().(*syscall.Stat_t).Gid)
	}
	// Its mode is the administrator's from then on, and it stays.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	first.Close()
	listenAt(t, filepath.Join(dir, "b"), 0, "")
	if info, err := os.Lstat(dir); err != nil || info.Mode() != os.ModeDir|0o755 {
		t.Errorf("the second socket's directory: %v, %v", info, err)
	}
}

func TestListenUnixReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	listenAt(t, path, 0, "")
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestCloseRemovesItsOwnSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := listenAt(t, path, 0, "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := listenAt(t, path, 0, "")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("closing one socket took another's place away: %v", err)
	}
	conn.Close()
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestListenInet(t *testing.T) {
	// A port that was free a moment ago.
	probe, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(probe.Addr().String())

	if ln, err := Listen("inet:"+port, 0, ""); err == nil {
		ln.Close()
		t.Error("listens on a port in use")
	} else if !strings.HasPrefix(err.Error(), "listen on inet:"+port+": ") {
		t.Errorf("the error does not say where: %v", err)
	}
	probe.Close()
	ln, err := Listen("inet:"+port, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if got, want := ln.Addr().String(), "127.0.0.1:"+port; got != want {
		t.Errorf("listens on %s, want %s", got, want)
	}
}
