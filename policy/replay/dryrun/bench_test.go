package dryrun

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkReplay decides a stream of sessions, and says how many a core gets
// through in a second of its time, and how much memory that takes.
func BenchmarkReplay(b *testing.B) {
	var lines bytes.Buffer
	g := newGenerator()
	for range 20_000 {
		if err := g.write(&lines); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct{ name, config string }{
		{"table", strings.Replace(beforeConfig, "bl.example: {}", "", 1)}, {"lists", beforeConfig},
		{"everything", beforeConfig + "  sender_domain: {mode: enforce}\n  rdns: {source: own, forged: {action: reject}}\n"},
	} {
		rules := benchRules(b, c.config)
		for _, sessions := range []int{20_000, 1_000_000} {
			b.Run(c.name+"/"+count(sessions, "session"), func(b *testing.B) {
				var peak uint64
				before := cpuTime(b)
				for b.Loop() {
					peak = max(peak, replayed(b, rules, lines.Bytes(), sessions))
				}
				spent := cpuTime(b) - before
				b.ReportMetric(float64(sessions*b.N)/spent.Seconds(), "sessions/core-s")
				b.ReportMetric(float64(peak)/(1<<20), "MB")
			})
		}
	}
}

func benchRules(b *testing.B, config string) *Rules {
	b.Helper()
	dir := b.TempDir()
	for name, text := range map[string]string{"access": "", "milterd.yaml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	r, err := load(filepath.Join(dir, "milterd.yaml"), io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// replayed decides so many sessions and gives the memory taken from the system.
func replayed(b *testing.B, r *Rules, lines []byte, sessions int) uint64 {
	b.Helper()
	var in []io.Reader
	for range sessions / 20_000 {
		in = append(in, bytes.NewReader(lines))
	}
	var out, complaints bytes.Buffer
	o := Options{Format: Text, Sessions: []string{"-"}, Stdin: io.MultiReader(in...), Stdout: &out, Stderr: &complaints}
	if status := Run(r, o); status != OK {
		b.Fatalf("exit status %d, %s", status, complaints.String())
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys
}

// cpuTime is what this process has spent of its cores' time.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
