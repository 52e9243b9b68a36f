package watch

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"milterd/integration/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write puts a file into a directory in one go.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// watching runs a watcher on files of a directory and returns what it reports.
func watching(t *testing.T, w *Watcher, names ...string) (reasons <-chan string, hangups chan<- os.Signal) {
	t.Helper()
	w.Add(names...)
	w.InForce(names...)
	out, hup := make(chan string), make(chan os.Signal, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			why, ok := w.Next(ctx, hup)
			if !ok {
				return
			}
			w.Refresh()
			w.InForce(names...)
			select {
			case out <- why.Reason + why.Unfinished:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return out, hup
}

func expect(t *testing.T, reasons <-chan string, want string) {
	t.Helper()
	select {
	case got := <-reasons:
		if got != want {
			t.Errorf("reported %q, expected %q", got, want)
		}
	case <-time.After(testkit.Patience):
		t.Fatalf("nothing reported, expected %q", want)
	}
}

// withoutEvents is a watcher as on a system that gives no events.
func withoutEvents(t *testing.T) *Watcher {
	t.Helper()
	w := New(time.Millisecond)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.notify, w.events, w.errors = nil, nil, nil
	return w
}

func TestChangesAreNoticedWithEventsAndWithout(t *testing.T) {
	watchers := map[string]func(t *testing.T) *Watcher{
		"by events":  func(*testing.T) *Watcher { return New(time.Hour) },
		"by polling": withoutEvents,
	}
	for name, make := range watchers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "file", "one")
			file, later := filepath.Join(dir, "file"), filepath.Join(dir, "later")
			reasons, hangups := watching(t, make(t), file, later)

			write(t, dir, "file", "longer")
			expect(t, reasons, file+" changed")
			write(t, dir, "new", "again")
			if err := os.Rename(filepath.Join(dir, "new"), file); err != nil {
				t.Fatal(err)
			}
			expect(t, reasons, file+" changed")
			write(t, dir, "later", "a file that was not there")
			expect(t, reasons, later+" changed")
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			expect(t, reasons, file+" changed")
			if err := os.Chmod(later, 0o644); err != nil {
				t.Fatal(err)
			}
			expect(t, reasons, later+" changed")
			hangups <- syscall.SIGHUP
			expect(t, reasons, "SIGHUP")
		})
	}
}

func TestAWriteOfTheSameTextIsNoticedByItsEvent(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "file", "one")
	file := filepath.Join(dir, "file")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	reasons, _ := watching(t, New(time.Hour), file)
	// The size stays, and the time can be put back.
	write(t, dir, "file", "two")
	if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	expect(t, reasons, file+" changed")
}

func TestADirectoryThatComesLaterIsWatchedFromThenOn(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "later", "file")
	reasons, _ := watching(t, New(time.Millisecond), file)
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Dir(file), "file", "text")
	expect(t, reasons, file+" changed")
}

func TestOtherFilesAreNoReason(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "file", "one")
	write(t, dir, "forgotten", "one")
	file := filepath.Join(dir, "file")
	w := New(time.Hour)
	w.Add(filepath.Join(dir, "forgotten"))
	w.Add(file)
	w.InForce(file)
	reasons, hangups := watching(t, w, file)
	write(t, dir, "other", "text")
	write(t, dir, "forgotten", "two words")
	// The files were left alone for long enough when the next change, which
	// counts, has been reported.
	write(t, dir, "file", "two")
	expect(t, reasons, file+" changed")
	hangups <- syscall.SIGHUP
	expect(t, reasons, "SIGHUP")
}

func TestDirectoriesThatHoldNoFileAnyMoreAreForgotten(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	w := New(time.Hour)
	if w.notify == nil {
		t.Fatal("this system gives no events about files")
	}
	w.Add(filepath.Join(one, "file"), filepath.Join(two, "file"))
	w.InForce(filepath.Join(two, "file"))
	if got := w.notify.WatchList(); len(got) != 1 || got[0] != two {
		t.Errorf("watched directories %q, expected %q", got, two)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestPollingTriesAgainAfterAFailure(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "file", "one")
	file := filepath.Join(dir, "file")
	w := withoutEvents(t)
	w.Add(file)
	w.Failed()
	for range 2 {
		if why, ok := w.Next(t.Context(), nil); !ok || why.Reason != Retrying {
			t.Errorf("%+v, expected %q", why, Retrying)
		}
	}
}

func TestTheTimeOfTheLastChangeCannotBePutBack(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, dir, "file", "one")
	before := takePrint(file)
	testkit.Eventually(t, "a changed file has another print", func() bool {
		// The kernel's clock is coarse.
		write(t, dir, "file", "two")
		if err := os.Chtimes(file, before.info.ModTime(), before.info.ModTime()); err != nil {
			t.Fatal(err)
		}
		return !takePrint(file).same(before)
	})
}
