package dovecot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

// patientServer waits as long as the tests do, unless one says otherwise.
func patientServer(t *testing.T, k *keeper) *Server {
	t.Helper()
	s := newServer(t, k)
	s.timeouts = timeouts{header: time.Hour, request: time.Hour, idle: time.Hour, forbidden: time.Hour}
	return s
}

// dial connects until the test ends.
func dial(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

const loginReport = `{"login":"shin","protocol":"imap","remote":"203.0.113.8","success":true,"proxy":"no","proxy_maybe":"no","nologin":"no"}`

// send posts a report and returns the answer.
func send(t *testing.T, conn net.Conn, secret string, length int, body string) *http.Response {
	t.Helper()
	_, err := fmt.Fprintf(conn, "POST /?command=report HTTP/1.1\r\nHost: milterd\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", secret, length, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response
}

// closed fails the test unless the server closes the connection.
func closed(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is open: %d octets, %v", n, err)
	}
}

func TestConnectionsWithoutTheSecretAreClosed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*timeouts)
		// say is what the client does before it waits for the end.
		say func(t *testing.T, conn net.Conn)
	}{
		{"after a request without it", func(*timeouts) {}, func(t *testing.T, conn net.Conn) {
			if r := send(t, conn, "guess", len(loginReport), loginReport); r.StatusCode != http.StatusForbidden || !r.Close {
				t.Errorf("answer %v", r)
			}
		}},
		{"after one whose body does not come", func(o *timeouts) { o.forbidden = time.Millisecond }, func(t *testing.T, conn net.Conn) {
			if r := send(t, conn, "guess", 1000, "{"); r.StatusCode != http.StatusForbidden || !r.Close {
				t.Errorf("answer %v", r)
			}
		}},
		{"where no request comes", func(o *timeouts) { o.header = time.Millisecond }, func(*testing.T, net.Conn) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, ln := patientServer(t, &keeper{}), listen(t, "tcp", "127.0.0.1:0")
			tt.change(&s.timeouts)
			serve(t, s, ln)
			conn := dial(t, ln)
			tt.say(t, conn)
			closed(t, conn)
		})
	}
}

// TestStrangersDoNotKeepDovecotOut has every place taken by connections that stay as
// long as they can.
func TestStrangersDoNotKeepDovecotOut(t *testing.T) {
	k := &keeper{}
	s, ln := patientServer(t, k), listen(t, "unix", filepath.Join(t.TempDir(), "s"))
	serve(t, s, ln)
	first := dial(t, ln)
	if r := send(t, first, "s3cret", len(loginReport), loginReport); r.StatusCode != http.StatusOK {
		t.Fatalf("answer %v", r)
	}
	strangers := make([]net.Conn, 2*maxConnections)
	for i := range strangers {
		strangers[i] = dial(t, ln)
	}
	for range 2 {
		if r := send(t, dial(t, ln), "s3cret", len(loginReport), loginReport); r.StatusCode != http.StatusOK {
			t.Errorf("answer to a new connection: %v", r)
		}
		if r := send(t, first, "s3cret", len(loginReport), loginReport); r.StatusCode != http.StatusOK {
			t.Errorf("answer to one from before: %v", r)
		}
	}
	for _, conn := range strangers[:maxConnections] {
		closed(t, conn)
	}
	want := []grant.Login{login("shin", "203.0.113.8")}
	for range 4 {
		want = append(want, want[0])
	}
	if diff := diffLogins(want, k.logins); diff != "" {
		t.Errorf("logins (-want +got):\n%s", diff)
	}
	// The last stranger still has its place.
	if r := send(t, strangers[len(strangers)-1], "guess", 0, ""); r.StatusCode != http.StatusForbidden {
		t.Errorf("answer to a stranger: %v", r)
	}
}
