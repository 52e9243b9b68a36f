package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gomilter "github.com/d--j/go-milter"

	"milterd/integration/testkit"
)

// baseConfig decides at MAIL, by the access table alone.
const baseConfig = `listen: {milter: local:DIR/milter.sock, map: local:DIR/map.sock}
access: {file: access, features: []}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
checks: {rdns: {mode: off}}
`

// process is a milterd that runs.
type process struct {
	*exec.Cmd
	dir    string
	log    *testkit.Log
	exited chan struct{}
}

// newDir makes a directory with a configuration and an access table. Its name is
// short, since socket paths are.
func newDir(t *testing.T, config, access string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "milterd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, dir, "milterd.yaml", strings.ReplaceAll(config, "DIR", dir))
	write(t, dir, "access", access)
	return dir
}

// launch starts milterd on the configuration in a directory.
func launch(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess(dir, binary, "-config", filepath.Join(dir, "milterd.yaml"))
	p.Env = append(p.Env, env...)
	p.run(t)
	return p
}

// activated starts milterd as a service manager does that has opened these sockets of
// the directory, under names with colons between them.
func activated(t *testing.T, dir, names string, sockets ...string) *process {
	t.Helper()
	return takeOver(t, dir, names, hold(t, dir, sockets...))
}

// hold opens listening sockets, as a service manager does.
func hold(t *testing.T, dir string, names ...string) []*os.File {
	t.Helper()
	var held []*os.File
	for _, name := range names {
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closing(t, ln) })
		file, err := ln.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closing(t, file) })
		held = append(held, file)
	}
	return held
}

// takeOver starts milterd on sockets that a service manager holds.
func takeOver(t *testing.T, dir, names string, held []*os.File) *process {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess(dir, "/bin/sh", "-c", fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=%s exec "$0" "$@"`, len(held), names),
		binary, "-config", filepath.Join(dir, "milterd.yaml"))
	p.ExtraFiles = held
	p.run(t)
	return p
}

func newProcess(dir, name string, args ...string) *process {
	p := &process{Cmd: exec.Command(name, args...), dir: dir, log: new(testkit.Log), exited: make(chan struct{})}
	p.Env = append(os.Environ(), asMilterd+"=1")
	p.Stderr = p.log
	return p
}

// run starts the process and sees to its end.
func (p *process) run(t *testing.T) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.Wait() // its result is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it may have ended
		<-p.exited
		if p.log.Has("DATA RACE") || p.log.Has("panic:") || t.Failed() {
			t.Errorf("milterd's log:\n%s", p.log)
		}
	})
}

// serving starts milterd with a configuration and an access table, and waits
// until it listens.
func serving(t *testing.T, config, access string, env ...string) *process {
	t.Helper()
	p := launch(t, newDir(t, config, access), env...)
	p.waitSocket(t)
	return p
}

func (p *process) socket() string { return filepath.Join(p.dir, "milter.sock") }

func (p *process) waitSocket(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "milterd listens", func() bool {
		select {
		case <-p.exited:
			t.Fatalf("milterd has ended: %s\n%s", p.ProcessState, p.log)
		default:
		}
		_, err := os.Stat(p.socket())
		return err == nil
	})
}

// waitLog waits for a line that holds all parts, and returns it.
func (p *process) waitLog(t *testing.T, parts ...string) string {
	t.Helper()
	var found string
	testkit.Eventually(t, fmt.Sprintf("a line with %q in the log", parts), func() bool {
		for line := range strings.Lines(p.log.String()) {
			all := true
			for _, part := range parts {
				all = all && strings.Contains(line, part)
			}
			if all {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// end sends a signal and waits for the process to end.
func (p *process) end(t *testing.T, signal os.Signal) (status int) {
	t.Helper()
	p.signal(t, signal)
	return p.waitEnd(t)
}

func (p *process) waitEnd(t *testing.T) (status int) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(testkit.Patience):
		t.Fatalf("milterd has not ended; its log:\n%s", p.log)
	}
	return p.ProcessState.ExitCode()
}

func (p *process) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// connect begins an SMTP connection from 203.0.113.9 as the MTA would.
func connect(socket string) (*gomilter.ClientSession, error) {
	return connectFrom(socket, "203.0.113.9")
}

// connectFrom begins the session of a client.
func connectFrom(socket, from string) (*gomilter.ClientSession, error) {
	return connectAs(socket, from, "")
}

// connectAs begins the session of a client that has logged in, unless login is empty.
func connectAs(socket, from, login string) (*gomilter.ClientSession, error) {
	macros := gomilter.NewMacroBag()
	macros.Set(gomilter.MacroClientName, "client.example")
	macros.Set("{client_addr}", from)
	macros.Set("{client_resolve}", "OK")
	macros.Set(gomilter.MacroDaemonName, "MTA")
	macros.Set("{daemon_port}", "25")
	if login != "" {
		macros.Set(gomilter.MacroAuthType, "PLAIN")
		macros.Set(gomilter.MacroAuthAuthen, login)
	}
	client := gomilter.NewClient("unix", socket)
	session, err := client.Session(macros)
	if err != nil {
		return nil, err
	}
	if _, err := session.Conn("client.example", gomilter.FamilyInet, 40112, from); err != nil {
		return nil, errors.Join(err, session.Close())
	}
	if _, err := session.Helo("client.example"); err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return session, nil
}

// mail gives a MAIL command and returns the reply, empty for none.
func mail(session *gomilter.ClientSession, sender string) (string, error) {
	action, err := session.Mail(sender, "")
	if err != nil {
		return "", err
	}
	if !action.StopProcessing() {
		return "", nil
	}
	return strings.TrimSpace(action.SMTPReply), nil
}

// holding begins a message and leaves it open.
func (p *process) holding(t *testing.T) *gomilter.ClientSession {
	t.Helper()
	session, err := connect(p.socket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mail(session, "a@good.example"); err != nil {
		t.Fatal(err)
	}
	return session
}

// ask tells what a new client's MAIL is answered.
func (p *process) ask(t *testing.T, sender string) string {
	t.Helper()
	session, err := connect(p.socket())
	if err != nil {
		t.Fatalf("connect: %v; milterd's log:\n%s", err, p.log)
	}
	defer closing(t, session)
	reply, err := mail(session, sender)
	if err != nil {
		t.Fatalf("MAIL: %v; milterd's log:\n%s", err, p.log)
	}
	return reply
}

// waitReply asks until the answer is the wanted one.
func (p *process) waitReply(t *testing.T, sender, want string) {
	t.Helper()
	last := ""
	testkit.Eventually(t, fmt.Sprintf("MAIL FROM:<%s> is answered %q", sender, want), func() bool {
		last = p.ask(t, sender)
		return last == want
	})
}

func closing(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("close: %v", err)
	}
}
