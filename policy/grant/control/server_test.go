package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"milterd/policy/grant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait that is expected to be short.
const patience = 20 * time.Second

// testLog is a log that can be read while it is written.
type testLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// noon is the time of the keepers here.
func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func newKeeper(t *testing.T, config grant.Config) *grant.Keeper {
	t.Helper()
	config.Now = noon
	keeper, err := grant.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keeper.Close() })
	return keeper
}

// running is a server on a socket of its own.
type running struct {
	path string
	log  *testLog
	// end stops the server and waits.
	end func()
}

func serve(t *testing.T, config Config) *running {
	t.Helper()
	r := &running{path: filepath.Join(t.TempDir(), "control.sock"), log: new(testLog)}
	config.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	s, err := NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
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

// peerConn is a raw connection.
type peerConn struct {
	*net.UnixConn
	t  *testing.T
	in *bufio.Reader
}

func (r *running) connect(t *testing.T) *peerConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: r.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &peerConn{conn, t, bufio.NewReader(conn)}
}

func (p *peerConn) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

// expect reads lines up to the end of an answer.
func (p *peerConn) expect(want ...string) {
	p.t.Helper()
	var got []string
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			p.t.Fatalf("after %q: %v", got, err)
		}
		line = strings.TrimSuffix(line, "\n")
		got = append(got, line)
		if word, _, _ := strings.Cut(line, " "); word == "ok" || word == "error" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Errorf("answer (-want +got):\n%s", diff)
	}
}

// expectEnd reads the end of the connection.
func (p *peerConn) expectEnd() {
	p.t.Helper()
	if rest, err := io.ReadAll(p.in); err != nil || len(rest) > 0 {
		p.t.Errorf("%q, %v, expected the end", rest, err)
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, ready func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

func TestDialogue(t *testing.T) {
	conn := serve(t, Config{Keeper: newKeeper(t, grant.Config{MaxPerUser: 2})}).connect(t)
	for _, step := range []struct {
		line string
		want []string
	}{
		{"list", []string{"ok 0 grants"}},
		{"grant 203.0.113.8 shin", []string{"ok granted 203.0.113.8 until 2026-03-01T12:30:00Z"}},
		{"grant ::ffff:203.0.113.8 shin", []string{"ok renewed 203.0.113.8 until 2026-03-01T12:30:00Z"}},
		{"list", []string{"grant 203.0.113.8 shin control 2026-03-01T12:00:00Z 2026-03-01T12:30:00Z", "ok 1 grant"}},
		{"grant 127.0.0.1", []string{"error excluded: loopback network 127.0.0.0/8"}},
		{"grant nonsense", []string{`error "nonsense" is not an IP address`}},
		{"revoke 203.0.113.9", []string{"error 203.0.113.9 has no grant"}},
		{"revoke 203.0.113.8\r", []string{"ok revoked 203.0.113.8"}},
		{"revoke 203.0.113.8", []string{"error 203.0.113.8 has no grant"}},
		{`grant 203.0.113.8 "Shin Oka"`, []string{"ok granted 203.0.113.8 until 2026-03-01T12:30:00Z"}},
		{`grant 2001:db8::8 "Shin Oka"`, []string{"ok granted 2001:db8::8 until 2026-03-01T12:30:00Z"}},
		{`revoke-user "Shin Oka"`, []string{`ok revoked 2 grants of "Shin Oka"`}},
		{`revoke-user "Shin Oka"`, []string{`error "Shin Oka" has no grants`}},
		{"", []string{"error no command, try help"}},
		{"help", []string{
			"help grant ADDR [USER]  let ADDR relay for a while, in the name of USER",
			"help revoke ADDR        end the grant of ADDR",
			"help revoke-user USER   end all grants of USER",
			"help list               tell all grants: address, user, source, since, expires",
			"help help               tell the commands",
			"help quit               hang up",
			"ok 6 commands"}},
		{"quit", []string{"ok bye"}},
	} {
		conn.send(step.line + "\n")
		conn.expect(step.want...)
	}
	conn.expectEnd()
}

func TestPipelinedCommandsAreAnsweredInOrder(t *testing.T) {
	conn := serve(t, Config{Keeper: newKeeper(t, grant.Config{})}).connect(t)
	conn.send("grant 203.0.113.8\nlist\nrevoke 203.0.113.8\nlist\nquit\nlist\n")
	conn.expect("ok granted 203.0.113.8 until 2026-03-01T12:30:00Z")
	conn.expect(`grant 203.0.113.8 "" control 2026-03-01T12:00:00Z 2026-03-01T12:30:00Z`, "ok 1 grant")
	conn.expect("ok revoked 203.0.113.8")
	conn.expect("ok 0 grants")
	conn.expect("ok bye")
}

func TestChangesAreLoggedWithWhoMadeThem(t *testing.T) {
	r := serve(t, Config{Keeper: newKeeper(t, grant.Config{})})
	conn := r.connect(t)
	for _, line := range []string{`grant 203.0.113.8 "Shin Oka"`, "list", "revoke 203.0.113.8", "revoke-user shin", "grant 127.0.0.1"} {
		conn.send(line + "\n")
		for {
			answer, err := conn.in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(answer, "grant ") {
				break
			}
		}
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(r.log.String()), "\n") {
		_, line, _ = strings.Cut(line, " level=")
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

// broken is a keeper whose store fails, with a text that is not fit for a line.
type broken struct{}

var errBroken = errors.New("store:\r\nok granted\x1b[2J " + strings.Repeat("é", 600))

func (broken) Login(context.Context, grant.Login) (grant.Result, error) {
	return grant.Result{}, errBroken
}
func (broken) Revoke(context.Context, netip.Addr) (bool, error) { return false, errBroken }
func (broken) RevokeUser(context.Context, string) (int, error)  { return 0, errBroken }
func (broken) List(_ context.Context, fn func(grant.Grant) bool) error {
	fn(grant.Grant{Addr: netip.MustParseAddr("203.0.113.8"), Source: "drac", Since: noon(), Expires: noon()})
	return errBroken
}

func TestAStoreThatFails(t *testing.T) {
	conn := serve(t, Config{Keeper: broken{}}).connect(t)
	failure := "error store:  ok granted [2J " + strings.Repeat("é", 244) + "..."
	for _, line := range []string{"grant 203.0.113.8", "revoke 203.0.113.8", "revoke-user shin"} {
		conn.send(line + "\n")
		conn.expect(failure)
	}
	conn.send("list\n")
	conn.expect(`grant 203.0.113.8 "" drac 2026-03-01T12:00:00Z 2026-03-01T12:00:00Z`, failure)
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
	return grant.Result{Outcome: grant.Granted, Grant: grant.Grant{Expires: noon()}}, ctx.Err()
}

func TestTheEndOfServing(t *testing.T) {
	t.Run("ends connections that wait", func(t *testing.T) {
		r := serve(t, Config{Keeper: newKeeper(t, grant.Config{})})
		conn := r.connect(t)
		conn.send("list\ngrant 203")
		conn.expect("ok 0 grants")
		r.end()
		if rest, _ := io.ReadAll(conn.in); len(rest) > 0 {
			t.Errorf("%q after the last answer", rest)
		}
	})
	t.Run("lets a change finish", func(t *testing.T) {
		keeper := endless{begun: make(chan struct{}), goOn: make(chan struct{})}
		r := serve(t, Config{Keeper: keeper})
		conn := r.connect(t)
		conn.send("grant 203.0.113.8\n")
		<-keeper.begun
		var ending sync.WaitGroup
		ending.Go(r.end)
		eventually(t, "nobody listens", func() bool {
			next, err := net.Dial("unix", r.path)
			if err == nil {
				next.Close()
			}
			return err != nil
		})
		close(keeper.goOn)
		conn.expect("ok granted 203.0.113.8 until 2026-03-01T12:00:00Z")
		conn.expectEnd()
		ending.Wait()
	})
	t.Run("cuts a list short, and says so", func(t *testing.T) {
		r := serve(t, Config{Keeper: endless{}})
		conn := r.connect(t)
		conn.send("list\n")
		if _, err := conn.in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		var ending sync.WaitGroup
		ending.Go(r.end)
		rest, err := io.ReadAll(conn.in)
		if err != nil || !strings.HasSuffix(string(rest), "\nerror context canceled\n") {
			t.Errorf("the last of %d bytes are %q, %v", len(rest), rest[max(0, len(rest)-40):], err)
		}
		ending.Wait()
	})
}

func TestOnlyUnixSockets(t *testing.T) {
	s, err := NewServer(Config{Keeper: broken{}})
	if err != nil {
		t.Fatal(err)
	}
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
	s, err := NewServer(Config{Keeper: broken{}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	if _, err := NewServer(Config{}); err == nil {
		t.Error("a server without a keeper")
	}
}
