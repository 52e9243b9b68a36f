package testkit

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Rounds has rapid check each property of a test so many times, or as often as
// MILTERD_TEST_ROUNDS says.
func Rounds(t testing.TB, usual int) {
	t.Helper()
	checks := flag.Lookup("rapid.checks").Value
	before := checks.String()
	if err := checks.Set(cmp.Or(os.Getenv("MILTERD_TEST_ROUNDS"), strconv.Itoa(usual))); err != nil {
		t.Fatalf("MILTERD_TEST_ROUNDS: %v", err)
	}
	t.Cleanup(func() { _ = checks.Set(before) })
}

// Request is one thing that is sent to an HTTP server.
type Request struct {
	Text string
	// Method is that of a request, as its answer depends on it.
	Method string
	// Status is that of the answer that it must have. 0 is for what is no request: the
	// connection ends there, with an answer of 4xx or 505 before, or without.
	Status int
}

// Garbage is what an HTTP server must not take for a request.
func Garbage() []string {
	long := strings.Repeat("x", 64<<10)
	return []string{
		"\x00\x01\xfe\xff\r\n\r\n", "\x16\x03\x01\x02\x00\n\n", "EHLO client.example.com\r\n\r\n", "\r\n\r\n\r\n\r\n\r\n\r\n:\r\n\r\n",
		"PUT /grants/203.0.113.99 HTTP/1.1\r\n\r\n", "PUT /grants/203.0.113.99 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"PUT /grants/203.0.113.99 HTTP/9.9\r\nHost: a\r\n\r\n", "PUT /grants/203.0.113.99\r\nHost: a\r\n\r\n",
		"PUT " + long + " HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: " + long + "\r\n\r\n",
		"POST /?command=report HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", "PUT /grants/203.0.113.99 HTTP/1.1\r\nHost: a", "P", "PUT /grants/%zz HTTP/1.1\r\nHost: a\r\n\r\n",
	}
}

// Requests draws a conversation: some of the given requests in any order, and at its end,
// perhaps, garbage.
func Requests(rt *rapid.T, label string, good func(rt *rapid.T) Request) []Request {
	var all []Request
	for range rapid.IntRange(0, 8).Draw(rt, label+" requests") {
		all = append(all, good(rt))
	}
	if rapid.Bool().Draw(rt, label+" garbage") {
		all = append(all, Request{Text: rapid.SampledFrom(Garbage()).Draw(rt, label+" which")})
	}
	return all
}

// Talk sends requests over a connection, in pieces and without waiting for answers, and
// then sends nothing more. It returns what is wrong with the answers: each request must
// have its own, in order, and the connection must end.
func Talk(conn net.Conn, requests []Request, pieces []int) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	sent := make(chan struct{})
	answered := make(chan struct{})
	go func() {
		defer close(sent)
		say(conn, requests, pieces)
		// The server may take the end for the client's being gone, so it comes after the
		// answers.
		<-answered
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	err := listen(conn, requests, answered)
	conn.Close()
	<-sent
	return err
}

// say writes all requests. The server may have hung up.
func say(conn net.Conn, requests []Request, pieces []int) {
	var all strings.Builder
	for _, r := range requests {
		all.WriteString(r.Text)
	}
	rest := all.String()
	for i := 0; rest != ""; i++ {
		n := len(rest)
		if i < len(pieces) {
			n = min(n, pieces[i])
		}
		if _, err := io.WriteString(conn, rest[:n]); err != nil {
			return
		}
		rest = rest[n:]
	}
}

// listen reads the answers and the end.
func listen(conn net.Conn, requests []Request, answered chan struct{}) error {
	finished := false
	finish := func() {
		if !finished {
			finished = true
			close(answered)
		}
	}
	defer finish()
	in := bufio.NewReader(conn)
	for i, r := range requests {
		if r.Status == 0 {
			finish()
		}
		response, err := http.ReadResponse(in, &http.Request{Method: r.Method})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("request %d of %d, %.80q: neither an answer nor the end", i, len(requests), r.Text)
		case err != nil && r.Status == 0:
			return nil
		case err != nil:
			return fmt.Errorf("request %d of %d, %.80q: %w", i, len(requests), r.Text, err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil && r.Status > 0 {
			return fmt.Errorf("request %d of %d, %.80q: its answer: %w", i, len(requests), r.Text, err)
		}
		refused := response.StatusCode >= 400 && response.StatusCode < 500 || response.StatusCode == http.StatusHTTPVersionNotSupported || response.StatusCode == http.StatusNotImplemented
		if r.Status > 0 && response.StatusCode != r.Status || r.Status == 0 && !refused {
			return fmt.Errorf("request %d of %d, %.80q: answer %d, expected %d", i, len(requests), r.Text, response.StatusCode, r.Status)
		}
		if response.Close {
			break
		}
	}
	finish()
	if n, err := io.Copy(io.Discard, in); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("after the last answer: %d octets, %w", n, err)
	}
	return nil
}
