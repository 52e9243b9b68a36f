package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"milterd/integration/testkit"
)

// everyDoor opens every door that takes connections.
const everyDoor = `listen: {milter: local:DIR/milter.sock, map: local:DIR/map.sock, http: local:DIR/http.sock, max_connections: 200}
access: {file: access, features: []}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
checks: {rdns: {mode: off}}
grants:
  file: DIR/state/grants
  control: local:DIR/control.sock
  dovecot: {listen: local:DIR/dovecot.sock, secret: s3cr3t-of-d0vecot}
record: {dir: DIR/state/sessions}
`

// startDoors starts milterd with every door, and with a directory for what it keeps.
func startDoors(t *testing.T, prepare func(state string)) *process {
	t.Helper()
	dir := newDir(t, everyDoor, rejectsBad)
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	prepare(state)
	p := launch(t, dir)
	p.waitSocket(t)
	testkit.Eventually(t, "the other doors are open", func() bool {
		for _, door := range []string{"map.sock", "http.sock", "control.sock", "dovecot.sock"} {
			if _, err := os.Stat(filepath.Join(dir, door)); err != nil {
				return false
			}
		}
		return true
	})
	return p
}

func nothing(string) {}

// vitals are what a fault must not use up.
type vitals struct{ descriptors, goroutines, kilobytes int }

// atRest reads them from a milterd that has answered at every door: one that still
// starts has fewer goroutines than it will have.
func (p *process) atRest(t *testing.T) vitals {
	t.Helper()
	p.healthy(t, "before")
	for _, door := range []string{"control.sock", "dovecot.sock"} {
		conn := p.dial(t, door)
		fmt.Fprint(conn, "GET /nothing HTTP/1.1\r\nHost: milterd\r\nConnection: close\r\n\r\n")
		if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || response.StatusCode < 400 {
			t.Fatalf("%s: %v, %v", door, response, err)
		}
		closing(t, conn)
	}
	return p.vitals(t)
}

// vitals reads them. The numbers are those of a moment.
func (p *process) vitals(t *testing.T) (v vitals) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.Process.Pid)
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	v.descriptors = len(files)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	_, err = fmt.Sscan(rss, &v.kilobytes)
	_, count, found := strings.Cut(p.get(t, "/metrics"), "\ngo_goroutines ")
	count, _, _ = strings.Cut(count, "\n")
	v.goroutines, _ = strconv.Atoi(count)
	if err != nil || !found || v.goroutines == 0 {
		t.Fatalf("no numbers: %v, %+v", err, v)
	}
	return v
}

// get asks the page for a path.
func (p *process) get(t *testing.T, path string) string {
	t.Helper()
	conn := p.dial(t, "http.sock")
	defer closing(t, conn)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: milterd\r\nConnection: close\r\n\r\n", path)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, response.Status, err)
	}
	return string(text)
}

// dial connects to a door.
func (p *process) dial(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(p.dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// healthy asks at each door. Every answer must be there, and be the usual one.
func (p *process) healthy(t *testing.T, when string) {
	t.Helper()
	if got := p.ask(t, "a@good.example"); got != "" {
		t.Errorf("%s: the filter door refuses: %q", when, got)
	}
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("%s: the filter door answers %q", when, got)
	}
	conn := p.dial(t, "map.sock")
	defer closing(t, conn)
	fmt.Fprint(conn, "23:access from:bad.example,")
	answer, err := bufio.NewReader(conn).ReadString(',')
	if !strings.Contains(answer, "REJECT") {
		t.Errorf("%s: the map door answers %q, %v", when, answer, err)
	}
	if got := p.get(t, "/healthz"); got != "ok\n" {
		t.Errorf("%s: the page says %q", when, got)
	}
}

// flat waits until a fault has left nothing behind: not a descriptor, and goroutines and
// memory only as far as a runtime keeps them.
func (p *process) flat(t *testing.T, before vitals) {
	t.Helper()
	var after vitals
	defer func() { t.Logf("before %+v, after %+v", before, after) }()
	testkit.Eventually(t, "milterd is as it was", func() bool {
		after = p.vitals(t)
		return after.descriptors <= before.descriptors+2 && after.goroutines <= before.goroutines+5
	})
	if more := after.kilobytes - before.kilobytes; more > 64<<10 {
		t.Errorf("%d KiB more memory", more)
	}
}

func TestSlowClientsOfEachDoorKeepNobodyOut(t *testing.T) {
	p := startDoors(t, nothing)
	before := p.atRest(t)
	var slow []net.Conn
	for _, door := range []string{"milter.sock", "map.sock", "http.sock", "dovecot.sock", "control.sock"} {
		for range 150 {
			conn := p.dial(t, door)
			slow = append(slow, conn)
			if _, err := conn.Write([]byte("1")); err != nil && !errors.Is(err, syscall.EPIPE) {
				t.Fatalf("%s: %v", door, err)
			}
		}
	}
	p.healthy(t, "with slow clients")
	dovecot := p.dial(t, "dovecot.sock")
	slow = append(slow, dovecot)
	fmt.Fprint(dovecot, "POST /?command=allow HTTP/1.1\r\nHost: milterd\r\nAuthorization: Bearer s3cr3t-of-d0vecot\r\nContent-Length: 0\r\n\r\n")
	if response, err := http.ReadResponse(bufio.NewReader(dovecot), nil); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("Dovecot, with slow clients: %v, %v", response, err)
	}
	for _, conn := range slow {
		_ = conn.Close()
	}
	p.flat(t, before)
	p.healthy(t, "after")
}

func TestTenThousandConnectionsOverTheLimit(t *testing.T) {
	p := startDoors(t, nothing)
	before := p.atRest(t)
	// What a connection says first. One that says nothing would be closed soon, and make
	// room for those over the limit.
	for door, first := range map[string]string{
		"milter.sock": "\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff",
		"map.sock":    "23:access from:bad.example,",
	} {
		var held []net.Conn
		for range 200 {
			conn := p.dial(t, door)
			held = append(held, conn)
			if _, err := conn.Write([]byte(first)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatalf("%s: no answer to the first words: %v", door, err)
			}
		}
		for range 10_000 {
			conn := p.dial(t, door)
			// It is closed: neither waiting nor answered.
			if n, err := conn.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%s: a connection over the limit: %d octets, %v", door, n, err)
			}
			_ = conn.Close()
		}
		for _, conn := range held {
			_ = conn.Close()
		}
	}
	p.flat(t, before)
	p.healthy(t, "after")
	if n := strings.Count(p.log.String(), "too many connections"); n == 0 || n > 100 {
		t.Errorf("%d lines about 20000 connections", n)
	}
}

func TestNoDescriptorsLeft(t *testing.T) {
	p := startDoors(t, nothing)
	before := p.atRest(t)
	var limit unix.Rlimit
	few := unix.Rlimit{Cur: uint64(before.descriptors) + 8, Max: uint64(before.descriptors) + 8}
	if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	few.Max = limit.Max
	if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		testkit.Missing(t, fmt.Sprintf("this process may not limit others: %v", err))
	}
	var waiting []net.Conn
	for range 60 {
		waiting = append(waiting, p.dial(t, "milter.sock"), p.dial(t, "map.sock"))
	}
	p.waitLog(t, "too many open files")
	for _, conn := range waiting {
		_ = conn.Close()
	}
	// Those that came meanwhile have their turn, and what is then asked its answer.
	p.healthy(t, "after")
	if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	p.flat(t, before)
	if n := strings.Count(p.log.String(), "too many open files"); n > 100 {
		t.Errorf("%d lines about it", n)
	}
}

func TestStoppedAndContinued(t *testing.T) {
	p := startDoors(t, nothing)
	before := p.atRest(t)
	message := p.holding(t)
	p.signal(t, syscall.SIGSTOP)
	var waiting []net.Conn
	for range 50 {
		conn := p.dial(t, "map.sock")
		fmt.Fprint(conn, "23:access from:bad.example,")
		waiting = append(waiting, conn)
	}
	p.signal(t, syscall.SIGCONT)
	for i, conn := range waiting {
		if answer, err := bufio.NewReader(conn).ReadString(','); !strings.Contains(answer, "REJECT") {
			t.Errorf("connection %d: %q, %v", i, answer, err)
		}
		_ = conn.Close()
	}
	action, err := message.Rcpt("x@example.test", "")
	if err != nil || action.StopProcessing() {
		t.Errorf("the message that was under way: %+v, %v", action, err)
	}
	closing(t, message)
	p.healthy(t, "after")
	p.flat(t, before)
}

func TestAFullDisk(t *testing.T) {
	testkit.NeedRoot(t)
	var state string
	p := startDoors(t, func(dir string) {
		state = dir
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
			testkit.Missing(t, fmt.Sprintf("no file system of its own: %v", err))
		}
	})
	t.Cleanup(func() {
		_ = p.Process.Kill() // it keeps files there
		<-p.exited
		if err := unix.Unmount(state, 0); err != nil {
			t.Error(err)
		}
	})
	grant := func(n int) string {
		conn := p.dial(t, "control.sock")
		defer closing(t, conn)
		fmt.Fprintf(conn, "PUT /grants/203.0.113.%d HTTP/1.1\r\nHost: milterd\r\nConnection: close\r\n\r\n", n)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		return response.Status
	}
	filler := filepath.Join(state, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	before := p.atRest(t)
	for n := range 60 {
		p.ask(t, "a@good.example")
		if got := grant(n + 1); got != "200 OK" {
			t.Fatalf("grant %d: %s", n, got)
		}
	}
	p.healthy(t, "with a full disk")
	p.flat(t, before)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if got := grant(200); got != "200 OK" {
		t.Errorf("a grant once there is room: %s", got)
	}
	if status := p.end(t, syscall.SIGTERM); status != 0 {
		t.Errorf("milterd ends with status %d", status)
	}
	kept, err := os.ReadFile(filepath.Join(state, "grants"))
	if !strings.Contains(string(kept), "203.0.113.200\t") || !strings.Contains(string(kept), "203.0.113.1\t") {
		t.Errorf("grants kept: %q, %v", kept, err)
	}
}
