package redis_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"milterd/integration/testkit"
	"milterd/policy/grant/redis"
)

func TestMain(m *testing.M) {
	redis.RouteLibraryLog(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// server is a real redis-server on a unix socket.
type server struct {
	t      testing.TB
	dir    string
	cmd    *exec.Cmd
	output bytes.Buffer
	// password is what the tests' own clients log in with.
	password string
	// ended is closed when the process has.
	ended chan struct{}
}

// startServer starts a server for one test; args are further options of
// redis-server.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	testkit.Need(t, "redis-server")
	// The name of a unix socket is short, and t.TempDir is named after the test.
	dir, err := os.MkdirTemp("", "grants")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{t: t, dir: dir}
	t.Cleanup(s.stop)
	s.start(args...)
	return s
}

func (s *server) socket() string { return filepath.Join(s.dir, "redis.sock") }

// start runs the server and waits until it answers.
func (s *server) start(args ...string) {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", s.socket(),
		"--dir", s.dir, "--save", "", "--appendonly", "no", "--loglevel", "warning"}, args...)...)
	s.output.Reset()
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	s.ended = ended
	cmd := s.cmd
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	client := s.client()
	defer client.Close()
	testkit.Eventually(s.t, "redis-server answers", func() bool {
		select {
		case <-ended:
			s.t.Fatalf("redis-server ended:\n%s", s.output.String())
		default:
		}
		err := client.Ping(s.t.Context()).Err()
		return err == nil || goredis.HasErrorPrefix(err, "NOAUTH") || goredis.HasErrorPrefix(err, "WRONGPASS")
	})
}

// client is another program that uses the server.
func (s *server) client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Network: "unix", Addr: s.socket(), Password: s.password, Protocol: 2, MaxRetries: -1, PipelinePoolSize: -1,
		DialTimeout: testkit.Patience, ReadTimeout: testkit.Patience, WriteTimeout: testkit.Patience})
}

// do runs a command as another program would.
func (s *server) do(args ...any) any {
	s.t.Helper()
	client := s.client()
	defer client.Close()
	reply, err := client.Do(s.t.Context(), args...).Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		s.t.Fatalf("%v: %v", args, err)
	}
	return reply
}

// stop kills the server, as a crash would.
func (s *server) stop() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
}

// signal stops the process for a while (SIGSTOP) or lets it go on.
func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// open makes a store for the server. On a busy machine the server is late, and not dead.
func (s *server) open(change func(*redis.Config)) *redis.Store {
	s.t.Helper()
	config := redis.Config{Addresses: []string{s.socket()}, Timeout: testkit.Patience}
	if change != nil {
		change(&config)
	}
	store, err := redis.New(config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			s.t.Errorf("close: %v", err)
		}
	})
	return store
}

// freePort is a port that was free a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
