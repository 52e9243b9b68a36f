package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/grant"
	"milterd/policy/grant/redis"
	"milterd/policy/limits"
)

func limit(t testing.TB, name string, mode policy.Mode, texts ...string) *policy.Limit {
	t.Helper()
	l := &policy.Limit{Name: name, Mode: mode, By: policy.ByLogin, Count: policy.CountRecipients}
	for _, text := range texts {
		r, err := policy.ParseRate(text)
		if err != nil {
			t.Fatal(err)
		}
		l.Rates = append(l.Rates, r)
	}
	return l
}

// host is a keeper that shares its counts.
func host(t testing.TB, config redis.Config, log *testkit.Log) *limits.Keeper {
	t.Helper()
	if config.Timeout == 0 {
		config.Timeout = testkit.Patience
	}
	client, err := redis.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	k, err := limits.New(limits.Config{Shared: client.Limits(), Logger: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// send asks for room n times, and returns how many were taken.
func send(t testing.TB, k *limits.Keeper, n int, login string, all ...*policy.Limit) (taken int) {
	for range n {
		var queries []policy.LimitQuery
		for _, l := range all {
			queries = append(queries, policy.LimitQuery{Limit: l, Key: login, Rates: l.Rates, N: 1, Enforced: l.Mode == policy.ModeEnforce})
		}
		room := !k.Count(t.Context(), login, queries)
		for _, q := range queries {
			room = room && (q.Answer.Wait == 0 || !q.Enforced)
		}
		if room {
			taken++
		}
	}
	return taken
}

func TestManyHostsShareOneLimitWithoutOvershoot(t *testing.T) {
	s := startServer(t)
	log := new(testkit.Log)
	day, hour, shadow := limit(t, "day", policy.ModeEnforce, "200/24h"), limit(t, "hour", policy.ModeEnforce, "1000/1h", "100/24h"), limit(t, "shadow", policy.ModeShadow, "5/24h")
	var running sync.WaitGroup
	taken := make([]int, 8)
	for i := 0; i < len(taken); i += 2 {
		k := host(t, redis.Config{Addresses: []string{s.socket()}}, log)
		running.Go(func() { taken[i] = send(t, k, 50, "shin", day, hour, shadow) })
		running.Go(func() { taken[i+1] = send(t, k, 50, "shin", day, hour, shadow) })
	}
	running.Wait()
	sum := 0
	for _, n := range taken {
		sum += n
	}
	if sum != 100 {
		t.Errorf("%v taken, want 100 in all; log %s", taken, log)
	}
}

func TestHostileLoginsShareNoKeyInTheServer(t *testing.T) {
	s := startServer(t)
	l := limit(t, "l", policy.ModeEnforce, "1/24h")
	k := host(t, redis.Config{Addresses: []string{s.socket()}}, new(testkit.Log))
	logins := []string{"a", "a:{b}", "{a}", "a\r\nSET x 1", "a\x00", "*", strings.Repeat("x", 10_000), strings.Repeat("x", 10_001)}
	for _, login := range logins {
		if n := send(t, k, 2, login, l); n != 1 {
			t.Errorf("%.20q: %d taken, want 1 of its own", login, n)
		}
	}
	if n := s.do("DBSIZE"); n != int64(len(logins)) {
		t.Errorf("%v keys, want %d", n, len(logins))
	}
}

func TestABlockHoldsOnAllHosts(t *testing.T) {
	s := startServer(t)
	l := limit(t, "l", policy.ModeEnforce, "3/24h")
	config := redis.Config{Addresses: []string{s.socket()}}
	a, b := host(t, config, new(testkit.Log)), host(t, config, new(testkit.Log))
	a.Use([]policy.Limit{*l}, nil)
	hostile := "Shin:{x}\r\n"
	if err := a.Block(t.Context(), hostile, time.Hour); err != nil {
		t.Fatal(err)
	}
	folded := strings.ToLower(hostile)
	if n := send(t, b, 1, folded+"@good.example", l); n != 0 {
		t.Error("taken at the other host, with a realm")
	}
	if n := send(t, b, 1, folded, l); n != 0 {
		t.Error("taken at the other host")
	}
	blocks, err := b.Blocks(t.Context())
	if err != nil || len(blocks) != 1 || blocks[folded] < 59*time.Minute || blocks[folded] > time.Hour {
		t.Errorf("blocks %v %v", blocks, err)
	}
	if was, err := a.Release(t.Context(), hostile); !was || err != nil {
		t.Errorf("release: %t %v", was, err)
	}
	if n := send(t, b, 5, folded, l); n != 3 {
		t.Errorf("%d taken after the release, want 3", n)
	}
	// Both begin anew, although the other host knows how much was used.
	if was, err := a.Release(t.Context(), hostile); was || err != nil {
		t.Errorf("release of one that is not blocked: %t %v", was, err)
	}
	if n := send(t, b, 5, folded, l); n != 3 {
		t.Errorf("%d taken after the second release, want 3", n)
	}
	if diff := cmp.Diff(map[string]time.Duration{}, must(b.Blocks(t.Context()))); diff != "" {
		t.Errorf("blocks (-want +got): %s", diff)
	}
}

func must(m map[string]time.Duration, err error) map[string]time.Duration {
	if err != nil {
		panic(err)
	}
	return m
}

func TestAClusterAndSentinels(t *testing.T) {
	s := startServer(t, "--cluster-enabled", "yes", "--port", fmt.Sprint(freePort(t)), "--bind", "127.0.0.1")
	port := s.do("CONFIG", "GET", "port").([]any)[1].(string)
	s.do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	address := net.JoinHostPort("127.0.0.1", port)
	testkit.Eventually(t, "the cluster is well", func() bool {
		info, _ := s.do("CLUSTER", "INFO").(string)
		return strings.Contains(info, "cluster_state:ok")
	})
	shareAll(t, redis.Config{Addresses: []string{address}, Cluster: true})

	plain := startServer(t, "--port", fmt.Sprint(freePort(t)), "--bind", "127.0.0.1")
	shareAll(t, redis.Config{Addresses: []string{sentinel(t, plain, "")}, Master: "mail"})
}

// shareAll uses everything that a client does.
func shareAll(t *testing.T, config redis.Config) {
	t.Helper()
	config.Timeout = testkit.Patience
	l := limit(t, "l", policy.ModeEnforce, "3/24h")
	a, b := host(t, config, new(testkit.Log)), host(t, config, new(testkit.Log))
	if n := send(t, a, 2, "shin", l) + send(t, b, 5, "shin", l); n != 3 {
		t.Errorf("%+v: %d taken, want 3", config, n)
	}
	if err := a.Block(t.Context(), "who", time.Hour); err != nil {
		t.Errorf("%+v: %v", config, err)
	}
	if blocks, err := b.Blocks(t.Context()); err != nil || len(blocks) != 1 {
		t.Errorf("%+v: %v %v", config, blocks, err)
	}
	store, err := redis.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	put(t, store, first, "shin", time.Hour)
	listed := 0
	err = store.List(t.Context(), func(grant.Grant) bool { listed++; return true })
	if !holds(t, store, first) || listed != 1 || err != nil {
		t.Errorf("%+v: %d grants, %v", config, listed, err)
	}
	if gone, err := store.DeleteUser(context.Background(), "shin"); err != nil || len(gone) != 1 {
		t.Errorf("%+v: %v %v", config, gone, err)
	}
}

// sentinel starts a Sentinel, with further options, that knows a server by the name mail.
func sentinel(t *testing.T, of *server, options string) string {
	t.Helper()
	port := of.do("CONFIG", "GET", "port").([]any)[1].(string)
	own := fmt.Sprint(freePort(t))
	file := filepath.Join(of.dir, "sentinel.conf")
	config := "port " + own + "\nbind 127.0.0.1\ndir " + of.dir + "\nsentinel monitor mail 127.0.0.1 " + port + " 1\n" + options
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", file, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address := net.JoinHostPort("127.0.0.1", own)
	testkit.Eventually(t, "the Sentinel listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return address
}

func TestQuestionsAreOneRoundTrip(t *testing.T) {
	s := startServer(t)
	k := host(t, redis.Config{Addresses: []string{s.socket()}}, new(testkit.Log))
	l, other := limit(t, "l", policy.ModeEnforce, "100/1h", "1000/24h"), limit(t, "m", policy.ModeShadow, "5/1m")
	send(t, k, 1, "shin", l, other) // the script is loaded
	calls := func() (n int) {
		for line := range strings.Lines(s.do("INFO", "commandstats").(string)) {
			if name, rest, _ := strings.Cut(line, ":calls="); name == "cmdstat_evalsha" || name == "cmdstat_eval" {
				count := 0
				fmt.Sscanf(rest, "%d", &count)
				n += count
			}
		}
		return n
	}
	before := calls()
	send(t, k, 10, "shin", l, other)
	if n := calls() - before; n != 10 {
		t.Errorf("%d round trips for 10 recipients, want one each", n)
	}
}
