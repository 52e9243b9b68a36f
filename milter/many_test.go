package milter

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
)

func TestManySessions(t *testing.T) {
	const sessions = 2000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if need := uint64(2*sessions + 100); limit.Cur < need {
		testkit.Missing(t, fmt.Sprintf("%d open files are allowed, %d are needed", limit.Cur, need))
	}
	ts := serve(t, Config{})
	before := memoryInUse()

	// Sixteen at a time connect, and all stay open until the last has.
	var dialled, done sync.WaitGroup
	gate := make(chan struct{}, 16)
	failures := make(chan error, sessions)
	release := make(chan struct{})
	for range sessions {
		dialled.Add(1)
		done.Add(1)
		go func() {
			defer done.Done()
			gate <- struct{}{}
			conn, err := openSession(ts.addr)
			<-gate
			dialled.Done()
			if err != nil {
				failures <- err
				return
			}
			defer conn.Close()
			<-release
			if err := oneMessage(conn); err != nil {
				failures <- err
			}
		}()
	}
	dialled.Wait()
	if n := ts.guard.active(); n != sessions {
		t.Errorf("%d connections are open, want %d", n, sessions)
	}
	// Both ends of each connection are in this process.
	t.Logf("%d idle sessions: %d bytes each, the client's end included", sessions, (memoryInUse()-before)/sessions)
	close(release)
	done.Wait()
	close(failures)
	for err := range failures {
		t.Fatal(err)
	}
	if s := ts.counter; s.Malformed.Load() != 0 || s.Refused.Load() != 0 || s.Panics.Load() != 0 {
		t.Errorf("malformed %d, refused %d, panics %d, want none", s.Malformed.Load(), s.Refused.Load(), s.Panics.Load())
	}
}

func memoryInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// openSession connects and says HELO, as far as an idle SMTP client goes.
func openSession(addr string) (net.Conn, error) {
	conn, err := net.Dial("unix", addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(2 * testkit.Patience))
	if err := exchange(conn, optneg(6, allActions, allProtocol), 'O'); err != nil {
		conn.Close()
		return nil, err
	}
	if _, err := conn.Write(sessionOpening); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// oneMessage sends one message with one recipient, and QUIT.
func oneMessage(conn net.Conn) error {
	for _, step := range []struct {
		frames []byte
		answer byte
	}{{sessionMail, 'c'}, {sessionRcpt, 'c'}, {sessionEnd, 'a'}} {
		if err := exchange(conn, step.frames, step.answer); err != nil {
			return err
		}
	}
	_, err := conn.Write(frame(cmdQuit))
	return err
}

func exchange(conn net.Conn, frames []byte, want byte) error {
	if _, err := conn.Write(frames); err != nil {
		return err
	}
	var head [lengthBytes]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	body := make([]byte, frameLength(head[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	if body[0] != want {
		return fmt.Errorf("answer %q, want %q", body, want)
	}
	return nil
}

// What sendmail sends in a session, with the macros that milterd asks for.
var (
	sessionOpening = join(
		frame('D', "C{client_name}\x00mx.good.example\x00{client_ptr}\x00mx.good.example\x00{client_resolve}\x00OK\x00",
			"{daemon_name}\x00MTA-v4\x00{daemon_port}\x0025\x00{daemon_addr}\x00203.0.113.25\x00{daemon_flags}\x00EE a\x00"),
		connectFrame("203.0.113.8"),
		frame('D', "H{verify}\x00NONE\x00"),
		frame('H', "mx.good.example\x00"))
	sessionMail = join(
		frame('D', "Mi\x005AMEPfGV012345\x00{mail_mailer}\x00esmtp\x00{mail_host}\x00good.example.\x00{mail_addr}\x00a@good.example\x00"),
		frame('M', "<a@good.example>\x00SIZE=1000\x00BODY=8BITMIME\x00"))
	sessionRcpt = join(
		frame('D', "R{rcpt_mailer}\x00local\x00{rcpt_addr}\x00shin\x00"),
		frame('R', "<shin@our.example>\x00"))
	sessionEnd = join(frame('D', "E"), frame('E'))
)

func join(frames ...[]byte) []byte {
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}
