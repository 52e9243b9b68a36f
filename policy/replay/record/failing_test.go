package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
	"milterd/policy"
)

// mount puts a file system of some size there, and takes it away in the end.
func mount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		testkit.Missing(t, "only root may mount a small file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestAFullDiskLosesSessionsOnly(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, 0, "size=64k")
	now, said := newClock(), new(testkit.Log)
	r := open(t, Config{Dir: dir, Compress: None, Now: now.Now, Logger: said.Logger()})
	const step = 20
	record := func() {
		for range step {
			one(r, &policy.Policy{}, "a@good.example", strings.Repeat("x", 1000)+"@example.test")
		}
		handled := func() bool { s := r.Stats(); return (s.Recorded+s.Lost)%step == 0 && r.queued.Load() == 0 }
		testkit.Eventually(t, "all sessions written or lost", handled)
	}
	for i := 0; !r.Stats().Failing; i++ {
		if i > 100 {
			t.Fatal("the disk does not get full")
		}
		record()
	}
	for range 10 {
		now.Advance(lastPause)
		record()
	}
	if n := strings.Count(said.String(), "sessions are not recorded"); n != 1 {
		t.Errorf("%d lines about the full disk:\n%s", n, said)
	}
	if n := strings.Count(said.String(), "no space left on device"); n != 1 {
		t.Errorf("%d lines say why", n)
	}
	stats := r.Stats()
	// What is there can be read to its end.
	if read := sessions(t, dir); uint64(len(read)) != stats.Recorded || stats.Recorded == 0 || stats.Lost == 0 {
		t.Errorf("%d sessions can be read, %+v", len(read), stats)
	}

	for _, name := range names(t, dir) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	now.Advance(lastPause)
	record()
	if r.Stats().Failing || strings.Count(said.String(), "recorded again") != 1 {
		t.Errorf("with room again: %+v\n%s", r.Stats(), said)
	}
	finish(t, r)
	if n := len(sessions(t, dir)); uint64(n) != r.Stats().Recorded-stats.Recorded || n == 0 {
		t.Errorf("%d sessions, before %+v, now %+v", n, stats, r.Stats())
	}
}

func TestADirectoryThatCannotBeWrittenToLosesSessionsOnly(t *testing.T) {
	mkdir := func(t *testing.T, dir string) {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name        string
		spoil, mend func(t *testing.T, dir string)
		why         string
	}{
		{"there is none", func(*testing.T, string) {}, mkdir, "no such file or directory"},
		{"a file is in its place", func(t *testing.T, dir string) {
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			mkdir(t, dir)
		}, "is not a directory"},
		{"everyone may write to it", func(t *testing.T, dir string) {
			mkdir(t, dir)
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, dir string) {
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "writable for everyone"},
		{"it is read-only", func(t *testing.T, dir string) {
			mkdir(t, dir)
			mount(t, dir, syscall.MS_RDONLY, "")
		}, func(t *testing.T, dir string) {
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""); err != nil {
				t.Fatal(err)
			}
		}, "read-only file system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "recordings")
			c.spoil(t, dir)
			now, said := newClock(), new(testkit.Log)
			r := open(t, Config{Dir: dir, Compress: None, Now: now.Now, Logger: said.Logger()})
			for i := range 5 {
				one(r, &policy.Policy{}, "a@good.example", "x@example.test")
				testkit.Eventually(t, "the session lost", func() bool { return r.Stats().Lost == uint64(i+1) })
				now.Advance(lastPause)
			}
			if s := r.Stats(); !s.Failing || s.Recorded != 0 || strings.Count(said.String(), "sessions are not recorded") != 1 || strings.Count(said.String(), c.why) != 1 {
				t.Errorf("%+v\n%s", s, said)
			}
			c.mend(t, dir)
			now.Advance(lastPause)
			one(r, &policy.Policy{}, "b@good.example", "x@example.test")
			testkit.Eventually(t, "the session recorded", func() bool { return r.Stats().Recorded == 1 })
			if r.Stats().Failing || strings.Count(said.String(), "recorded again") != 1 || strings.Count(said.String(), "lost=5") != 1 {
				t.Errorf("mended: %+v\n%s", r.Stats(), said)
			}
			finish(t, r)
			if read := sessions(t, dir); len(read) != 1 {
				t.Errorf("%d sessions", len(read))
			}
		})
	}
}

func TestWritingIsTriedAgainLaterAndLater(t *testing.T) {
	now := newClock()
	r := newRecorder(withDefaults(t, Config{Dir: filepath.Join(t.TempDir(), "gone"), Now: now.Now}))
	w := newWriter(r)
	var pauses []time.Duration
	for range 8 {
		w.failed(errors.New("test"))
		pauses = append(pauses, w.until.Sub(now.Now()))
	}
	want := []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 60e9, 60e9}
	if diff := cmp.Diff(want, pauses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	now.Advance(59 * time.Second)
	if !w.pausing() {
		t.Error("tried again before the pause was over")
	}
	now.Advance(time.Second)
	if w.pausing() {
		t.Error("not tried again when the pause is over")
	}
}
