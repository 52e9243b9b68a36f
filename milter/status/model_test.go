package status

import (
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"milterd/integration/testkit"
	"milterd/milter/tally"
)

// TestAnyConversation has several clients say anything in any pieces at once, while mail
// begins and ceases to be decided. Each request has its own answer, in order, or the
// connection ends.
func TestAnyConversation(t *testing.T) {
	testkit.Rounds(t, 30)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var down atomic.Bool
	page := pageOf(tally.New(time.Now()), Access{})
	page.Problem = func() string {
		if down.Load() {
			return "no policy"
		}
		return ""
	}
	page.Metrics = NewRegistry(slog.New(slog.DiscardHandler)).Handler()
	s := Serve([]net.Listener{ln}, page, slog.New(slog.DiscardHandler))
	t.Cleanup(s.Shutdown)
	rapid.Check(t, func(rt *rapid.T) {
		isDown := rapid.Bool().Draw(rt, "down")
		down.Store(isDown)
		health := map[bool]int{false: 200, true: 503}[isDown]
		var running sync.WaitGroup
		errs := make([]error, 3)
		for i := range errs {
			label := fmt.Sprint("connection ", i)
			requests := testkit.Requests(rt, label, func(rt *rapid.T) testkit.Request {
				method := rapid.SampledFrom([]string{"GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "DELETE"}).Draw(rt, "method")
				path := rapid.SampledFrom([]string{"/", "/report.json", "/healthz", "/metrics", "/other", "/../healthz", "//", "/healthz/"}).Draw(rt, "path")
				status := map[string]int{"/": 200, "/report.json": 200, "/healthz": health, "/metrics": 200}[path]
				switch {
				case status == 0:
					status = 404
				case method != "GET" && method != "HEAD":
					status = 405
				}
				return testkit.Request{Text: method + " " + path + " HTTP/1.1\r\nHost: " + ln.Addr().String() + "\r\n\r\n", Method: method, Status: status}
			})
			pieces := rapid.SliceOfN(rapid.IntRange(1, 100), 0, 6).Draw(rt, label+" pieces")
			running.Go(func() {
				conn, err := net.Dial("tcp", ln.Addr().String())
				if err == nil {
					err = testkit.Talk(conn, requests, pieces)
				}
				errs[i] = err
			})
		}
		running.Wait()
		for i, err := range errs {
			if err != nil {
				rt.Errorf("connection %d: %v", i, err)
			}
		}
	})
}
