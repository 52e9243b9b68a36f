package dnscheck_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"milterd/dnscheck"
	"milterd/integration/testkit/dnstest"
)

// benchClients is how many different clients the benchmarks have; the zone has
// a PTR, an A and a listing for each.
const benchClients = 20_000

func benchAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
}

func benchServer(b *testing.B) *dnstest.Server {
	b.Helper()
	lines := make([]string, 0, 3*benchClients)
	for i := range benchClients {
		addr := benchAddr(i)
		name := fmt.Sprintf("h%d.isp.example.", i)
		lines = append(lines,
			dnscheck.ReverseName(addr)+" 3600 IN PTR "+name,
			name+" 3600 IN A "+addr.String(),
		)
	}
	return serve(b, lines...)
}

// BenchmarkIPRev is the check of a client's name: a PTR and an A record.
func BenchmarkIPRev(b *testing.B) {
	s := benchServer(b)
	check := func(b *testing.B, c dnscheck.Resolver, i int) {
		if got := dnscheck.CheckIPRev(context.Background(), c, benchAddr(i%benchClients)); got.Status != dnscheck.IPRevPass {
			b.Fatal(got)
		}
	}
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		var c *dnscheck.Client
		for i := 0; b.Loop(); i++ {
			if i%benchClients == 0 {
				b.StopTimer()
				c = dial(b, s, dnscheck.Config{})
				b.StartTimer()
			}
			check(b, c, i)
		}
	})
	b.Run("cached", func(b *testing.B) {
		c := dial(b, s, dnscheck.Config{})
		check(b, c, 0)
		b.ReportAllocs()
		for b.Loop() {
			check(b, c, 0)
		}
	})
	b.Run("recorded-and-cached", func(b *testing.B) {
		c := dial(b, s, dnscheck.Config{})
		check(b, c, 0)
		b.ReportAllocs()
		for b.Loop() {
			check(b, dnscheck.NewRecorder(c), 0)
		}
	})
	b.Run("standard-library", func(b *testing.B) {
		r := standardResolver(s)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			addr := benchAddr(i % benchClients)
			names, err := r.LookupAddr(context.Background(), addr.String())
			if err != nil || len(names) != 1 {
				b.Fatal(names, err)
			}
			addrs, err := r.LookupNetIP(context.Background(), "ip4", names[0])
			if err != nil || len(addrs) != 1 {
				b.Fatal(addrs, err)
			}
		}
	})
}

// standardResolver is the standard library's resolver, asking s.
func standardResolver(s *dnstest.Server) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Addr())
	}}
}

// BenchmarkLists is a check of ten lists that do not list the client, as most
// clients are checked.
func BenchmarkLists(b *testing.B) {
	s := serve(b)
	var config []dnscheck.List
	for i := range 10 {
		config = append(config, dnscheck.List{Zone: fmt.Sprintf("l%d.example", i), Weight: 1})
	}
	lists := newLists(b, dnscheck.ListOptions{}, config...)
	check := func(b *testing.B, c dnscheck.Resolver, i int) {
		if got := lists.Check(context.Background(), c, benchAddr(i%65536)); got.Verdict != dnscheck.NotListed {
			b.Fatal(reports(got))
		}
	}
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		var c *dnscheck.Client
		for i := 0; b.Loop(); i++ {
			if i%65536 == 0 {
				b.StopTimer()
				c = dial(b, s, dnscheck.Config{})
				b.StartTimer()
			}
			check(b, c, i)
		}
	})
	b.Run("cached", func(b *testing.B) {
		c := dial(b, s, dnscheck.Config{})
		check(b, c, 0)
		b.ReportAllocs()
		for b.Loop() {
			check(b, c, 0)
		}
	})
	b.Run("standard-library", func(b *testing.B) {
		r := standardResolver(s)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			labels := dnscheck.ReverseName(benchAddr(i % 65536))
			labels = labels[:len(labels)-len("in-addr.arpa.")]
			var all sync.WaitGroup
			for _, list := range config {
				all.Go(func() {
					if addrs, err := r.LookupNetIP(context.Background(), "ip4", labels+list.Zone+"."); err == nil {
						b.Error(addrs)
					}
				})
			}
			all.Wait()
		}
	})
}

// BenchmarkLookupCached is one answer out of the cache.
func BenchmarkLookupCached(b *testing.B) {
	s := benchServer(b)
	c := dial(b, s, dnscheck.Config{})
	name := dnscheck.ReverseName(benchAddr(0))
	const ptr = 12
	c.Lookup(context.Background(), name, ptr)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if c.Lookup(context.Background(), name, ptr).Status != dnscheck.Found {
				b.Error("not found")
			}
		}
	})
}
