package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/integration/testkit"
)

// manager listens for what a service manager is told, and sets the environment that
// says where.
func manager(t *testing.T) (*net.UnixConn, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closing(t, conn) })
	if err := conn.SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=300000"}
}

// TestTheWatchdogIsToldAsLongAsTheDoorsAnswer: full doors are doors that answer.
func TestTheWatchdogIsToldAsLongAsTheDoorsAnswer(t *testing.T) {
	conn, env := manager(t)
	p := serving(t, strings.Replace(doorsConfig, "map.sock}", "map.sock, max_connections: 1}", 1), "", env...)
	told := func() string {
		message := make([]byte, 512)
		n, err := conn.Read(message)
		if err != nil {
			t.Fatal(err)
		}
		return string(message[:n])
	}
	await := func(want string, times int) {
		t.Helper()
		for times > 0 {
			if told() == want {
				times--
			}
		}
	}
	await("READY=1", 1)
	await("WATCHDOG=1", 3)
	// A health check of milterd's own holds the one place for a moment.
	var full []net.Conn
	testkit.Eventually(t, "the doors are full", func() bool {
		for _, socket := range []string{p.socket(), p.mapSocket()} {
			c, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			full = append(full, c)
		}
		return p.log.Has("milter connection refused: too many connections") && p.log.Has("map connection refused: too many connections")
	})
	await("WATCHDOG=1", 3)
	for _, c := range full {
		closing(t, c)
	}
}
