package socketmap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"milterd/integration/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a map that finds every key, as itself.
var echo = Map(func(_ context.Context, key string) Answer { return Answer{OK, key} })

// testServer is a server on a unix socket, stopped at the end of the test.
type testServer struct {
	*Server
	addr string
	log  *testkit.Log
}

// serve starts a server. Where config names no map, there is echo.
func serve(t testing.TB, config Config) *testServer {
	t.Helper()
	ts := &testServer{log: &testkit.Log{}}
	if config.Logger == nil {
		config.Logger = ts.log.Logger()
	}
	if config.Maps == nil {
		config.Maps = map[string]Map{"echo": echo}
	}
	if config.IdleGrace == 0 {
		config.IdleGrace = time.Millisecond
	}
	ts.Server = NewServer(config)
	ln := listen(t)
	ts.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- ts.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		if err := ts.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ts
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// netstring frames a text.
func netstring(text string) string { return strconv.Itoa(len(text)) + ":" + text + "," }

// client is an MTA that can send anything.
type client struct {
	t    testing.TB
	conn *net.UnixConn
	in   *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: addr, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, in: bufio.NewReader(conn)}
}

func (c *client) send(bytes string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(bytes)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// read returns one answer, or the error that ended the connection.
func (c *client) read() (string, error) {
	length, err := c.in.ReadString(':')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		return "", err
	}
	answer := make([]byte, n+1)
	if _, err := io.ReadFull(c.in, answer); err != nil {
		return "", err
	}
	if answer[n] != ',' {
		return "", fmt.Errorf("no comma after %q", answer)
	}
	return string(answer[:n]), nil
}

// expect reads one answer and compares it.
func (c *client) expect(want string) {
	c.t.Helper()
	got, err := c.read()
	if err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	if got != want {
		c.t.Fatalf("answer %q, expected %q", got, want)
	}
}

// ask sends one look-up and compares the answer.
func (c *client) ask(request, want string) {
	c.t.Helper()
	c.send(netstring(request))
	c.expect(want)
}

// expectClosed waits for the server to close the connection, with no more answers.
func (c *client) expectClosed() {
	c.t.Helper()
	answer, err := c.read()
	if err == nil {
		c.t.Fatalf("an answer: %q", answer)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection stays open")
	}
}
