package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
	"milterd/policy/grant"
	"milterd/policy/grant/redis"
)

var (
	first = netip.MustParseAddr("203.0.113.1")
	other = netip.MustParseAddr("2001:db8::1")
)

func put(t testing.TB, s *redis.Store, addr netip.Addr, user string, ttl time.Duration) grant.Change {
	t.Helper()
	change, err := s.Put(t.Context(), grant.Login{Addr: addr, User: user, Source: "dovecot"}, ttl, 10)
	if err != nil {
		t.Fatal(err)
	}
	return change
}

// holds says whether an address has a grant.
func holds(t testing.TB, s *redis.Store, addr netip.Addr) bool {
	t.Helper()
	_, ok, err := s.Get(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestLoginAtOneHostCountsAtTheOther(t *testing.T) {
	s := startServer(t)
	a, b := s.open(nil), s.open(nil)
	put(t, a, first, "shin", time.Hour)
	g, ok, err := b.Get(t.Context(), first)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if g.User != "shin" || g.Source != "dovecot" || g.Addr != first {
		t.Errorf("got %+v", g)
	}
	if left := time.Until(g.Expires); left <= 59*time.Minute || left > time.Hour {
		t.Errorf("it has %v left", left)
	}
	if change := put(t, b, first, "shin", time.Hour); !change.Renewed || !change.Grant.Since.Equal(g.Since) {
		t.Errorf("renewed at the other host: %+v, first %v", change, g.Since)
	}
	if ok, err := b.Delete(t.Context(), first); !ok || err != nil {
		t.Error(ok, err)
	}
	if holds(t, a, first) {
		t.Error("revoked at the other host, and still held")
	}
}

func TestServerEndsGrants(t *testing.T) {
	s := startServer(t)
	a, b := s.open(nil), s.open(nil)
	put(t, a, first, "shin", 50*time.Millisecond)
	put(t, a, other, "shin", 50*time.Millisecond)
	put(t, b, other, "shin", time.Hour)
	testkit.Eventually(t, "the grant is over", func() bool { return !holds(t, b, first) })
	var gone []grant.Grant
	testkit.Eventually(t, "its end is reported", func() bool {
		more, err := a.Expire(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		gone = append(gone, more...)
		return len(gone) > 0
	})
	if len(gone) != 1 || gone[0].Addr != first {
		t.Errorf("reported: %v", gone)
	}
	if !holds(t, a, other) {
		t.Error("the one that was renewed at the other host is gone")
	}
	keys, _ := s.do("KEYS", "*").([]any)
	if len(keys) != 2 {
		t.Errorf("keys: %v", keys)
	}
}

func TestDeadServerIsTemporaryAndItsReturnIsSeen(t *testing.T) {
	for _, tt := range []struct {
		name       string
		down       func(*server)
		up         func(*server)
		keepsState bool
	}{
		{"killed", (*server).stop, func(s *server) { s.start() }, false},
		{"hanging", func(s *server) { s.signal(syscall.SIGSTOP) }, func(s *server) { s.signal(syscall.SIGCONT) }, true},
		{"changed password", func(s *server) {
			s.do("CONFIG", "SET", "requirepass", "changed")
			s.password = "changed"
			s.do("CLIENT", "KILL", "TYPE", "normal")
		}, func(s *server) {
			s.do("CONFIG", "SET", "requirepass", "")
			s.password = ""
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t)
			var log testkit.Log
			store := s.open(func(c *redis.Config) { c.Timeout = 200 * time.Millisecond })
			k := grant.New(grant.Config{Store: store, Logger: log.Logger()})
			state := func(addr netip.Addr) grant.State {
				_, state := k.Grant(t.Context(), addr)
				return state
			}
			login := func() error {
				_, err := k.Login(t.Context(), grant.Login{Addr: first, User: "shin", Source: "test"})
				return err
			}
			testkit.Eventually(t, "a login", func() bool { return login() == nil })
			testkit.Eventually(t, "its grant", func() bool { return state(first) == grant.Held })

			tt.down(s)
			for _, addr := range []netip.Addr{first, other} {
				if got := state(addr); got != grant.Temporary {
					t.Errorf("%v: %v", addr, got)
				}
			}
			if err := login(); err == nil {
				t.Error("a login was taken")
			}
			if !k.Known(first) || k.Known(other) {
				t.Errorf("known: %v, stranger known: %v", k.Known(first), k.Known(other))
			}

			tt.up(s)
			testkit.Eventually(t, "the server is asked again", func() bool { return state(other) == grant.None })
			want := grant.None
			if tt.keepsState {
				want = grant.Held
			}
			testkit.Eventually(t, "the grant is as it was", func() bool { return state(first) == want })
			testkit.Eventually(t, "a login counts again", func() bool { return login() == nil && state(first) == grant.Held })
			if n := strings.Count(log.String(), "works again"); n == 0 {
				t.Errorf("log:\n%s", log.String())
			}
		})
	}
}

func TestATimeoutThatIsChangedCounts(t *testing.T) {
	clock := testkit.NewClock(time.Now())
	store := startServer(t).open(func(c *redis.Config) { c.Timeout, c.Now = time.Nanosecond, clock.Now })
	if err := store.Ping(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with no time: %v", err)
	}
	store.SetTimeout(testkit.Patience)
	clock.Advance(time.Minute)
	if err := store.Ping(t.Context()); err != nil {
		t.Errorf("with more time: %v", err)
	}
}

func TestServerThatHangsIsWaitedForOnceASecond(t *testing.T) {
	s := startServer(t)
	var mu sync.Mutex
	clock := testkit.NewClock(time.Now())
	store := s.open(func(c *redis.Config) {
		c.Timeout = 50 * time.Millisecond
		c.Now = clock.Now
	})
	s.signal(syscall.SIGSTOP)
	// ask says how many of many waited for the server.
	ask := func() (waited int) {
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				_, ok, err := store.Get(t.Context(), first)
				if ok || err == nil {
					t.Error("an answer")
				}
				if !errors.Is(err, redis.ErrUnavailable) {
					mu.Lock()
					defer mu.Unlock()
					waited++
				}
			})
		}
		wg.Wait()
		return waited
	}
	if _, _, err := store.Get(t.Context(), first); err == nil || errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("the first one: %v", err)
	}
	for second, want := range []int{0, 1, 1} {
		if waited := ask(); waited != want {
			t.Errorf("in second %d, %d waited for the server, want %d", second, waited, want)
		}
		clock.Advance(time.Second)
	}
	s.signal(syscall.SIGCONT)
	testkit.Eventually(t, "the server is back", func() bool {
		clock.Advance(time.Second)
		_, ok, err := store.Get(t.Context(), first)
		if ok {
			t.Fatal("held")
		}
		return err == nil
	})
}

func TestManyGrantsAreListedOnce(t *testing.T) {
	s := startServer(t)
	store := s.open(nil)
	addr := netip.MustParseAddr("198.18.0.0")
	const many = 1700
	for range many {
		addr = addr.Next()
		put(t, store, addr, "", time.Hour)
	}
	seen := make(map[netip.Addr]bool)
	if err := store.List(t.Context(), func(g grant.Grant) bool { seen[g.Addr] = true; return true }); err != nil || len(seen) != many {
		t.Errorf("%d addresses, %v", len(seen), err)
	}
}

func TestFullServerIsFull(t *testing.T) {
	s := startServer(t)
	store := s.open(nil)
	put(t, store, first, "shin", time.Hour)
	s.do("CONFIG", "SET", "maxmemory", "1")
	_, err := store.Put(t.Context(), grant.Login{Addr: other, Source: "test"}, time.Hour, 0)
	if !errors.Is(err, grant.ErrFull) {
		t.Errorf("got %v", err)
	}
	if !holds(t, store, first) {
		t.Error("what there was is not held")
	}
}

func TestPasswordsStayOutOfErrors(t *testing.T) {
	s := startServer(t, "--requirepass", "right secret")
	open := func(password string) *redis.Store {
		return s.open(func(c *redis.Config) { c.Password = password })
	}
	if err := open("right secret").Ping(t.Context()); err != nil {
		t.Error(err)
	}
	for _, password := range []string{"wrong secret", ""} {
		err := open(password).Ping(t.Context())
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("with the password %q: %v", password, err)
		}
	}
}

func TestTCPAndAnotherDatabase(t *testing.T) {
	s := startServer(t)
	s.do("CONFIG", "SET", "bind", "127.0.0.1")
	port := freePort(t)
	s.do("CONFIG", "SET", "port", port)
	store, err := redis.New(redis.Config{Addresses: []string{fmt.Sprintf("redis://127.0.0.1:%d", port)}, DB: 3, Timeout: testkit.Patience})
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, first, "shin", time.Hour)
	if info, _ := s.do("INFO", "keyspace").(string); !strings.Contains(info, "db3:keys=2") {
		t.Errorf("keyspace: %s", info)
	}
	if err := errors.Join(store.Close(), store.Close()); err != nil {
		t.Error(err)
	}
}

func TestCallerThatIsLateDoesNotBlameTheServer(t *testing.T) {
	s := startServer(t)
	store := s.open(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := store.Get(ctx, first); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if holds(t, store, first) {
		t.Error("held")
	}
}

func BenchmarkLookup(b *testing.B) {
	s := startServer(b)
	store := s.open(nil)
	put(b, store, first, "shin", time.Hour)
	for _, addr := range []netip.Addr{first, other} {
		b.Run(addr.String(), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := store.Get(b.Context(), addr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLogin(b *testing.B) {
	s := startServer(b)
	store := s.open(nil)
	for b.Loop() {
		put(b, store, first, "shin", time.Hour)
	}
}
