package grant_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"milterd/policy/grant"
)

// BenchmarkFileOfAMillion reports what a million grants of a million users take: to write,
// on disk, to open again, and in memory.
func BenchmarkFileOfAMillion(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "grants.db")
		s := open(b, grant.FileConfig{Path: path})
		for i := range n {
			_, err := s.Put(b.Context(), grant.Login{Addr: numbered(i), User: "user" + strconv.Itoa(i) + "@example.test", Source: "dovecot"}, time.Hour, 10)
			if err != nil {
				b.Fatal(err)
			}
		}
		start := time.Now()
		if err := s.Flush(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s/flush")
		closeStore(b, s)
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/n, "B-file/grant")

		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start = time.Now()
		s = open(b, grant.FileConfig{Path: path})
		b.ReportMetric(time.Since(start).Seconds(), "s/open")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B-heap/grant")
		closeStore(b, s)
	}
}

// BenchmarkLoginWithFile is a login, the writing of it left out.
func BenchmarkLoginWithFile(b *testing.B) {
	s := open(b, grant.FileConfig{Path: filepath.Join(b.TempDir(), "grants.db")})
	for b.Loop() {
		put(b, s, first, "shin")
	}
	closeStore(b, s)
}

// BenchmarkRevokeWithFile is a revocation, which is on disk.
func BenchmarkRevokeWithFile(b *testing.B) {
	s := open(b, grant.FileConfig{Path: filepath.Join(b.TempDir(), "grants.db")})
	for b.Loop() {
		put(b, s, first, "shin")
		if _, err := s.Delete(b.Context(), first); err != nil {
			b.Fatal(err)
		}
	}
	closeStore(b, s)
}
