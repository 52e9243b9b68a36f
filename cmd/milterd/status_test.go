package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"milterd/integration/testkit"
)

// statusConfig has a status page and both doors.
const statusConfig = `listen: {milter: local:DIR/milter.sock, map: local:DIR/map.sock, http: local:DIR/http.sock}
access: {file: access, features: []}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
`

// page asks the status page; it returns status 0 where there is none.
func (p *process) page(t *testing.T, method, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: testkit.Patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(p.dir, "http.sock"))
		},
	}}
	request, err := http.NewRequest(method, "http://milterd"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer closing(t, response.Body)
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestHealthzTellsWhetherMailIsDecided(t *testing.T) {
	p := serving(t, statusConfig, "")
	p.waitLog(t, "listening", "door=status", "http.sock")
	if status, body := p.page(t, http.MethodGet, "/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("%d %q", status, body)
	}
	session := p.holding(t)
	defer closing(t, session)
	p.signal(t, syscall.SIGTERM)
	p.waitLog(t, "shutting down")
	status, body := 0, ""
	testkit.Eventually(t, "the page says that a door is shut", func() bool {
		status, body = p.page(t, http.MethodGet, "/healthz")
		return status == http.StatusServiceUnavailable && body == "the filter door is shut\n"
	})
	if action, err := session.Rcpt("shin@example.test", ""); err != nil || action.StopProcessing() {
		t.Errorf("RCPT while milterd shuts down: %+v, %v", action, err)
	}
	p.signal(t, syscall.SIGTERM)
	if status := p.waitEnd(t); status != exitOK {
		t.Errorf("exit status %d", status)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "http.sock")); err == nil {
		t.Error("the socket of the page is still there")
	}
}

func TestThePageHasTwoPathsAndTakesNothing(t *testing.T) {
	p := serving(t, statusConfig, "")
	p.waitLog(t, "listening", "door=status")
	cases := []struct {
		name, method, path string
		status             int
	}{
		{"the head of the metrics", http.MethodHead, "/metrics", http.StatusOK},
		{"a query changes nothing", http.MethodGet, "/healthz?verbose", http.StatusOK},
		{"the root", http.MethodGet, "/", http.StatusNotFound},
		{"a path below", http.MethodGet, "/metrics/", http.StatusNotFound},
		{"a path that leads to one", http.MethodGet, "//metrics", http.StatusNotFound},
		{"the profiler", http.MethodGet, "/debug/pprof/", http.StatusNotFound},
		{"a form", http.MethodPost, "/healthz", http.StatusMethodNotAllowed},
		{"a change", http.MethodPut, "/metrics", http.StatusMethodNotAllowed},
		{"a form for a path that there is not", http.MethodPost, "/", http.StatusNotFound},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if status, body := p.page(t, c.method, c.path); status != c.status {
				t.Errorf("status %d, expected %d\n%s", status, c.status, body)
			}
		})
	}
}

func TestAPageThatCannotBeOpenedIsWarnedOf(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, taken)
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, address := range []string{"local:DIR/none/none/http.sock", "inet:" + port + "@127.0.0.1"} {
		p := serving(t, strings.ReplaceAll(statusConfig, "local:DIR/http.sock", address), rejectsBad)
		p.waitLog(t, "level=WARN", "no status page (listen.http)", "listen on")
		if got := p.ask(t, "a@bad.example"); got != denied {
			t.Errorf("%s: reply %q", address, got)
		}
	}
}

func TestTheServiceManagersSocketForThePageIsTakenOver(t *testing.T) {
	dir := newDir(t, strings.ReplaceAll(statusConfig, ", http: local:DIR/http.sock", ""), "")
	p := activated(t, dir, "http", "http.sock")
	if status, body := p.page(t, http.MethodGet, "/healthz"); status != http.StatusOK {
		t.Errorf("%d %q", status, body)
	}
	if got := p.ask(t, "a@good.example"); got != "" {
		t.Errorf("reply of the filter door %q", got)
	}
}

func TestOptionsOfTheWholeServerAreNothingSpecial(t *testing.T) {
	p := serving(t, statusConfig, "")
	p.waitLog(t, "listening", "door=status")
	conn, err := net.Dial("unix", filepath.Join(p.dir, "http.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, conn)
	if _, err := io.WriteString(conn, "OPTIONS * HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 404 ") {
		t.Errorf("%q, %v", answer, err)
	}
}
