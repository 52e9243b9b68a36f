package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
)

const denied = "550 5.7.1 Access denied"

func TestServingAnswersAndEndsOnSIGTERMAndSIGINT(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) {
			p := serving(t, baseConfig, "From:bad.example\tREJECT\n")
			if got := p.ask(t, "a@bad.example"); got != denied {
				t.Errorf("reply %q", got)
			}
			if got := p.ask(t, "a@good.example"); got != "" {
				t.Errorf("reply %q", got)
			}
			p.waitLog(t, "policy in force", "reason=start", "entries=1", "local=4", "relay=0", "hostname=mx.example.test")
			p.waitLog(t, "listening", "milter.sock")
			if status := p.end(t, signal); status != 0 {
				t.Errorf("exit status %d; log:\n%s", status, p.log)
			}
			p.waitLog(t, "stopped", "connections=2")
			if _, err := os.Stat(p.socket()); err == nil {
				t.Error("the socket is still there")
			}
		})
	}
}

func TestAMessageInProgressFinishesAfterSIGTERM(t *testing.T) {
	p := serving(t, baseConfig, "")
	session := p.holding(t)
	defer closing(t, session)
	p.signal(t, syscall.SIGTERM)
	p.waitLog(t, "shutting down", "signal=terminated")
	action, err := session.Rcpt("shin@example.test", "")
	if err != nil || action.StopProcessing() {
		t.Errorf("RCPT while milterd shuts down: %+v, %v", action, err)
	}
	if _, action, err = session.BodyReadFrom(strings.NewReader("")); err == nil {
		t.Errorf("a body without DATA was taken: %+v", action)
	}
	if status := p.waitEnd(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestASecondSignalEndsThePatience(t *testing.T) {
	p := serving(t, baseConfig, "")
	session := p.holding(t)
	defer session.Close() // milterd has cut it off
	p.signal(t, syscall.SIGTERM)
	p.waitLog(t, "shutting down")
	if status := p.end(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	p.waitLog(t, "shutdown cut connections off")
}

func TestWhatIsWrongAtTheStartIsSaidAndEndsMilterd(t *testing.T) {
	cases := []struct {
		name, config, access string
		status               int
		want                 string
	}{
		{"a bad configuration", "mode: shadoww\nlogs: 1\n", "", exitUsage,
			"milterd: DIR/milterd.yaml:1: mode: \"shadoww\", did you mean shadow?\nmilterd: DIR/milterd.yaml:2: unknown key logs, did you mean log?\n"},
		{"a bad access table", baseConfig, "Connect:203.0.113.5\x00\n", exitUsage,
			"milterd: DIR/access:1: NUL octet, expected text\n"},
		{"a socket in a directory that does not exist",
			strings.ReplaceAll(baseConfig, "milter.sock", "none/none/milter.sock"), "", exitFailure, "DIR/none"},
		{"an unknown group", strings.ReplaceAll(baseConfig, "map.sock}", "map.sock, socket_group: no-such-group}"), "",
			exitFailure, "no-such-group"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := newDir(t, c.config, c.access)
			p := launch(t, dir)
			if status := p.waitEnd(t); status != c.status {
				t.Errorf("exit status %d, expected %d", status, c.status)
			}
			log := strings.ReplaceAll(p.log.String(), dir, "DIR")
			if strings.HasPrefix(c.want, "milterd:") && log != c.want || !strings.Contains(log, c.want) {
				t.Errorf("stderr %q, expected %q", log, c.want)
			}
		})
	}
}

func TestTheServiceManagerIsToldWhatMilterdDoes(t *testing.T) {
	dir := newDir(t, baseConfig, "")
	path := filepath.Join(dir, "notify.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, conn)
	next := func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1024)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	p := launch(t, dir, "NOTIFY_SOCKET="+path)
	if got := next(); got != "READY=1" {
		t.Errorf("first message %q", got)
	}
	// Ready means that it listens.
	if got := p.ask(t, "a@good.example"); got != "" {
		t.Errorf("reply %q", got)
	}
	p.signal(t, syscall.SIGHUP)
	if got := next(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("message at SIGHUP %q", got)
	}
	if got := next(); got != "READY=1" {
		t.Errorf("message after the reload %q", got)
	}
	p.signal(t, syscall.SIGTERM)
	if got := next(); got != "STOPPING=1" {
		t.Errorf("last message %q", got)
	}
}

func TestSocketsOfTheServiceManagerAreTakenOver(t *testing.T) {
	dir := newDir(t, strings.ReplaceAll(baseConfig, "local:DIR/milter.sock", "local:/no/such/directory/milter.sock"), "From:bad.example\tREJECT\n")
	p := activated(t, dir, "", "milter.sock")
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply %q", got)
	}
	if status := p.end(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d; log:\n%s", status, p.log)
	}
	if _, err := os.Stat(p.socket()); err != nil {
		t.Errorf("the service manager's socket: %v", err)
	}
}
