package redis_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/grant/redis"
	"milterd/policy/limits"
)

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
// the clock went back; forward, what this host has counted stays. The times that the server
// keeps are moved in place of its clock.
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
	if n := send(t, k, 10, "mari", hour); n != 0 {
		t.Errorf("a clock that went forward: %d taken, expected none", n)
	}
	if log.Has("away") {
		t.Errorf("log %s", log)
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

// TestAServerThatLosesAPartUnnoticed, as a replica does that becomes the master before it has
// heard of all: no host takes more than the limit by its own count, and what was not lost is
// not counted twice.
func TestAServerThatLosesAPartUnnoticed(t *testing.T) {
	s := startServer(t)
	l := limit(t, "l", policy.ModeEnforce, "20/24h")
	config := redis.Config{Addresses: []string{s.socket()}}
	a, b := host(t, config, new(testkit.Log)), host(t, config, new(testkit.Log))
	a.Use([]policy.Limit{*l}, nil)
	key := func() string { return s.do("KEYS", "*limit:*").([]any)[0].(string) }
	send(t, a, 4, "shin", l)
	old := s.do("GET", key())
	forget := func() { s.do("SET", key(), old, "KEEPTTL") }
	taken := 4
	for range 5 {
		taken += send(t, a, 3, "shin", l)
		forget()
	}
	if taken += send(t, a, 10, "shin", l); taken != 20 {
		t.Errorf("%d taken, expected the 20 of the limit", taken)
	}
	forget()
	if n := send(t, a, 1, "shin", l); n != 0 {
		t.Error("one more taken")
	}
	// The other host hears of it from the server, which was told.
	if n := send(t, b, 5, "shin", l); n != 0 {
		t.Errorf("%d taken at another host", n)
	}
	// Who was released has all of the limit, whatever the other host knows.
	if _, err := a.Release(t.Context(), "shin"); err != nil {
		t.Fatal(err)
	}
	if n := send(t, b, 8, "shin", l) + send(t, a, 30, "shin", l); n != 20 {
		t.Errorf("%d taken after the release, expected 20", n)
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
