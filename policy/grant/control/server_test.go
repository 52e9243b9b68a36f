package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the time of the keepers here.
func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func newKeeper(t *testing.T, config grant.Config) *grant.Keeper {
	t.Helper()
	config.Now = noon
	keeper := grant.New(config)
	t.Cleanup(func() { _ = keeper.Close() })
	return keeper
}

// running is a server on a socket of its own.
type running struct {
	path string
	log  *testkit.Log
	// end stops the server and waits.
	end func()
}

func serve(t *testing.T, config Config) *running {
	t.Helper()
	r := &running{path: filepath.Join(t.TempDir(), "control.sock"), log: new(testkit.Log)}
	config.Logger = r.log.Logger()
	s := NewServer(config)
	ln, err := net.Listen("unix", r.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	r.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(r.end)
	return r
}

// peerConnection is a raw connection.
type peerConnection struct {
	*net.UnixConn
	t  *testing.T
	in *bufio.Reader
}

func (r *running) connect(t *testing.T) *peerConnection {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: r.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	return &peerConnection{conn, t, bufio.NewReader(conn)}
}

func (p *peerConnection) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

// ask sends a request without a body.
func (p *peerConnection) ask(request string) {
	p.t.Helper()
	p.send(request + " HTTP/1.1\r\nHost: milterd\r\n\r\n")
}

// answer reads an answer.
func (p *peerConnection) answer() (status int, body string) {
	p.t.Helper()
	response, err := http.ReadResponse(p.in, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatalf("after %q: %v", text, err)
	}
	return response.StatusCode, string(text)
}

func (p *peerConnection) expect(wantStatus int, want string) {
	p.t.Helper()
	status, body := p.answer()
	if status != wantStatus || body != want {
		p.t.Errorf("got %d %q, want %d %q", status, body, wantStatus, want)
	}
}

// expectEnd reads the end of the connection.
func (p *peerConnection) expectEnd() {
	p.t.Helper()
	if rest, err := io.ReadAll(p.in); err != nil || len(rest) > 0 {
		p.t.Errorf("%q, %v, expected the end", rest, err)
	}
}

func TestRequests(t *testing.T) {
	conn := serve(t, Config{Keeper: newKeeper(t, grant.Config{MaxPerUser: 2, Max: 2})}).connect(t)
	user := func(name string) string { return "?user=" + url.QueryEscape(name) }
	long := strings.Repeat("x", grant.MaxUser+1)
	for _, step := range []struct {
		request string
		status  int
		want    string
	}{
		{"GET /grants", 200, ""},
		{"PUT /grants/203.0.113.8?user=shin", 200, "granted 203.0.113.8 until 2026-03-01T12:30:00Z\n"},
		{"PUT /grants/::ffff:203.0.113.8?user=shin", 200, "renewed 203.0.113.8 until 2026-03-01T12:30:00Z\n"},
		{"GET /grants", 200, `{"addr":"203.0.113.8","user":"shin","source":"control","since":"2026-03-01T12:00:00Z","expires":"2026-03-01T12:30:00Z"}` + "\n"},
		{"PUT /grants/127.0.0.1", 403, "excluded: loopback network 127.0.0.0/8\n"},
		{"DELETE /grants/203.0.113.9", 404, "203.0.113.9 has no grant\n"},
		{"DELETE /grants/203.0.113.8", 200, "revoked 203.0.113.8\n"},
		{"DELETE /grants/203.0.113.8", 404, "203.0.113.8 has no grant\n"},
		{"PUT /grants/203.0.113.8" + user("Shin <Oka>"), 200, "granted 203.0.113.8 until 2026-03-01T12:30:00Z\n"},
		{"PUT /grants/2001:0DB8:0:0::8" + user("Shin <Oka>"), 200, "granted 2001:db8::8 until 2026-03-01T12:30:00Z\n"},
		{"PUT /grants/203.0.113.9", 503, "full: too many relay grants\n"},
		{"DELETE /grants" + user("Shin <Oka>"), 200, `revoked 2 grants of "Shin <Oka>"` + "\n"},
		{"DELETE /grants" + user("Shin <Oka>"), 404, `"Shin <Oka>" has no grants` + "\n"},
		{"PUT /grants/203.0.113.8?user=", 200, "granted 203.0.113.8 until 2026-03-01T12:30:00Z\n"},
		{"DELETE /grants", 400, "expected DELETE /grants/ADDR or DELETE /grants?user=USER\n"},
		{"DELETE /grants?user=", 400, "expected DELETE /grants/ADDR or DELETE /grants?user=USER\n"},
		{"PUT /grants/nonsense", 400, "\"nonsense\" is not an IP address\n"},
		{"PUT /grants/203.0.113.0%2F24", 400, "\"203.0.113.0/24\" is not an IP address\n"},
		{"DELETE /grants/mx.example.test", 400, "\"mx.example.test\" is not an IP address\n"},
		{"PUT /grants/0203.0.0113.010", 400, "\"0203.0.0113.010\" is not an IP address\n"},
		{"PUT /grants/fe80::1%25eth0", 400, "\"fe80::1%eth0\" is not an IP address\n"},
		{"PUT /grants/%00%1b%ff", 400, `"\x00\x1b\xff" is not an IP address` + "\n"},
		{"PUT /grants/203.0.113.8" + user("a\nb"), 400, "user name has control characters\n"},
		{"PUT /grants/203.0.113.8" + user("a\x00b"), 400, "user name has control characters\n"},
		{"PUT /grants/203.0.113.8" + user("a\xff"), 400, "user name is not valid UTF-8\n"},
		{"DELETE /grants" + user(long), 400, "user name of 321 octets, the limit is 320\n"},
		{"GET /grants/203.0.113.8", 405, "Method Not Allowed\n"},
		{"POST /grants", 405, "Method Not Allowed\n"},
		{"GET /", 404, "404 page not found\n"},
		{"PUT /grants/203.0.113.8/more", 404, "404 page not found\n"},
	} {
		t.Run(step.request, func(t *testing.T) {
			conn.t = t
			conn.ask(step.request)
			conn.expect(step.status, step.want)
		})
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	conn := serve(t, Config{Keeper: newKeeper(t, grant.Config{})}).connect(t)
	for _, request := range []string{"PUT /grants/203.0.113.8", "GET /grants", "DELETE /grants/203.0.113.8", "GET /grants"} {
		conn.ask(request)
	}
	conn.expect(200, "granted 203.0.113.8 until 2026-03-01T12:30:00Z\n")
	conn.expect(200, `{"addr":"203.0.113.8","user":"","source":"control","since":"2026-03-01T12:00:00Z","expires":"2026-03-01T12:30:00Z"}`+"\n")
	conn.expect(200, "revoked 203.0.113.8\n")
	conn.expect(200, "")
}

func TestChangesAreLoggedWithWhoMadeThem(t *testing.T) {
	r := serve(t, Config{Keeper: newKeeper(t, grant.Config{})})
	conn := r.connect(t)
	for _, request := range []string{"PUT /grants/203.0.113.8?user=Shin+Oka", "GET /grants", "DELETE /grants/203.0.113.8", "DELETE /grants?user=shin", "PUT /grants/127.0.0.1"} {
		conn.ask(request)
		conn.answer()
	}
	var got []string
	for line := range strings.Lines(r.log.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), " level=")
		got = append(got, line)
	}
	who := fmt.Sprintf(`INFO msg="relay grants by hand" uid=%d pid=%d command=`, os.Getuid(), os.Getpid())
	want := []string{
		who + `grant client=203.0.113.8 user="Shin Oka" outcome=granted`,
		who + `revoke client=203.0.113.8 outcome="held: true"`,
		who + `revoke-user user=shin outcome="0 grants"`,
		who + `grant client=127.0.0.1 outcome=excluded`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// broken is a keeper whose store fails.
type broken struct{}

var errBroken = errors.New("store is gone")

func (broken) Login(context.Context, grant.Login) (grant.Result, error) {
	return grant.Result{}, errBroken
}
func (broken) Revoke(context.Context, netip.Addr) (bool, error)        { return false, errBroken }
func (broken) RevokeUser(context.Context, string) (int, error)         { return 0, errBroken }
func (broken) List(_ context.Context, fn func(grant.Grant) bool) error { return errBroken }

// listsOne fails after it has told one grant.
type listsOne struct{ broken }

func (listsOne) List(_ context.Context, fn func(grant.Grant) bool) error {
	fn(grant.Grant{Addr: netip.MustParseAddr("203.0.113.8"), Source: "drac", Since: noon(), Expires: noon()})
	return errBroken
}

func TestAStoreThatFails(t *testing.T) {
	conn := serve(t, Config{Keeper: broken{}}).connect(t)
	for _, request := range []string{"PUT /grants/203.0.113.8", "DELETE /grants/203.0.113.8", "DELETE /grants?user=shin", "GET /grants"} {
		conn.ask(request)
		conn.expect(503, "store is gone\n")
	}
}

func TestAListThatFailsIsCutShort(t *testing.T) {
	listed := 0
	err := NewClient(serve(t, Config{Keeper: listsOne{}}).path).List(t.Context(), func(grant.Grant) { listed++ })
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		t.Errorf("after %d grants: %v", listed, err)
	}
}

// endless is a keeper whose list has no end, and whose login waits to be let go.
type endless struct {
	broken
	begun, goOn chan struct{}
}

func (e endless) List(ctx context.Context, fn func(grant.Grant) bool) error {
	for ctx.Err() == nil && fn(grant.Grant{Addr: netip.MustParseAddr("203.0.113.8"), Source: "drac", Since: noon(), Expires: noon()}) {
	}
	return ctx.Err()
}

func (e endless) Login(ctx context.Context, _ grant.Login) (grant.Result, error) {
	e.begun <- struct{}{}
	<-e.goOn
	return grant.Result{Decision: grant.Granted, Grant: grant.Grant{Expires: noon()}}, ctx.Err()
}

func TestTheEndOfServing(t *testing.T) {
	t.Run("ends connections that wait", func(t *testing.T) {
		r := serve(t, Config{Keeper: newKeeper(t, grant.Config{})})
		conn := r.connect(t)
		conn.ask("GET /grants")
		conn.expect(200, "")
		r.end()
		conn.expectEnd()
	})
	t.Run("lets a change finish", func(t *testing.T) {
		keeper := endless{begun: make(chan struct{}), goOn: make(chan struct{})}
		r := serve(t, Config{Keeper: keeper})
		conn := r.connect(t)
		conn.ask("PUT /grants/203.0.113.8")
		<-keeper.begun
		var ending sync.WaitGroup
		ending.Go(r.end)
		testkit.Eventually(t, "the server has closed its socket", func() bool {
			next, err := net.Dial("unix", r.path)
			if err == nil {
				next.Close()
			}
			return err != nil
		})
		close(keeper.goOn)
		conn.expect(200, "granted 203.0.113.8 until 2026-03-01T12:00:00Z\n")
		conn.expectEnd()
		ending.Wait()
	})
	t.Run("cuts a list short, and says so", func(t *testing.T) {
		r := serve(t, Config{Keeper: endless{}})
		var ending sync.WaitGroup
		end := sync.OnceFunc(func() { ending.Go(r.end) })
		err := NewClient(r.path).List(t.Context(), func(grant.Grant) { end() })
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("List: %v", err)
		}
		ending.Wait()
	})
}

func TestHostilePeers(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	for _, test := range []struct {
		name, send string
		want       int
	}{
		{"a path that is too long", "PUT /grants/" + long + " HTTP/1.1\r\n", 431},
		{"a header that is too long", "GET /grants HTTP/1.1\r\nHost: milterd\r\nX: " + long + "\r\n\r\n", 431},
		{"bytes", "\x00\x01\xfe\xff\r\n\r\n", 400},
		{"a TLS handshake", "\x16\x03\x01\x02\x00\n\n", 400},
		{"no host", "GET /grants HTTP/1.1\r\n\r\n", 400},
		{"a command of SMTP", "EHLO client.example.com\r\n\r\n", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := serve(t, Config{Keeper: newKeeper(t, grant.Config{})})
			conn := r.connect(t)
			// The server may hang up before it has taken everything.
			_, _ = io.WriteString(conn, test.send)
			response, err := http.ReadResponse(conn.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != test.want {
				t.Errorf("%s, want %d", response.Status, test.want)
			}
			other := r.connect(t)
			other.ask("GET /grants")
			other.expect(200, "")
		})
	}
}

func TestSilentPeersAreHungUpOn(t *testing.T) {
	for _, test := range []struct{ name, send string }{
		{"who says nothing", ""},
		{"who does not end a request", "PUT /grants/203.0.113.8 HTTP/1.1\r\nHost: milt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			keeper := newKeeper(t, grant.Config{})
			conn := serve(t, Config{Keeper: keeper, Timeout: 20 * time.Millisecond}).connect(t)
			conn.send(test.send)
			_, _ = io.ReadAll(conn.in)
			if n := testkit.Metric(t, keeper, "milterd_grants"); n != 0 {
				t.Errorf("%v grants, expected none", n)
			}
		})
	}
}

func TestTooManyConnectionsWait(t *testing.T) {
	r := serve(t, Config{Keeper: newKeeper(t, grant.Config{}), MaxConnections: 2})
	held := []*peerConnection{r.connect(t), r.connect(t)}
	for _, conn := range held {
		conn.ask("GET /grants")
		conn.expect(200, "")
	}
	waiting := r.connect(t)
	waiting.ask("GET /grants")
	if err := waiting.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := waiting.in.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a third connection is served (%v)", err)
	}
	held[0].Close()
	if err := waiting.SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	waiting.expect(200, "")
}

func TestAPeerThatLeavesInTheMiddleOfAList(t *testing.T) {
	r := serve(t, Config{Keeper: endless{}, MaxConnections: 1})
	conn := r.connect(t)
	conn.ask("GET /grants")
	if _, err := conn.in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	next := r.connect(t)
	next.ask("GET /")
	next.expect(404, "404 page not found\n")
}

func TestOnlyUnixSockets(t *testing.T) {
	s := NewServer(Config{Keeper: broken{}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Serve(t.Context(), ln)
	if err == nil || !strings.Contains(err.Error(), "a tcp socket does not know who connects") {
		t.Errorf("Serve: %v", err)
	}
}

func TestAnErrorOfAccept(t *testing.T) {
	s := NewServer(Config{Keeper: broken{}})
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}
