package milter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gomilter "github.com/d--j/go-milter"

	"milterd/integration/testkit"
)

// crashes are frames, sent after a good negotiation unless they take its
// place, each of which ends a process that uses go-milter v0.10.2 without a
// guard. TestLibraryCrashes shows that this is so.
var crashes = []struct {
	name   string
	frames []byte
}{
	// wire.ReadPacket takes data[0] of an empty frame.
	{"a frame of no bytes", []byte{0, 0, 0, 0}},
	// processMsg slices beyond the string that ReadCString returned.
	{"CONNECT without NUL", frame('C', "mx.example")},
	{"CONNECT without a family", frame('C', "mx.example\x00")},
	{"MAIL without NUL", frame('M', "<a@good.example>")},
	{"RCPT without NUL", frame('R', "<b@our.example>")},
}

// crashVariable makes the test binary run the library without a guard on the
// socket that it names.
const crashVariable = "MILTERD_TEST_UNGUARDED_SOCKET"

func crashIfAsked() {
	path := os.Getenv(crashVariable)
	if path == "" {
		return
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := gomilter.NewServer(gomilter.WithMilter(func() gomilter.Milter { return gomilter.NoOpMilter{} }))
	fmt.Fprintln(os.Stderr, s.Serve(ln))
	os.Exit(1)
}

func TestLibraryCrashes(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range crashes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			var stderr testkit.Log
			process := exec.Command(self)
			process.Env = append(os.Environ(), crashVariable+"="+path, "GOCOVERDIR="+t.TempDir())
			process.Stderr = &stderr
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- process.Wait() }()
			defer process.Process.Kill()

			testkit.Eventually(t, "the unguarded server listens", func() bool {
				conn, err := net.Dial("unix", path)
				if err == nil {
					conn.Close()
				}
				return err == nil
			})
			p := dial(t, path)
			p.send(optneg(6, 0, 0))
			p.answer()
			p.send(tt.frames)
			select {
			case <-ended:
			case <-time.After(testkit.Patience):
				t.Fatal("the library survives this frame: the guard may not be needed any more")
			}
			if !strings.Contains(stderr.String(), "panic: runtime error") {
				t.Errorf("ended without a panic: %s", stderr.String())
			}
		})
	}
}

func TestGuardedServerSurvives(t *testing.T) {
	tests := []struct {
		name   string
		frames []byte
		fresh  bool // instead of a negotiation
		log    string
	}{
		{name: "a command that begins a frame longer than it may be", frames: append(binary.BigEndian.AppendUint32(nil, 1<<20), 'H'),
			log: `1048576 bytes, expected 65537 at most`},
		{name: "a length of half a gigabyte", frames: binary.BigEndian.AppendUint32(nil, 512<<20),
			log: "536870912 bytes, expected 1048576 at most"},
		{name: "the largest length there is", frames: []byte("\xff\xff\xff\xff"),
			log: "4294967295 bytes, expected 1048576 at most"},
		{name: "another protocol", frames: []byte("EHLO mx.example\r\n"), fresh: true,
			log: "1162366031 bytes, expected 1048576 at most"},
		{name: "an empty frame in place of OPTNEG", frames: []byte{0, 0, 0, 0}, fresh: true, log: "no command"},
		{name: "a short OPTNEG", frames: frame('O', "\x00\x00\x00\x06"), fresh: true, log: "4 bytes, expected 12 at least"},
		{name: "CONNECT in place of OPTNEG", frames: connectFrame("203.0.113.8"), fresh: true, log: "expected OPTNEG first"},
		{name: "a second OPTNEG", frames: optneg(6, 0, 0), log: "a second OPTNEG"},
		{name: "a command that does not exist", frames: frame('Z'), log: "unknown command"},
		{name: "macros for no command", frames: frame('D'), log: "macros for no command"},
	}
	for _, crash := range crashes {
		tests = append(tests, struct {
			name   string
			frames []byte
			fresh  bool
			log    string
		}{name: "crash of the library: " + crash.name, frames: crash.frames, log: "malformed milter frame"})
	}
	ts := serve(t, Config{})
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			logged := len(ts.log.String())
			p := dial(t, ts.addr)
			if !tt.fresh {
				p.send(optneg(6, allActions, allProtocol))
				p.answer()
			}
			p.send(tt.frames)
			p.expectClosed()
			testkit.Eventually(t, "the counter has moved", func() bool { return ts.counter.Malformed.Load() == uint64(i+1) })

			log := ts.log.String()[logged:]
			if n := strings.Count(log, "milter connection closed"); n != 1 {
				t.Errorf("logged %d times, want once:\n%s", n, log)
			}
			if !strings.Contains(log, tt.log) || !strings.Contains(log, "peer=unix") {
				t.Errorf("the log does not say %q and who it was:\n%s", tt.log, log)
			}
			negotiated(t, ts.addr).begin()
		})
	}
	if n := ts.counter.Panics.Load(); n != 0 {
		t.Errorf("%d panics", n)
	}
}

func TestPeerStallsInAFrame(t *testing.T) {
	// The negotiation before has to be over in that time.
	ts := serve(t, Config{Limits: Limits{FrameTime: 2 * time.Second}})
	p := negotiated(t, ts.addr)
	p.send(frame('H', "mx.example\x00")[:6])
	p.expectClosed()
	testkit.Eventually(t, "the stalled frame is counted", func() bool { return ts.counter.Malformed.Load() == 1 })
	if log := ts.log.String(); !strings.Contains(log, "stalls after 6 bytes") {
		t.Errorf("the log does not say why:\n%s", log)
	}
}

func TestPeerSendsByteByByte(t *testing.T) {
	ts := serve(t, Config{})
	p := dial(t, ts.addr)
	for _, f := range [][]byte{
		optneg(6, allActions, allProtocol), connectFrame("203.0.113.8"), frame('H', "mx.example\x00"),
		frame('M', "<a@good.example>\x00"), frame('R', "<b@our.example>\x00"),
	} {
		for i := range f {
			p.send(f[i : i+1])
		}
	}
	p.answer()
	p.expect("c")
	p.expect("c")
}

func TestPeerNeverNegotiates(t *testing.T) {
	ts := serve(t, Config{Limits: Limits{FrameTime: 50 * time.Millisecond}})
	dial(t, ts.addr).expectClosed()
	testkit.Eventually(t, "the connection is gone", func() bool { return ts.guard.active() == 0 })
}

// TestTheFirstFrameHasTheTimeOfOthers gives the guard the deadline of one second that the
// library has for OPTNEG.
func TestTheFirstFrameHasTheTimeOfOthers(t *testing.T) {
	c := &guardedConn{guard: &guard{limits: Limits{}.withDefaults()}}
	now := time.Now()
	library := now.Add(time.Second)
	if err := c.SetReadDeadline(library); err != nil || c.readDeadline.Before(now.Add(c.guard.limits.FrameTime)) {
		t.Errorf("OPTNEG is waited for until %v after the connection, want %v (%v)", c.readDeadline.Sub(now), c.guard.limits.FrameTime, err)
	}
	c.lastCommand = cmdNegotiate
	if err := c.SetReadDeadline(library); err != nil || !c.readDeadline.Equal(library) {
		t.Errorf("a later frame is waited for until %v after the last, want what the library says (%v)", c.readDeadline.Sub(now), err)
	}
}

func TestPeerVanishes(t *testing.T) {
	tests := []struct {
		name      string
		sent      []byte
		malformed uint64
	}{
		{"before it says anything", nil, 0},
		{"in the length prefix", []byte{0, 0}, 1},
		{"in the negotiation", optneg(6, 0, 0)[:9], 1},
		{"after the negotiation", optneg(6, 0, 0), 0},
		{"in a message", append(optneg(6, 0, 0), frame('M', "<>\x00")...), 0},
		{"in a frame", append(optneg(6, 0, 0), frame('M', "<>\x00")[:7]...), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ts := serve(t, Config{})
			p := dial(t, ts.addr)
			p.send(tt.sent)
			if err := p.conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			p.expectClosed()
			testkit.Eventually(t, "the connection is gone", func() bool { return ts.guard.active() == 0 })
			if got := ts.counter.Malformed.Load(); got != tt.malformed {
				t.Errorf("%d malformed, want %d", got, tt.malformed)
			}
		})
	}
}

func TestConnectionLimit(t *testing.T) {
	ts := serve(t, Config{MaxConnections: 2})
	first, second := negotiated(t, ts.addr), negotiated(t, ts.addr)
	for range 3 {
		dial(t, ts.addr).expectClosed()
	}
	if refused, active, all := ts.counter.Refused.Load(), ts.guard.active(), ts.counter.Connections.Load(); refused != 3 || active != 2 || all != 5 {
		t.Errorf("refused %d, active %d of %d, want 3, 2 of 5", refused, active, all)
	}
	if n := strings.Count(ts.log.String(), "too many connections"); n != 1 {
		t.Errorf("the limit was logged %d times in a moment, want once", n)
	}
	second.begin()

	first.send(frame('Q'))
	first.expectClosed()
	testkit.Eventually(t, "there is a place again", func() bool { return ts.guard.active() == 1 })
	negotiated(t, ts.addr).begin()
}

// failingListener fails with the given errors, one a call, before it listens.
type failingListener struct {
	net.Listener
	mu     sync.Mutex
	errors []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	if len(l.errors) > 0 {
		err := l.errors[0]
		l.errors = l.errors[1:]
		l.mu.Unlock()
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", err)}
	}
	l.mu.Unlock()
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	listen := func(t *testing.T, errs ...error) *failingListener {
		ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		return &failingListener{Listener: ln, errors: errs}
	}
	t.Run("passing ones are waited out", func(t *testing.T) {
		ts := serve(t, Config{})
		ln := listen(t, syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.ENOBUFS, syscall.ENOMEM)
		served := make(chan error, 1)
		go func() { served <- ts.Serve(ln) }()
		negotiated(t, ln.Addr().String()).begin()
		if n := ts.counter.AcceptErrors.Load(); n != 5 {
			t.Errorf("%d accept errors counted, want 5", n)
		}
		ln.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve on a closed socket: %v", err)
		}
	})
	t.Run("Close ends the wait", func(t *testing.T) {
		var endless []error
		for range 1000 {
			endless = append(endless, syscall.EMFILE)
		}
		g := testGuard(Limits{})
		ln := g.listener(listen(t, endless...))
		accepted := make(chan error, 1)
		go func() {
			_, err := ln.Accept()
			accepted <- err
		}()
		testkit.Eventually(t, "Accept is waiting", func() bool { return g.counter.AcceptErrors.Load() >= 3 })
		ln.Close()
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
	})
	t.Run("others end Serve and say where", func(t *testing.T) {
		ts := serve(t, Config{})
		ln := listen(t, syscall.EINVAL)
		err := ts.Serve(ln)
		if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), ln.Addr().String()) {
			t.Errorf("Serve: %v", err)
		}
	})
}

// piecesConn counts the writes that reach the socket.
type piecesConn struct {
	memoryConn
	writes []string
}

func (c *piecesConn) Write(p []byte) (int, error) {
	c.writes = append(c.writes, string(p))
	return len(p), nil
}

func TestGuardWritesWholeAnswers(t *testing.T) {
	raw := &piecesConn{memoryConn: memoryConn{Reader: strings.NewReader("")}}
	c := testGuard(Limits{}).admit(raw)
	reply := frame('y', "550 5.7.1 Access denied\x00")
	for _, piece := range [][]byte{frame('c'), reply[:5], reply[5:], frame('c')} {
		if n, err := c.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if len(raw.writes) != 3 || raw.writes[1] != string(reply) {
		t.Errorf("%d writes %q, want one for each of 3 answers", len(raw.writes), raw.writes)
	}
}
