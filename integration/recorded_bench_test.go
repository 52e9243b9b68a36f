package integration_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/integration/harness"
)

// What one round of BenchmarkRecorderUnderLoad is made of: sessions of one message, each
// with a connection of its own as sendmail makes it, from so many clients at once.
const (
	roundSessions = 8000
	roundClients  = 16
)

// BenchmarkRecorderUnderLoad compares the real daemon with and without its recorder, in
// rounds that take turns. An iteration is one round of each:
//
//	go test ./integration -run '^$' -bench RecorderUnderLoad -benchtime 5x
//
// It says how many sessions a second were decided, how much processor time milterd took
// for each, and how many of those to be recorded were dropped.
func BenchmarkRecorderUnderLoad(b *testing.B) {
	needWorld(b)
	options, err := harness.ReadScene("scenes/standard")
	if err != nil {
		b.Fatal(err)
	}
	config := options.Config + "\nlog: {level: warn}\nlisten: {http: 'inet:" + statusPort + "@127.0.0.1'}\n"
	options.Config = config
	env, err := world.Start(options)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := env.Close(); err != nil {
			b.Error(err)
		}
	}()
	kinds := []struct{ name, settings string }{
		{"without", ""},
		{"redacted", fmt.Sprintf("record: {dir: %q, compress: gzip}\n", b.TempDir())},
		{"whole", fmt.Sprintf("record: {dir: %q, redact: false, compress: none}\n", b.TempDir())},
	}
	took, busy := make([]time.Duration, len(kinds)), make([]time.Duration, len(kinds))
	var recorded, dropped float64
	b.ResetTimer()
	for range b.N {
		for i, kind := range kinds {
			if err := errors.Join(env.Milterd.Stop(), env.WriteFile("milterd.yaml", config+kind.settings), env.Milterd.Start()); err != nil {
				b.Fatal(err)
			}
			begun, before := time.Now(), processorTime(b, env.Milterd.PID())
			if err := round(); err != nil {
				b.Fatal(err)
			}
			took[i] += time.Since(begun)
			busy[i] += processorTime(b, env.Milterd.PID()) - before
			if kind.settings == "" {
				continue
			}
			err := harness.Poll(frameTimeout, "the recorder to catch up", func() (bool, error) {
				return metric(b, "recorder_recorded_total")+metric(b, "recorder_dropped_total") >= roundSessions, nil
			})
			if err != nil {
				b.Fatal(err)
			}
			recorded += metric(b, "recorder_recorded_total")
			dropped += metric(b, "recorder_dropped_total")
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, kind := range kinds {
		sessions := float64(b.N * roundSessions)
		b.ReportMetric(sessions/took[i].Seconds(), kind.name+":sessions/s")
		b.ReportMetric(float64(busy[i].Microseconds())/sessions, kind.name+":cpu-µs/session")
	}
	b.ReportMetric(recorded, "recorded")
	b.ReportMetric(dropped, "dropped")
}

// round lets all sessions of a round come.
func round() error {
	errs := make([]error, roundClients)
	var working sync.WaitGroup
	for i := range roundClients {
		working.Go(func() {
			for range roundSessions / roundClients {
				if errs[i] = want("accept")(session("10.9.8.7")); errs[i] != nil {
					return
				}
			}
		})
	}
	working.Wait()
	return errors.Join(errs...)
}

// processorTime is how long a process has had a processor up to now.
func processorTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	// proc(5): utime and stime are the fields 14 and 15, in hundredths of a second; the
	// second field, the name, is in parentheses.
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var user, system int64
	if len(fields) < 13 {
		tb.Fatalf("stat of process %d: %q", pid, text)
	}
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
