package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
)

// manyRestarts is how often the test below puts a new process in the place of the old.
const manyRestarts = 3

// TestAnUpgradeLosesNothing: the service manager holds the listening sockets, and one
// process after the other takes them over, while messages come all the time and an idle
// client stays connected. Each message that has begun comes to its verdict, and each
// connection is answered.
func TestAnUpgradeLosesNothing(t *testing.T) {
	// Were an idle client waited for, it would be for this long.
	dir := newDir(t, strings.Replace(doorsConfig, "map.sock}", "map.sock, shutdown: 10m}", 1), "From:bad.example\tREJECT\n")
	held := hold(t, dir, "milter.sock", "map.sock")
	p := takeOver(t, dir, "milter:map", held)
	p.waitLog(t, "listening", "door=map")

	var load sync.WaitGroup
	var end atomic.Bool
	var messages, lookups atomic.Int64
	socket, mapSocket := p.socket(), p.mapSocket()
	for range 2 {
		load.Go(func() {
			for !end.Load() {
				if err := message(socket); err != nil {
					t.Errorf("a message is lost: %v", err)
					return
				}
				messages.Add(1)
			}
		})
		load.Go(func() {
			for !end.Load() {
				if err := lookup(mapSocket); err != nil {
					t.Errorf("a look-up is lost: %v", err)
					return
				}
				lookups.Add(1)
			}
		})
	}
	stop := sync.OnceFunc(func() { end.Store(true); load.Wait() })
	defer stop()

	for range manyRestarts {
		idle, err := connect(p.socket())
		if err != nil {
			t.Fatal(err)
		}
		before := messages.Load()
		testkit.Eventually(t, "messages go on", func() bool { return messages.Load() > before+10 })
		if status := p.end(t, syscall.SIGTERM); status != exitOK {
			t.Errorf("exit status %d", status)
		}
		_ = idle.Close() // milterd has closed it
		p = takeOver(t, dir, "milter:map", held)
	}
	before, asked := messages.Load(), lookups.Load()
	testkit.Eventually(t, "messages and look-ups go on after the last restart", func() bool {
		return messages.Load() > before+10 && lookups.Load() > asked+10
	})
	stop()
	t.Logf("%d messages and %d look-ups over %d restarts", messages.Load(), lookups.Load(), manyRestarts)
}

// message sends one message by a connection of its own, of which one recipient is
// asked about.
func message(socket string) (err error) {
	session, err := connect(socket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	if reply, err := mail(session, "a@good.example"); err != nil || reply != "" {
		return fmt.Errorf("MAIL: %q, %w", reply, err)
	}
	if _, err := session.Rcpt("b@example.test", ""); err != nil {
		return fmt.Errorf("RCPT: %w", err)
	}
	if _, err := session.DataStart(); err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	if _, err := session.HeaderField("Subject", "s", nil); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if _, err := session.HeaderEnd(); err != nil {
		return fmt.Errorf("end of the header: %w", err)
	}
	_, action, err := session.BodyReadFrom(strings.NewReader("text\r\n"))
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if action.StopProcessing() {
		return fmt.Errorf("the message is refused: %s", action.SMTPReply)
	}
	return nil
}

// lookup asks at the map door by a connection of its own.
func lookup(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		return err
	}
	answer, err := (&mapClient{conn, bufio.NewReader(conn)}).lookup("access from:bad.example")
	if err == nil && answer != "OK REJECT" {
		err = fmt.Errorf("answer %q", answer)
	}
	return err
}
