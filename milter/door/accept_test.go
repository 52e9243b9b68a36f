package door

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failing is a listener that gives its errors one by one, and then a connection.
type failing struct {
	net.Listener
	errors []error
	closed int
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errors) == 0 {
		conn, other := net.Pipe()
		other.Close()
		return conn, nil
	}
	err := f.errors[0]
	f.errors = f.errors[1:]
	return nil, err
}

func (f *failing) Close() error {
	f.closed++
	return nil
}

func acceptError(e syscall.Errno) error {
	return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", e)}
}

func TestAcceptOutlivesPassingErrors(t *testing.T) {
	var pauses []time.Duration
	ln := NewListener(&failing{errors: []error{acceptError(syscall.EMFILE), acceptError(syscall.ECONNABORTED), acceptError(syscall.ENOMEM)}},
		func(_ error, pause time.Duration) { pauses = append(pauses, pause) })
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if len(pauses) != 3 || pauses[0] != firstAcceptPause || pauses[1] != 2*pauses[0] || pauses[2] != 2*pauses[1] {
		t.Errorf("pauses %v, expected three, each twice the one before", pauses)
	}
}

func TestAcceptGivesUpOnABrokenListener(t *testing.T) {
	for _, broken := range []error{acceptError(syscall.EBADF), net.ErrClosed} {
		ln := NewListener(&failing{errors: []error{broken}}, func(err error, _ time.Duration) { t.Errorf("%v is said to pass", err) })
		if _, err := ln.Accept(); !errors.Is(err, broken) {
			t.Errorf("Accept: %v, expected %v", err, broken)
		}
	}
}

func TestCloseEndsThePause(t *testing.T) {
	broken := &failing{}
	for range 100 { // more than a test would wait for
		broken.errors = append(broken.errors, acceptError(syscall.EMFILE))
	}
	var ln *Listener
	ln = NewListener(broken, func(_ error, pause time.Duration) {
		if pause == lastAcceptPause {
			if err := ln.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if broken.closed != 1 {
		t.Errorf("closed %d times", broken.closed)
	}
}

func TestPeersHaveNames(t *testing.T) {
	dir := t.TempDir()
	for _, address := range [][2]string{{"unix", dir + "/s"}, {"tcp", "127.0.0.1:0"}} {
		ln, err := net.Listen(address[0], address[1])
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial(address[0], ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		want := client.LocalAddr().String()
		if address[0] == "unix" {
			want = "unix"
		}
		if got := PeerName(conn); got != want {
			t.Errorf("%s: %q, expected %q", address[0], got, want)
		}
		client.Close()
		conn.Close()
		ln.Close()
	}
}
