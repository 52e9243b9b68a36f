package dnscheck_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/dnscheck"
	"milterd/integration/testkit"
)

func TestCallersShareALookup(t *testing.T) {
	s := serve(t, "a.example. A 203.0.113.5", "a.example. DELAY=300ms")
	c := dial(t, s, dnscheck.Config{TryTimeout: 10 * time.Second})
	var callers sync.WaitGroup
	var found atomic.Int32
	for range 50 {
		callers.Go(func() {
			if c.Lookup(withPatience(t), "a.example", dns.TypeA).Status == dnscheck.Found {
				found.Add(1)
			}
		})
	}
	callers.Wait()
	if found.Load() != 50 || s.Total() != 1 {
		t.Errorf("got %d answers from %d queries, want 50 from 1", found.Load(), s.Total())
	}
}

// Whoever began a look-up may give up: the others still have their answer.
func TestACanceledCallerTakesNobodyAlong(t *testing.T) {
	s := serve(t, "a.example. A 203.0.113.5", "a.example. DELAY=300ms")
	c := dial(t, s, dnscheck.Config{TryTimeout: 10 * time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan dnscheck.Result, 1)
	go func() { first <- c.Lookup(ctx, "a.example", dns.TypeA) }()
	testkit.Eventually(t, "the query is out", func() bool { return s.Total() == 1 })
	others := make(chan dnscheck.Result, 10)
	for range cap(others) {
		go func() { others <- c.Lookup(withPatience(t), "a.example", dns.TypeA) }()
	}
	testkit.Eventually(t, "the others wait", func() bool { return c.Stats().Waiting == 1+cap(others) })
	cancel()
	if got := <-first; got.Err != dnscheck.ErrCanceled {
		t.Errorf("the canceled one: got %s", says(got))
	}
	for range cap(others) {
		if got := <-others; got.Status != dnscheck.Found {
			t.Errorf("one of the others: got %s", says(got))
		}
	}
}

func TestCancelingInterruptsALookup(t *testing.T) {
	s := serve(t, "dead.example. TIMEOUT", "cut.example. TRUNCATED", "cut.example. A TIMEOUT")
	c := dial(t, s, dnscheck.Config{TryTimeout: time.Hour, Timeout: time.Hour})
	for _, name := range []string{"dead.example", "cut.example"} {
		ctx, cancel := context.WithCancel(context.Background())
		before := s.Total()
		done := make(chan dnscheck.Result, 1)
		go func() { done <- c.Lookup(ctx, name, dns.TypeA) }()
		testkit.Eventually(t, "the query is out", func() bool { return s.Total() > before })
		cancel()
		select {
		case got := <-done:
			if got.Err != dnscheck.ErrCanceled {
				t.Errorf("%s: got %s", name, says(got))
			}
		case <-time.After(patience):
			t.Fatalf("%s: still waiting", name)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if got := c.Lookup(ctx, "dead.example", dns.TypeA); got.Err != dnscheck.ErrTimeout {
		t.Errorf("at the deadline: got %s", says(got))
	}
}

func TestClosingInterruptsLookups(t *testing.T) {
	s := serve(t, "dead.example. TIMEOUT")
	c := dial(t, s, dnscheck.Config{TryTimeout: time.Hour, Timeout: time.Hour})
	done := make(chan dnscheck.Result, 1)
	go func() { done <- c.Lookup(withPatience(t), "dead.example", dns.TypeA) }()
	testkit.Eventually(t, "the query is out", func() bool { return s.Total() == 1 })
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got := <-done; got.Err != dnscheck.ErrCanceled {
		t.Errorf("got %s", says(got))
	}
	if got := c.Lookup(withPatience(t), "other.example", dns.TypeA); got.Err != dnscheck.ErrCanceled {
		t.Errorf("after the end: got %s", says(got))
	}
}

// Look-ups beyond MaxQueries wait for their turn, and give up with their caller.
func TestLookupsUnderWayAreBounded(t *testing.T) {
	s := serve(t, "dead.example. TIMEOUT", "a.example. A 203.0.113.5")
	c := dial(t, s, dnscheck.Config{TryTimeout: time.Hour, Timeout: time.Hour, MaxQueries: 1})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan dnscheck.Result, 1)
	go func() { done <- c.Lookup(ctx, "dead.example", dns.TypeA) }()
	testkit.Eventually(t, "the query is out", func() bool { return s.Total() == 1 })
	short, cancelShort := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancelShort()
	if got := c.Lookup(short, "a.example", dns.TypeA); got.Err != dnscheck.ErrTimeout {
		t.Errorf("while another is under way: got %s", says(got))
	}
	waiting := make(chan dnscheck.Result, 1)
	go func() { waiting <- c.Lookup(withPatience(t), "a.example", dns.TypeA) }()
	testkit.Eventually(t, "the second one waits", func() bool { return c.Stats().Crowded == 2 })
	cancel()
	<-done
	if got := <-waiting; got.Status != dnscheck.Found {
		t.Errorf("when its turn has come: got %s", says(got))
	}
}

// With all servers dead every check has its temporary result inside the
// deadline, and what it used is given back.
func TestWithAllServersDeadNothingPilesUp(t *testing.T) {
	sessions := 20_000
	if testing.Short() {
		sessions = 2_000
	}
	if text := os.Getenv("MILTERD_TEST_SESSIONS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 100 {
			t.Fatalf("MILTERD_TEST_SESSIONS=%q, expected a number from 100", text)
		}
		sessions = n
	}
	c := dial(t, nil, dnscheck.Config{Servers: []string{deadAddr(t)}, TryTimeout: 20 * time.Millisecond, Timeout: 50 * time.Millisecond,
		MaxQueries: 64, CacheBytes: 1 << 20})
	lists := newLists(t, dnscheck.ListOptions{}, dnscheck.List{Zone: "a.example", Weight: 1}, dnscheck.List{Zone: "b.example", Weight: 1, OnTemporary: dnscheck.TempFail})
	session := func(i int) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		addr := netip.AddrFrom4([4]byte{198, 51 + byte(i>>16), byte(i >> 8), byte(i)})
		var checks sync.WaitGroup
		checks.Go(func() {
			if got := dnscheck.CheckIPRev(ctx, c, addr); got.Status != dnscheck.IPRevTempError {
				t.Errorf("got %s", got)
			}
		})
		checks.Go(func() {
			if got := lists.Check(ctx, c, addr); got.Verdict != dnscheck.ListsTemporary {
				t.Errorf("got %s", reports(got))
			}
		})
		checks.Go(func() {
			domain := fmt.Sprintf("d%d.example", i)
			if got := dnscheck.CheckMailDomain(ctx, c, domain, dnscheck.MailOptions{}); got.Status != dnscheck.MailTemporary {
				t.Errorf("got %s", summary(got))
			}
		})
		checks.Wait()
	}
	run := func(from, to int) {
		const parallel = 100
		var workers sync.WaitGroup
		var next atomic.Int64
		next.Store(int64(from))
		for range parallel {
			workers.Go(func() {
				for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
					session(i)
				}
			})
		}
		workers.Wait()
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	run(0, sessions/4)
	goroutines, before := runtime.NumGoroutine(), heap()
	run(sessions/4, sessions)
	after := heap()
	// The cache keeps about 1 MiB; a leak of 1 KiB a session would be well above.
	if after > before+before/2+2<<20 {
		t.Errorf("the heap grew from %d to %d KiB", before>>10, after>>10)
	}
	testkit.Eventually(t, "the goroutines are as many as before", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
	t.Logf("%d sessions: heap %d KiB, then %d KiB; %d goroutines, then %d", sessions, before>>10, after>>10, goroutines, runtime.NumGoroutine())
}

// A cache is bounded in memory and in entries, by a million different clients.
func TestTheCacheIsBounded(t *testing.T) {
	clients := 1_000_000
	if testing.Short() {
		clients = 100_000
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const mebibyte = 1 << 20
	for _, test := range []struct {
		name    string
		config  dnscheck.Config
		bytes   int64
		entries int
	}{
		{"in bytes", dnscheck.Config{CacheBytes: 16 * mebibyte}, 16 * mebibyte, 60_000},
		{"in entries", dnscheck.Config{CacheBytes: 64 * mebibyte, CacheEntries: 10_000}, 16 * mebibyte, 10_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := heap()
			cache, entries, err := dnscheck.FillCache(test.config, clients)
			if err != nil {
				t.Fatal(err)
			}
			took := heap() - before
			runtime.KeepAlive(cache)
			// The tables grow in steps, so a cache may take somewhat more.
			if took > test.bytes*5/4 {
				t.Errorf("the cache takes %d KiB, want about %d at most", took>>10, test.bytes>>10)
			}
			if entries > test.entries || entries < test.entries/4 {
				t.Errorf("the cache holds %d entries, want %d at most, and not many less", entries, test.entries)
			}
			t.Logf("%d entries in %d KiB: %d bytes each", entries, took>>10, took/int64(entries))
		})
	}
}

// Sockets are used again towards a resolver on this host only: elsewhere the
// source port is part of what a forger has to guess.
func TestSocketsAreKeptForLoopbackOnly(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:53": true, "127.0.0.53:53": true, "[::1]:53": true, "[::ffff:127.0.0.1]:53": true,
		"192.0.2.1:53": false, "10.0.0.1:53": false, "[2001:db8::1]:53": false, "[fe80::1%lo]:53": false,
	} {
		if got := dnscheck.KeepsSockets(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: got %t, want %t", addr, got, want)
		}
	}
}
