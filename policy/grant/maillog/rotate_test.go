package maillog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
)

// writer writes numbered logins to a log without a pause, as a server does. It goes on
// writing to the file it has until it is told to open the path anew.
type writer struct {
	path    string
	hup     atomic.Bool
	stopped atomic.Bool
	done    chan error
	// written is how many lines there are.
	written atomic.Int64
	// follower is not left behind too far, however slow the machine is.
	follower *Follower
}

func startWriter(path string, f *Follower) *writer {
	w := &writer{path: path, done: make(chan error, 1), follower: f}
	go func() { w.done <- w.run() }()
	return w
}

func (w *writer) run() error {
	for {
		f, err := os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		for !w.hup.Swap(false) {
			if w.stopped.Load() {
				return f.Close()
			}
			if _, err := f.WriteString(loginLine(fmt.Sprintf("user%d", w.written.Load()))); err != nil {
				return err
			}
			for n := w.written.Add(1); w.ahead(n) && !w.stopped.Load() && !w.hup.Load(); {
				time.Sleep(time.Millisecond)
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
}

// ahead says that the follower is left behind. With each truncation it may have lost as
// many lines as it was behind. That is few, since a line takes a busy machine long.
func (w *writer) ahead(written int64) bool {
	const most = 50
	stats := w.follower.Stats()
	return written-int64(stats.Lines) > most*int64(1+stats.Truncated)
}

func (w *writer) stop(t *testing.T) {
	t.Helper()
	w.stopped.Store(true)
	if err := <-w.done; err != nil {
		t.Fatal(err)
	}
}

// rotations is how often the logs are rotated.
const rotations = 10

func TestRotationByRenamingLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, "")
	f := follow(t, path, 50*time.Millisecond)
	w := startWriter(path, f.Follower)
	for i := range rotations {
		at := w.written.Load()
		testkit.Eventually(f.t, "lines arrive", func() bool { return w.written.Load() > at+100 })
		rename(t, path, fmt.Sprintf("%s.%d", path, i+1))
		if i%2 == 0 {
			// The new file is there at once, and the server still writes to the old one.
			appendTo(t, path, "")
			testkit.Eventually(f.t, "the rotation is seen", func() bool { return f.Stats().Rotated == uint64(i+1) })
			at = w.written.Load()
			testkit.Eventually(f.t, "lines arrive in the old file", func() bool { return w.written.Load() > at+20 })
		}
		w.hup.Store(true)
		testkit.Eventually(f.t, "the rotation is seen", func() bool { return f.Stats().Rotated == uint64(i+1) })
	}
	w.stop(t)
	want := make([]string, w.written.Load())
	for i := range want {
		want[i] = fmt.Sprintf("user%d", i)
	}
	testkit.Eventually(f.t, "all lines are read", func() bool { return f.Stats().Lines >= uint64(len(want)) })
	f.stop()
	got := f.keeper.seen()
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("logins (-want +got):\n%s", diff)
	}
	t.Logf("%d lines, %d rotations", len(want), f.Stats().Rotated)
}

// TestRotationByCopyingLosesNothing has lines written while the log is copied and
// truncated. Those written between the one and the other are in no file afterwards, and
// may have been read or not; all others are read, and none twice.
func TestRotationByCopyingLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, "")
	f := follow(t, path, 50*time.Millisecond)
	w := startWriter(path, f.Follower)
	for i := range rotations {
		at := f.Stats().Lines
		testkit.Eventually(f.t, "lines are read", func() bool { return f.Stats().Lines > at+100 })
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fmt.Sprintf("%s.%d", path, i+1), text, 0o600); err != nil {
			t.Fatal(err)
		}
		truncate(t, path)
		testkit.Eventually(f.t, "the truncation is seen", func() bool { return f.Stats().Truncated == uint64(i+1) })
	}
	w.stop(t)
	last := fmt.Sprintf("user%d", w.written.Load())
	appendTo(t, path, loginLine(last))
	testkit.Eventually(f.t, "the last line is read", func() bool { return slices.Contains(f.keeper.seen(), last) })
	f.stop()

	got := f.keeper.seen()
	times := make(map[string]int)
	for _, user := range got {
		times[user]++
		if times[user] > 1 {
			t.Errorf("%s was read %d times", user, times[user])
		}
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			login, ok := named(t, "courier").Parse(strings.TrimSuffix(line, "\n"))
			if !strings.HasSuffix(line, "\n") || !ok {
				continue
			}
			kept++
			if times[login.User] == 0 {
				t.Errorf("%s is in %s and was not read", login.User, filepath.Base(name))
			}
		}
	}
	t.Logf("%d lines written, %d kept, %d read, %d octets of them from copies", w.written.Load(), kept, len(got), f.Stats().Recovered)
}
