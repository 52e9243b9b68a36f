package status

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"milterd/integration/testkit"
)

// busyPage serves a page whose metrics wait for their release.
func busyPage(t *testing.T) (addr string, metrics chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics = make(chan struct{})
	s := Serve([]net.Listener{ln}, Page{Problem: func() string { return "" }, Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		<-metrics
	})}, slog.New(slog.DiscardHandler))
	t.Cleanup(s.Shutdown)
	return ln.Addr().String(), metrics
}

// send connects and sends a text.
func send(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// wantStatus asks for a path, for less time than a silent client may stay.
func wantStatus(t *testing.T, addr, path string, want int) {
	t.Helper()
	client := http.Client{Timeout: headerTimeout - time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + addr + path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		t.Errorf("%s: %s, expected %d", path, response.Status, want)
	}
}

func TestHealthDoesNotWaitForOthers(t *testing.T) {
	for _, said := range []string{"", "G", "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: "} {
		t.Run(fmt.Sprintf("clients that said %q", said), func(t *testing.T) {
			addr, _ := busyPage(t)
			for range 4 * maxConnections {
				send(t, addr, said)
			}
			wantStatus(t, addr, "/healthz", http.StatusOK)
		})
	}
	t.Run("clients whose answers take long", func(t *testing.T) {
		addr, metrics := busyPage(t)
		defer close(metrics)
		for range 2 * maxConnections {
			send(t, addr, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		for range maxConnections {
			select {
			case metrics <- struct{}{}: // one has begun, and ends; another may
			case <-time.After(testkit.Patience):
				t.Fatal("no request is under way")
			}
		}
		wantStatus(t, addr, "/healthz", http.StatusOK)
	})
}

func TestAnAnswerIsSentWholeInACrowd(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun, release := make(chan struct{}), make(chan struct{})
	s := Serve([]net.Listener{ln}, Page{Problem: func() string { return "" }, Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
	})}, slog.New(slog.DiscardHandler))
	t.Cleanup(s.Shutdown)
	asking := send(t, ln.Addr().String(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	for range maxConnections {
		send(t, ln.Addr().String(), "")
	}
	// All of them have been seen once this one has.
	wantStatus(t, ln.Addr().String(), "/healthz", http.StatusOK)
	close(release)
	if err := asking.SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(asking, answer); err != nil || string(answer) != "HTTP/1.1 200" {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestTooManyRequestsAtATime(t *testing.T) {
	addr, metrics := busyPage(t)
	defer close(metrics)
	for range maxConnections {
		send(t, addr, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	testkit.Eventually(t, "one too many", func() bool {
		conn := send(t, addr, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		answer := make([]byte, 12)
		_, err := io.ReadFull(conn, answer)
		return err == nil && string(answer) == "HTTP/1.1 503"
	})
	wantStatus(t, addr, "/healthz", http.StatusOK)
}
