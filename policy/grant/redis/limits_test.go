package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
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

func TestAServerThatLosesAllIsToldWhatWasCounted(t *testing.T) {
	s := startServer(t)
	log := new(testkit.Log)
	l := limit(t, "l", policy.ModeEnforce, "100/24h")
	k := host(t, redis.Config{Addresses: []string{s.socket()}}, log)
	if n := send(t, k, 60, "shin", l); n != 60 {
		t.Fatalf("%d taken", n)
	}
	s.stop()
	if n := send(t, k, 20, "shin", l); n != 20 {
		t.Errorf("%d taken while the server is away: nothing is refused for that", n)
	}
	if !log.Has("the shared store of the limits is away") {
		t.Errorf("log: %s", log)
	}
	s.start() // it has nothing
	testkit.Eventually(t, "the server is asked again", func() bool {
		send(t, k, 1, "other", l)
		return log.Has("works again")
	})
	if n := send(t, k, 100, "shin", l); n != 20 {
		t.Errorf("%d taken after the server lost all, want the 20 that are left", n)
	}
	// Another host hears of it, too.
	if n := send(t, host(t, redis.Config{Addresses: []string{s.socket()}}, log), 1, "shin", l); n != 0 {
		t.Error("taken at another host")
	}
}

// TestAServerThatKeptAllIsToldWhatWasCountedAlone: two hosts have counted without it, and
// nothing of that is forgotten.
func TestAServerThatKeptAllIsToldWhatWasCountedAlone(t *testing.T) {
	kept := []string{"--appendonly", "yes", "--appendfsync", "always"}
	s := startServer(t, kept...)
	l := limit(t, "l", policy.ModeEnforce, "100/24h")
	logs := []*testkit.Log{new(testkit.Log), new(testkit.Log)}
	config := redis.Config{Addresses: []string{s.socket()}}
	hosts := []*limits.Keeper{host(t, config, logs[0]), host(t, config, logs[1])}
	each := func(n int) (taken int) { return send(t, hosts[0], n, "shin", l) + send(t, hosts[1], n, "shin", l) }
	if n := each(20); n != 40 {
		t.Fatalf("%d taken", n)
	}
	s.stop()
	if n := each(15); n != 30 {
		t.Errorf("%d taken while the server is away, expected all 30", n)
	}
	s.start(kept...)
	testkit.Eventually(t, "the server is asked again by both", func() bool {
		send(t, hosts[0], 1, "other", l)
		send(t, hosts[1], 1, "other", l)
		return logs[0].Has("works again") && logs[1].Has("works again")
	})
	// Each tells of its own when it is asked.
	if n := each(1) + each(50); n != 30 {
		t.Errorf("%d taken after that, expected the 30 that are left", n)
	}
}

// TestAHostAndTheServerEndTogether: what the host's file has is told to the server.
func TestAHostAndTheServerEndTogether(t *testing.T) {
	s := startServer(t)
	l := limit(t, "l", policy.ModeEnforce, "10/24h")
	open := func(file string) *limits.Keeper {
		client, err := redis.Open(redis.Config{Addresses: []string{s.socket()}, Timeout: testkit.Patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		k, err := limits.New(limits.Config{Shared: client.Limits(), File: file})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	file := filepath.Join(s.dir, "limits")
	k := open(file)
	send(t, k, 8, "shin", l)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	s.do("FLUSHALL")
	if n := send(t, open(file), 10, "shin", l); n != 2 {
		t.Errorf("%d taken, expected the 2 that are left", n)
	}
}

// TestTheServersClockJumps: back, what is full stays full, and is not put off for as long as
// the clock went back; forward, there is room earlier. The times that the server keeps are
// moved in place of its clock.
func TestTheServersClockJumps(t *testing.T) {
	s := startServer(t)
	l, hour, log := limit(t, "l", policy.ModeEnforce, "2/2s"), limit(t, "hour", policy.ModeEnforce, "5/1h"), new(testkit.Log)
	k := host(t, redis.Config{Addresses: []string{s.socket()}}, log)
	jump := func(by time.Duration) {
		t.Helper()
		for _, key := range s.do("KEYS", "*limit:*").([]any) {
			at, err := strconv.ParseInt(s.do("GET", key).(string), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			s.do("SET", key, at-by.Microseconds())
		}
	}
	send(t, k, 5, "mari", hour)
	send(t, k, 2, "shin", l)
	jump(-24 * time.Hour)
	if n := send(t, k, 3, "mari", hour); n != 0 {
		t.Errorf("a clock that went back: %d taken, expected none", n)
	}
	testkit.Eventually(t, "there is room again, a day earlier", func() bool { return send(t, k, 1, "shin", l) == 1 })
	jump(24 * time.Hour)
	if n := send(t, k, 10, "mari", hour); n != 5 {
		t.Errorf("a clock that went forward: %d taken, expected the 5 of the new hour", n)
	}
	if log.Has("away") {
		t.Errorf("log %s", log)
	}
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

// TestABlockOutlivesTheServersData: what a host knows to be blocked stays so, unless it was
// released.
func TestABlockOutlivesTheServersData(t *testing.T) {
	s := startServer(t)
	l := limit(t, "l", policy.ModeEnforce, "1000/24h")
	clock := testkit.NewClock(time.Now())
	config := redis.Config{Addresses: []string{s.socket()}, Now: clock.Now}
	log := new(testkit.Log)
	a, b := host(t, config, log), host(t, config, log)
	taken := func(k *limits.Keeper, login string) int { return send(t, k, 1, login, l) }
	back := func(k *limits.Keeper) {
		testkit.Eventually(t, "the server is asked again", func() bool {
			clock.Advance(2 * time.Second)
			_, err := k.Blocks(t.Context())
			return err == nil
		})
	}
	if err := a.Block(t.Context(), "tom", limits.Forever); err != nil {
		t.Fatal(err)
	}
	if taken(a, "tom") != 0 || taken(b, "tom@example.test") != 0 {
		t.Error("a blocked login sends")
	}
	s.do("FLUSHALL")
	if taken(a, "tom") != 0 {
		t.Error("it sends once the server has lost its data")
	}
	if blocks, err := host(t, config, log).Blocks(t.Context()); err != nil || !limits.EndsByHand(blocks["tom"]) {
		t.Errorf("the server was not told: %v, %v", blocks, err)
	}

	s.stop()
	if err := b.Block(t.Context(), "mari", time.Hour); err == nil {
		t.Error("no word of the server's being away")
	}
	s.start()
	back(a)
	back(b)
	for i, k := range []*limits.Keeper{b, a} {
		if taken(k, "mari") != 0 || taken(k, "tom") != 0 {
			t.Errorf("host %d: a login that was blocked while the server was away, or before, sends", i)
		}
	}
	for _, login := range []string{"mari", "tom"} {
		if was, err := a.Release(t.Context(), login); !was || err != nil {
			t.Errorf("%s was not blocked: %v", login, err)
		}
		if taken(b, login) != 1 || taken(a, login) != 1 {
			t.Errorf("%s is released, and does not send", login)
		}
	}
	// Released some time ago, and blocked while the server that knows so is away.
	s.signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := a.Block(ctx, "mari", time.Hour); err == nil {
		t.Error("no word of the server's not answering")
	}
	s.signal(syscall.SIGCONT)
	back(a)
	if taken(a, "mari") != 0 || taken(b, "mari") != 0 {
		t.Error("a new block ends by an old release")
	}
}

// TestABlockIsNotedOnce, whatever realm is written with the login.
func TestABlockIsNotedOnce(t *testing.T) {
	s := startServer(t)
	l := limit(t, "l", policy.ModeEnforce, "1000/24h")
	k := host(t, redis.Config{Addresses: []string{s.socket()}}, new(testkit.Log))
	if err := k.Block(t.Context(), "tom", time.Hour); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if send(t, k, 1, fmt.Sprintf("tom@r%d.example", i), l) != 0 {
			t.Fatal("it sends")
		}
	}
	s.stop()
	if blocks, _ := k.Blocks(t.Context()); len(blocks) != 1 || blocks["tom"] == 0 {
		t.Errorf("noted here: %v", blocks)
	}
}

// TestAServerThatLosesAllUnnoticed, as it is back before it is asked, is told all the same;
// and one that was away before anything is taken.
func TestAServerThatLosesAllUnnoticed(t *testing.T) {
	s := startServer(t)
	l := limit(t, "l", policy.ModeEnforce, "5/1h")
	clock := testkit.NewClock(time.Now())
	k := host(t, redis.Config{Addresses: []string{s.socket()}, Now: clock.Now}, new(testkit.Log))
	if n := send(t, k, 8, "tom", l); n != 5 {
		t.Fatalf("%d taken", n)
	}
	s.do("FLUSHALL")
	if n := send(t, k, 8, "tom", l); n != 0 {
		t.Errorf("%d more taken, as the server has lost all", n)
	}
	s.stop()
	if n := send(t, k, 2, "tom", l); n != 0 {
		t.Errorf("%d more taken without the server", n)
	}
	s.start()
	for range 100 {
		clock.Advance(time.Second)
		if n := send(t, k, 1, "tom", l); n != 0 {
			t.Fatal("one more taken once the server is back without its data")
		}
	}
	if n := send(t, k, 8, "mari", l); n != 5 {
		t.Errorf("another login: %d taken, want 5", n)
	}
}

// TestAClockThatWentBackFillsNothing: a key knows how long it has.
func TestAClockThatWentBackFillsNothing(t *testing.T) {
	s := startServer(t)
	l := limit(t, "l", policy.ModeEnforce, "100/1h")
	k := host(t, redis.Config{Addresses: []string{s.socket()}}, new(testkit.Log))
	send(t, k, 3, "tom", l)
	for _, key := range s.do("KEYS", "*limit:*").([]any) {
		at, err := strconv.ParseInt(s.do("GET", key).(string), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s.do("SET", key, at+(50*time.Minute).Microseconds(), "KEEPTTL")
	}
	if n := send(t, k, 97, "tom", l); n < 96 {
		t.Errorf("%d taken of 97", n)
	}
}
