package grant_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"milterd/policy/grant"
)

// addrOf is the address number n of many.
func addrOf(n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0xc6000000+uint32(n))
	return netip.AddrFrom4(b)
}

// filled is a store with n grants of n users.
func filled(t testing.TB, n int) *grant.Memory {
	t.Helper()
	m := grant.NewMemory(n, nil)
	for i := range n {
		_, err := m.Put(t.Context(), grant.Login{Addr: addrOf(i), User: "user" + strconv.Itoa(i) + "@example.test", Source: "dovecot"}, grant.MaxTTL, 10)
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestManyGoroutinesUseOneStore(t *testing.T) {
	m := grant.NewMemory(50, nil)
	ctx := t.Context()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 500 {
				addr := addrOf((i*7 + worker) % 60)
				user := "user" + strconv.Itoa(i%5)
				switch i % 5 {
				case 0, 1, 2:
					// A full store is one of the outcomes.
					if change, err := m.Put(ctx, grant.Login{Addr: addr, User: user, Source: "test"}, time.Hour, 3); err == nil && change.Grant.Addr != addr {
						t.Errorf("put %v: %v", addr, change)
					}
				case 3:
					if _, err := m.DeleteUser(ctx, user); err != nil {
						t.Error(err)
					}
				case 4:
					g, ok, err := m.Get(ctx, addr)
					if err != nil || ok && g.Addr != addr {
						t.Errorf("get %v: %v %v", addr, g, err)
					}
				}
			}
		})
	}
	wg.Wait()
	held := make(map[string]int)
	err := m.List(ctx, func(g grant.Grant) bool { held[g.User]++; return true })
	if err != nil {
		t.Fatal(err)
	}
	for user, n := range held {
		if n > 3 {
			t.Errorf("%s holds %d grants", user, n)
		}
	}
}

func TestListEndsWhenAskedTo(t *testing.T) {
	m := filled(t, 2500)
	n := 0
	if err := m.List(t.Context(), func(grant.Grant) bool { n++; return n < 1500 }); err != nil || n != 1500 {
		t.Errorf("%d grants, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.List(ctx, func(grant.Grant) bool { return true }); err == nil {
		t.Error("a canceled list went on")
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		for _, what := range []struct {
			name string
			addr func(i int) netip.Addr
		}{
			{"held", func(i int) netip.Addr { return addrOf(i * 7919 % n) }},
			{"none", func(i int) netip.Addr { return addrOf(n + i%n) }},
		} {
			b.Run(strconv.Itoa(n)+"/"+what.name, func(b *testing.B) {
				k := grant.New(grant.Config{Store: filled(b, n)})
				ctx := b.Context()
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					k.Grant(ctx, what.addr(i))
					i++
				}
			})
		}
	}
}

func BenchmarkLogin(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run("renew/"+strconv.Itoa(n), func(b *testing.B) {
			m := filled(b, n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7919) % n
				_, err := m.Put(b.Context(), grant.Login{Addr: addrOf(i), User: "user" + strconv.Itoa(i) + "@example.test", Source: "dovecot"}, grant.MaxTTL, 10)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMemory reports what a million grants take, and what a collection of
// garbage costs with them.
func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := filled(b, n)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/grant")
		start := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/GC")
		runtime.KeepAlive(m)
	}
}
