package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
)

// grantsConfig has a map door and a control socket.
const grantsConfig = `listen: {milter: local:DIR/milter.sock, map: local:DIR/map.sock}
access: {file: access, features: []}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
grants: {control: local:DIR/control.sock, file: grants.db, ttl: 5m}
`

// TestGrantsByHand runs the commands against a running daemon and asks its map door
// what sendmail would.
func TestGrantsByHand(t *testing.T) {
	p := serving(t, grantsConfig, "Connect:203.0.113.9\tREJECT\n")
	command := func(status int, want string, args ...string) {
		t.Helper()
		var stdout, stderr strings.Builder
		got := run(append([]string{"-config", filepath.Join(p.dir, "milterd.yaml")}, args...), &stdout, &stderr)
		if got != status || !strings.Contains(stdout.String()+stderr.String(), want) {
			t.Errorf("%v: status %d, %q %q, expected %d and %q", args, got, &stdout, &stderr, status, want)
		}
	}
	asked := func(key, want string) {
		t.Helper()
		var conn net.Conn
		testkit.Eventually(t, "the map door answers; its log:\n", func() bool {
			var err error
			conn, err = net.Dial("unix", filepath.Join(p.dir, "map.sock"))
			return err == nil
		})
		defer conn.Close()
		request := "access " + key
		answer := fmt.Sprintf("%d:%s,", len(want), want)
		got := make([]byte, len(answer))
		_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
		if _, err := fmt.Fprintf(conn, "%d:%s,", len(request), request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != answer {
			t.Errorf("%s: %q (%v), expected %q", key, got, err, answer)
		}
	}
	asked("connect:203.0.113.8", "NOTFOUND ")
	command(exitOK, "granted 203.0.113.8", "-grant", "203.0.113.8", "shin")
	asked("connect:203.0.113.8", "OK RELAY")
	command(exitOK, "203.0.113.9", "-grant", "203.0.113.9")
	asked("connect:203.0.113.9", "OK REJECT") // an entry for the address outranks it
	command(exitOK, "2001:db8::8", "-grant", "IPv6:2001:db8::8", "shin")
	asked("connect:ipv6:2001:db8:0:0:0:0:0:8", "OK RELAY")
	command(exitOK, "shin", "-grants")
	command(exitFailure, "private network", "-grant", "10.1.2.3")

	// They outlast the daemon.
	_ = p.Process.Signal(syscall.SIGTERM)
	<-p.exited
	p = launch(t, p.dir)
	p.waitSocket(t)
	asked("connect:203.0.113.8", "OK RELAY")
	command(exitOK, "revoked", "-revoke", "203.0.113.8")
	asked("connect:203.0.113.8", "NOTFOUND ")
	command(exitFailure, "has no grant", "-revoke", "203.0.113.8")
	command(exitOK, "revoked 1 grant", "-revoke", "shin")
	asked("connect:ipv6:2001:db8:0:0:0:0:0:8", "NOTFOUND ")
}

func TestCommandsAboutGrantsNeedAControlSocket(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "milterd.yaml")
	if err := os.WriteFile(name, []byte("grants: {control: 'local:"+dir+"/none.sock'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, line, want string
		status           int
	}{
		{"nobody listens", "-config " + name + " -grants", "is milterd running?", exitFailure},
		{"not an address", "-config " + name + " -grant shin", "-grant shin: expected an IP address", exitUsage},
		{"no configuration", "-config " + dir + "/missing -grants", "no such file", exitUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			status := run(strings.Fields(c.line), &stdout, &stderr)
			if status != c.status || !strings.Contains(stderr.String(), c.want) || stdout.Len() > 0 {
				t.Errorf("status %d, stdout %q, stderr %q; expected %d and %q", status, &stdout, &stderr, c.status, c.want)
			}
		})
	}
}
