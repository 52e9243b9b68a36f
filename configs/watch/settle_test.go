package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settlingFile is a Watcher of one file, which is in force, and a clock for it.
type settlingFile struct {
	*Watcher
	file string
	s    settling
	now  time.Time
}

func newSettlingFile(t *testing.T, text string) *settlingFile {
	t.Helper()
	f := &settlingFile{Watcher: withoutEvents(t), file: filepath.Join(t.TempDir(), "access"), now: time.Now()}
	f.write(t, text)
	f.Add(f.file)
	f.InForce(f.file)
	f.s.pause(f.now, false)
	return f
}

func (f *settlingFile) write(t *testing.T, text string) {
	t.Helper()
	write(t, filepath.Dir(f.file), filepath.Base(f.file), text)
	// Two writes within one tick of the kernel's clock look the same.
	f.now = f.now.Add(time.Millisecond)
	if err := os.Chtimes(f.file, f.now, f.now); err != nil {
		t.Fatal(err)
	}
}

// after looks at the file once some time has passed.
func (f *settlingFile) after(t *testing.T, passed time.Duration, want state) {
	t.Helper()
	f.now = f.now.Add(passed)
	if got := f.s.look(f.now, f.Watcher); got != want {
		t.Errorf("after %v: %d, expected %d", passed, got, want)
	}
}

func TestAFileThatIsNotSmallerIsReadAtOnce(t *testing.T) {
	for _, text := range []string{"twelve bytes", "more than twelve bytes"} {
		f := newSettlingFile(t, "bytes twelve")
		f.write(t, text)
		f.after(t, settleTime, settled)
	}
}

func TestAFileThatIsSmallerIsReadOnceItIsLeftAlone(t *testing.T) {
	f := newSettlingFile(t, "a table of several lines")
	for _, text := range []string{"", "a table", "a table of", "a table of several lin", "a table of several lines and then some"} {
		f.write(t, text)
		f.after(t, settleTime, lookAgain)
		f.after(t, unfinishedTime-time.Millisecond, lookAgain)
	}
	f.after(t, time.Millisecond, settled)
}

func TestAFileThatNeverSettlesIsGivenUp(t *testing.T) {
	f := newSettlingFile(t, "a table of several lines")
	begun := f.now
	for i := 0; f.now.Sub(begun) < UnfinishedLimit-time.Second; i++ {
		f.write(t, fmt.Sprint("part ", i))
		f.after(t, 500*time.Millisecond, lookAgain)
	}
	f.write(t, "part")
	f.after(t, time.Second, gaveUp)
	if f.s.unfinished != f.file {
		t.Errorf("given up: %q", f.s.unfinished)
	}
}

func TestASmallerFileThatIsRenamedIntoPlaceIsReadAtOnce(t *testing.T) {
	f := newSettlingFile(t, "a table of several lines")
	f.event(fsnotify.Event{Name: f.file, Op: fsnotify.Create})
	f.write(t, "a table")
	f.after(t, settleTime, settled)

	f.s = settling{}
	f.s.pause(f.now, false)
	f.event(fsnotify.Event{Name: f.file, Op: fsnotify.Create})
	f.event(fsnotify.Event{Name: f.file, Op: fsnotify.Write})
	f.write(t, "a tab")
	f.after(t, settleTime, lookAgain)
	f.write(t, "")
	f.event(fsnotify.Event{Name: f.file, Op: fsnotify.Create})
	f.after(t, settleTime, lookAgain)
}

func TestOnlyRenamedFilesAreReadSooner(t *testing.T) {
	const create, write, rename = fsnotify.Create, fsnotify.Write, fsnotify.Rename
	for _, c := range []struct {
		name string
		ops  []fsnotify.Op
		want time.Duration
	}{
		{"renamed into its place", []fsnotify.Op{create}, wholeTime},
		{"twice", []fsnotify.Op{create, create}, wholeTime},
		{"the old one moved away first", []fsnotify.Op{rename, create}, wholeTime},
		{"made there and written", []fsnotify.Op{create, write}, settleTime},
		{"written", []fsnotify.Op{write}, settleTime},
		{"moved away", []fsnotify.Op{rename}, settleTime},
	} {
		f := newSettlingFile(t, "a table")
		for _, op := range c.ops {
			f.event(fsnotify.Event{Name: f.file, Op: op})
		}
		if got := f.s.pause(f.now, f.whole()); got != c.want {
			t.Errorf("%s: %v, expected %v", c.name, got, c.want)
		}
	}
	f := newSettlingFile(t, "a table")
	other := filepath.Join(t.TempDir(), "other")
	// Nothing that others write puts off the look at a file, and changes of its rights none.
	if f.event(fsnotify.Event{Name: other, Op: create}) || f.event(fsnotify.Event{Name: f.file, Op: fsnotify.Chmod}) || !f.event(fsnotify.Event{Name: f.file, Op: create}) {
		t.Error("the events of other files count, or those of this one do not")
	}
	f.Add(other)
	f.event(fsnotify.Event{Name: f.file, Op: create})
	f.event(fsnotify.Event{Name: other, Op: write})
	if f.whole() {
		t.Error("whole, though another file was written")
	}
}

func TestAFileThatWasReadAndFoundWantingHoldsUpNoOther(t *testing.T) {
	f := newSettlingFile(t, "a table of several lines")
	other := filepath.Join(t.TempDir(), "other")
	f.Add(other)
	f.write(t, "nonsense")
	f.Refresh() // before it is read, without success
	write(t, filepath.Dir(other), "other", "text")
	f.after(t, settleTime, settled)
	if got := f.changed(); got != other {
		t.Errorf("changed: %q", got)
	}
}
