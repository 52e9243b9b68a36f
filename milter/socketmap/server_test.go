package socketmap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"milterd/integration/testkit"
)

// given is a map that answers the same to every key.
func given(a Answer) Map { return func(context.Context, string) Answer { return a } }

// lookupKey tells the counted look-ups apart; map unknown stands for all that there are not.
type lookupKey struct {
	name   string
	status Status
}

// lookups are the look-ups that a server has counted.
func lookups(s *Server) map[lookupKey]uint64 {
	counted := make(map[lookupKey]uint64)
	add := func(name string, m *servedMap) {
		for status, n := range m.statuses {
			var metric dto.Metric
			if err := n.Write(&metric); err == nil && metric.GetCounter().GetValue() > 0 {
				counted[lookupKey{name, status}] = uint64(metric.GetCounter().GetValue())
			}
		}
	}
	add("unknown", s.unknown)
	for name, m := range s.maps {
		add(name, m)
	}
	return counted
}

func TestEachAnswerGoesOutAsTheProtocolHasIt(t *testing.T) {
	ts := serve(t, Config{Maps: map[string]Map{
		"echo":     echo,
		"found":    given(Answer{OK, "RELAY"}),
		"empty":    given(Answer{OK, ""}),
		"missing":  given(Answer{Status: NotFound}),
		"later":    given(Answer{Temp, "not now"}),
		"long":     given(Answer{OK, strings.Repeat("v", maxValue)}),
		"too-long": given(Answer{OK, strings.Repeat("v", maxValue+1)}),
		"nul":      given(Answer{OK, "RELAY\x00"}),
		"line":     given(Answer{OK, "550 no\r\n250 yes"}),
		"status":   given(Answer{"PERM", "no"}),
		"nothing":  given(Answer{}),
	}})
	c := dial(t, ts.addr)
	for _, tt := range []struct{ name, request, want string }{
		{"a value", "found connect:203.0.113.8", "OK RELAY"},
		{"an empty value keeps its space", "empty k", "OK "},
		{"so does nothing found", "missing k", "NOTFOUND "},
		{"a reason", "later k", "TEMP not now"},
		{"the key as it was sent", "echo from:A@b  c,\x1b", "OK from:A@b  c,\x1b"},
		{"an empty key", "echo ", "OK "},
		{"the longest value", "long k", "OK " + strings.Repeat("v", maxValue)},
		{"a value too long for sendmail", "too-long k", "TEMP an answer that cannot be given"},
		{"a value with a NUL", "nul k", "TEMP an answer that cannot be given"},
		{"a value of two lines", "line k", "TEMP an answer that cannot be given"},
		{"a status that would let everybody in", "status k", "TEMP an answer that cannot be given"},
		{"no status at all", "nothing k", "TEMP an answer that cannot be given"},
		{"a map that does not exist", "acess k", "TEMP no map of this name, there are: echo, empty, found, later, line, long, missing, nothing, nul, status, too-long"},
		{"a map name in another case", "ECHO k", "TEMP no map of this name, there are: echo, empty, found, later, line, long, missing, nothing, nul, status, too-long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.t = t
			c.ask(tt.request, tt.want)
		})
	}
	want := map[lookupKey]uint64{
		{"found", OK}: 1, {"empty", OK}: 1, {"missing", NotFound}: 1, {"later", Temp}: 1, {"echo", OK}: 2, {"long", OK}: 1,
		{"too-long", Temp}: 1, {"nul", Temp}: 1, {"line", Temp}: 1, {"status", Temp}: 1, {"nothing", Temp}: 1, {"unknown", Temp}: 2,
	}
	if diff := cmp.Diff(want, lookups(ts.Server)); diff != "" {
		t.Errorf("look-ups counted (-want +got):\n%s", diff)
	}
	log := ts.log.String()
	for _, line := range []string{
		`level=WARN msg="look-up in a map that does not exist" map=acess`,
		`level=WARN msg="an answer cannot be given: its value is too long" map=too-long key=k`,
		`level=DEBUG msg="map look-up" map=found key=connect:203.0.113.8 status=OK value=RELAY`,
		`level=DEBUG msg="map look-up" map=echo key="from:A@b  c,?" status=OK`,
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log has no %s:\n%s", line, log)
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	ts := serve(t, Config{})
	c := dial(t, ts.addr)
	const requests = 5000
	var sending sync.WaitGroup
	sending.Go(func() {
		var all strings.Builder
		for i := range requests {
			all.WriteString(netstring("echo " + strconv.Itoa(i)))
		}
		io.WriteString(c.conn, all.String())
	})
	for i := range requests {
		c.expect("OK " + strconv.Itoa(i))
	}
	sending.Wait()
}

func TestRequestsMayComeInPieces(t *testing.T) {
	ts := serve(t, Config{})
	c := dial(t, ts.addr)
	key := strings.Repeat("long ", 300)
	for _, b := range []byte(netstring("echo "+key) + netstring("echo b")) {
		c.send(string(b))
	}
	c.expect("OK " + key)
	c.expect("OK b")
	c.send(netstring("echo c") + "7:ec")
	c.expect("OK c") // does not wait for the rest of the next
	c.send("ho de,")
	c.expect("OK de")
}

func TestMalformedRequestsEndTheConnection(t *testing.T) {
	for _, tt := range []struct{ name, bytes, want string }{
		{"another protocol", "EHLO mx.example\r\n", "no length and colon"},
		{"a length that is too long", "999999:echo ", "a length above 4096"},
		{"a length without end", strings.Repeat("1", 100_000), "a length above 4096"},
		{"no comma", "6:echo ab", "no comma where its length says"},
		{"no map", "4:echo,", "no map name and space"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ts := serve(t, Config{})
			c := dial(t, ts.addr)
			c.send(netstring("echo before"))
			c.expect("OK before")
			// The server may have closed before all is written.
			if _, err := io.WriteString(c.conn, netstring("echo together")+tt.bytes); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatal(err)
			}
			c.expect("OK together")
			c.expectClosed()
			testkit.Eventually(t, "it is counted", func() bool { return ts.Counters.Malformed.Load() == 1 })
			if log := ts.log.String(); !strings.Contains(log, "malformed request: "+tt.want) {
				t.Errorf("the log does not say %q:\n%s", tt.want, log)
			}
		})
	}
}

func TestAFloodOfMalformedRequestsDoesNotFloodTheLog(t *testing.T) {
	ts := serve(t, Config{})
	for range 50 {
		c := dial(t, ts.addr)
		c.send("x")
		c.expectClosed()
	}
	testkit.Eventually(t, "all are counted", func() bool { return ts.Counters.Malformed.Load() == 50 })
	if n := strings.Count(ts.log.String(), "malformed request"); n == 0 || n > 10 {
		t.Errorf("%d lines in the log, expected one", n)
	}
}

func TestNotesSayHowManyThereWere(t *testing.T) {
	var log testkit.Log
	var unknown, refused note
	unknown.Interval, refused.Interval = time.Hour, time.Hour
	for range 3 {
		unknown.warn(log.Logger(), "unknown", "map", "a")
	}
	refused.warn(log.Logger(), "refused")
	unknown.Interval = time.Nanosecond
	unknown.warn(log.Logger(), "unknown", "map", "b")
	var lines []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(line, " ") // the time
		lines = append(lines, strings.TrimSpace(line))
	}
	want := []string{"level=WARN msg=unknown map=a", "level=WARN msg=refused", "level=WARN msg=unknown map=b before=2"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestHalfRequestsAreNotWaitedForLong(t *testing.T) {
	for _, tt := range []struct {
		name, bytes, want string
		end               bool
	}{
		{"the client ends", "9:echo ", "ends after 7 octets", true},
		{"the client stops", "9:echo a", "stops after 8 octets", false},
		{"the client stops in the length", "9", "stops after 1 octets", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := Config{TransferTimeout: time.Millisecond}
			if tt.end {
				config.TransferTimeout = testkit.Patience
			}
			ts := serve(t, config)
			c := dial(t, ts.addr)
			c.send(tt.bytes)
			if tt.end {
				c.conn.CloseWrite()
			}
			c.expectClosed()
			testkit.Eventually(t, "it is counted", func() bool { return ts.Counters.Malformed.Load() == 1 })
			if log := ts.log.String(); !strings.Contains(log, tt.want) {
				t.Errorf("the log does not say %q:\n%s", tt.want, log)
			}
		})
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	ts := serve(t, Config{IdleTimeout: time.Millisecond})
	c := dial(t, ts.addr)
	c.expectClosed()
	testkit.Eventually(t, "it is gone", func() bool { return ts.active() == 0 })
	if n := ts.Counters.Malformed.Load(); n != 0 {
		t.Errorf("%d malformed requests, expected none", n)
	}
}

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	ts := serve(t, Config{TransferTimeout: 10 * time.Millisecond})
	c := dial(t, ts.addr)
	request := []byte(netstring("echo " + strings.Repeat("k", 2000)))
	for {
		if _, err := c.conn.Write(request); err != nil {
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("write: %v, expected the server to close", err)
			}
			break
		}
	}
	testkit.Eventually(t, "it is gone", func() bool { return ts.active() == 0 })
}

func TestConnectionsAboveTheLimitAreClosed(t *testing.T) {
	ts := serve(t, Config{MaxConnections: 2})
	first, second := dial(t, ts.addr), dial(t, ts.addr)
	first.ask("echo a", "OK a")
	second.ask("echo b", "OK b")
	dial(t, ts.addr).expectClosed()
	first.ask("echo c", "OK c")
	first.conn.Close()
	testkit.Eventually(t, "there is room again", func() bool { return ts.active() == 1 })
	dial(t, ts.addr).ask("echo d", "OK d")
	if s := &ts.Counters; s.Connections.Load() != 4 || s.Refused.Load() != 1 {
		t.Errorf("%d connections, %d refused, expected 4 and 1", s.Connections.Load(), s.Refused.Load())
	}
	if log := ts.log.String(); !strings.Contains(log, "too many connections") {
		t.Errorf("the log does not say why:\n%s", log)
	}
}

func TestManyConnectionsAtOnce(t *testing.T) {
	ts := serve(t, Config{})
	const connections, rounds = 200, 50
	var asking sync.WaitGroup
	failures := make(chan error, connections)
	for i := range connections {
		c := dial(t, ts.addr)
		asking.Go(func() {
			for n := range rounds {
				key := fmt.Sprintf("%d/%d", i, n)
				if _, err := io.WriteString(c.conn, netstring("echo "+key)); err != nil {
					failures <- err
					return
				}
				if got, err := c.read(); err != nil || got != "OK "+key {
					failures <- fmt.Errorf("%s: answer %q, error %v", key, got, err)
					return
				}
			}
		})
	}
	asking.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	if n := lookups(ts.Server)[lookupKey{"echo", OK}]; n != connections*rounds {
		t.Errorf("%d look-ups counted, expected %d", n, connections*rounds)
	}
}

func TestPanicsBecomeTemporaryAnswers(t *testing.T) {
	ts := serve(t, Config{Maps: map[string]Map{
		"echo":   echo,
		"broken": Map(func(_ context.Context, key string) Answer { panic("cannot read " + key) }),
	}})
	c := dial(t, ts.addr)
	for range 3 {
		c.ask("broken a\nb", "TEMP internal error")
	}
	c.ask("echo a", "OK a")
	if n := ts.Counters.Panics.Load(); n != 3 || lookups(ts.Server)[lookupKey{"broken", Temp}] != 3 {
		t.Errorf("%d panics, look-ups %v", n, lookups(ts.Server))
	}
	log := ts.log.String()
	if n := strings.Count(log, `level=ERROR msg="map look-up panicked" map=broken key=a?b`); n != 3 {
		t.Errorf("%d panics in the log, expected 3:\n%s", n, log)
	}
	if n := strings.Count(log, "stack="); n != 1 {
		t.Errorf("%d stacks in the log, expected 1", n)
	}
}

func TestShutdownAnswersWhatHasBeenAsked(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ts := serve(t, Config{IdleGrace: testkit.Patience, Maps: map[string]Map{"slow": Map(func(_ context.Context, key string) Answer {
		once.Do(func() { close(begun) })
		<-release
		return Answer{OK, key}
	})}})
	c := dial(t, ts.addr)
	const requests = 500
	var all strings.Builder
	for i := range requests {
		all.WriteString(netstring("slow " + strconv.Itoa(i)))
	}
	c.send(all.String())
	c.conn.CloseWrite()
	<-begun
	done := make(chan error, 1)
	go func() { done <- ts.Shutdown(t.Context()) }()
	testkit.Eventually(t, "the socket is closed", func() bool {
		conn, err := net.Dial("unix", ts.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-done:
		t.Fatalf("the shutdown did not wait for the look-ups: %v", err)
	default:
	}
	close(release)
	for i := range requests {
		c.expect("OK " + strconv.Itoa(i))
	}
	c.expectClosed()
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownClosesIdleConnections(t *testing.T) {
	ts := serve(t, Config{})
	silent, used := dial(t, ts.addr), dial(t, ts.addr)
	used.ask("echo a", "OK a")
	testkit.Eventually(t, "both are served", func() bool { return ts.active() == 2 })
	if err := ts.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	silent.expectClosed()
	used.expectClosed()
}

func TestShutdownIsBounded(t *testing.T) {
	begun := make(chan struct{})
	ts := serve(t, Config{Maps: map[string]Map{"hangs": Map(func(ctx context.Context, _ string) Answer {
		close(begun)
		<-ctx.Done()
		return Answer{Temp, ctx.Err().Error()}
	})}})
	c := dial(t, ts.addr)
	c.send(netstring("hangs k"))
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ts.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	c.expectClosed()
}

func TestServeAfterShutdown(t *testing.T) {
	s := NewServer(Config{})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	if err := s.Serve(ln); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("unix", ln.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

func TestServeTellsOfABrokenListener(t *testing.T) {
	s := NewServer(Config{})
	ln := listen(t)
	ln.Close()
	if err := s.Serve(ln); !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), "accept on ") {
		t.Errorf("Serve: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOneServerServesSeveralListeners(t *testing.T) {
	ts := serve(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- ts.Serve(ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	io.WriteString(conn, netstring("echo tcp"))
	answer := make([]byte, len("6:OK tcp,"))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "6:OK tcp," {
		t.Errorf("answer %q, error %v", answer, err)
	}
	dial(t, ts.addr).ask("echo unix", "OK unix")
	if err := ts.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
