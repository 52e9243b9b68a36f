package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/policy"
	"milterd/policy/access"
)

func TestFilesAreRotatedAndCompressed(t *testing.T) {
	for how, suffix := range map[Compression]string{Gzip: ".jsonl.gz", "": ".jsonl.gz", Zstd: ".jsonl.zst", None: ".jsonl"} {
		t.Run(string("by "+how), func(t *testing.T) {
			dir := t.TempDir()
			r := open(t, Config{Dir: dir, MaxSize: 4 << 10, Compress: how})
			for i := range 100 {
				one(r, &policy.Policy{}, fmt.Sprintf("a%d@good.example", i), "x@example.test")
			}
			finish(t, r)
			if n := len(names(t, dir)); n < 5 {
				t.Errorf("%d files", n)
			}
			for _, name := range names(t, dir) {
				if !strings.HasSuffix(name, suffix) {
					t.Errorf("there is a file %s", name)
				}
				info, err := os.Stat(filepath.Join(dir, name))
				if err != nil || info.Mode().Perm() != 0o600 || info.Size() > 4<<10 {
					t.Errorf("%s: %v, %v", name, info, err)
				}
			}
			read := sessions(t, dir)
			for i, s := range read {
				if want := fmt.Sprintf("a%d@good.example", i); s.Messages[0].Mail.From != want {
					t.Errorf("session %d is of %s, want %s", i, s.Messages[0].Mail.From, want)
				}
			}
			stats := r.Stats()
			if len(read) != 100 || stats.Recorded != 100 || stats.Files != uint64(len(names(t, dir))) || stats.Bytes != uint64(len(content(t, dir))) {
				t.Errorf("%d sessions, %+v", len(read), stats)
			}
		})
	}
}

func TestTheOldestFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"notes.jsonl", "milterd-mine.jsonl.gz", "milterd-20260101T000000.000000Z.jsonl.gz.orig"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("the administrator's"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(dir, "milterd-20260101T000000.000000Z.jsonl.gz")
	stray := filepath.Join(dir, "milterd-20260102T000000.000000Z.jsonl.gz.tmp")
	for _, name := range []string{old, stray} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, Config{Dir: dir, MaxSize: 1, Keep: 3})
	for i := range 20 {
		one(r, &policy.Policy{}, fmt.Sprintf("a%d@good.example", i), "x@example.test")
	}
	finish(t, r)
	var from []string
	left := 0
	for _, name := range names(t, dir) {
		if ourFile.MatchString(name) {
			left++
			for _, s := range parse(t, gunzip(t, filepath.Join(dir, name))) {
				from = append(from, s.Messages[0].Mail.From)
			}
		}
	}
	if diff := cmp.Diff([]string{"a17@good.example", "a18@good.example", "a19@good.example"}, from); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if n := len(names(t, dir)); left != 3 || n != 6 {
		t.Errorf("files: %q", names(t, dir))
	}
}

func TestTheFileOfAnotherProcessIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	other, err := create(dir, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.WriteString("{}\n"); err != nil {
		t.Fatal(err)
	}
	r := open(t, Config{Dir: dir, MaxSize: 1, Keep: 1})
	for range 5 {
		one(r, &policy.Policy{}, "a@good.example", "x@example.test")
	}
	finish(t, r)
	if got := names(t, dir); len(got) != 2 || filepath.Join(dir, got[0]) != other.Name() {
		t.Errorf("files: %q", got)
	}
}

func TestSessionsAreWrittenWithoutWaitingForMore(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir})
	one(r, &policy.Policy{}, "a@good.example", "x@example.test")
	eventually(t, "one session in the file", func() bool { return r.Stats().Recorded == 1 })
	if read := sessions(t, dir); len(read) != 1 {
		t.Errorf("%d sessions", len(read))
	}
}

func TestAFileThatWasMovedAwayIsNotWrittenToAnyLonger(t *testing.T) {
	dir := t.TempDir()
	now := newClock()
	r := open(t, Config{Dir: dir, Now: now.Now})
	one(r, &policy.Policy{}, "a@good.example", "x@example.test")
	eventually(t, "the first session", func() bool { return r.Stats().Recorded == 1 })
	if err := os.Remove(filepath.Join(dir, names(t, dir)[0])); err != nil {
		t.Fatal(err)
	}
	now.pass(checkEvery)
	one(r, &policy.Policy{}, "b@good.example", "x@example.test")
	finish(t, r)
	if read := sessions(t, dir); len(read) != 1 || read[0].Messages[0].Mail.From != "b@good.example" {
		t.Errorf("%d sessions", len(read))
	}
}

// mount puts a file system of some size there, and takes it away in the end.
func mount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a small file system: %v", err)
		}
		t.Skipf("only root may mount a small file system: %v", err)
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
	now, said := newClock(), new(log)
	r := open(t, Config{Dir: dir, Compress: None, Now: now.Now, Logger: slog.New(slog.NewTextHandler(said, nil))})
	const step = 20
	record := func() {
		for range step {
			one(r, &policy.Policy{}, "a@good.example", strings.Repeat("x", 1000)+"@example.test")
		}
		handled := func() bool { s := r.Stats(); return (s.Recorded+s.Lost)%step == 0 && r.queued.Load() == 0 }
		eventually(t, "all sessions written or lost", handled)
	}
	for i := 0; !r.Stats().Failing; i++ {
		if i > 100 {
			t.Fatal("the disk does not get full")
		}
		record()
	}
	for range 10 {
		now.pass(lastPause)
		record()
	}
	if n := said.count("sessions are not recorded"); n != 1 {
		t.Errorf("%d lines about the full disk:\n%s", n, said.text.String())
	}
	if n := said.count("no space left on device"); n != 1 {
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
	now.pass(lastPause)
	record()
	if r.Stats().Failing || said.count("recorded again") != 1 {
		t.Errorf("with room again: %+v\n%s", r.Stats(), said.text.String())
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
			now, said := newClock(), new(log)
			r := open(t, Config{Dir: dir, Compress: None, Now: now.Now, Logger: slog.New(slog.NewTextHandler(said, nil))})
			for i := range 5 {
				one(r, &policy.Policy{}, "a@good.example", "x@example.test")
				eventually(t, "the session lost", func() bool { return r.Stats().Lost == uint64(i+1) })
				now.pass(lastPause)
			}
			if s := r.Stats(); !s.Failing || s.Recorded != 0 || said.count("sessions are not recorded") != 1 || said.count(c.why) != 1 {
				t.Errorf("%+v\n%s", s, said.text.String())
			}
			c.mend(t, dir)
			now.pass(lastPause)
			one(r, &policy.Policy{}, "b@good.example", "x@example.test")
			eventually(t, "the session recorded", func() bool { return r.Stats().Recorded == 1 })
			if r.Stats().Failing || said.count("recorded again") != 1 || said.count("lost=5") != 1 {
				t.Errorf("mended: %+v\n%s", r.Stats(), said.text.String())
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
	now.pass(59 * time.Second)
	if !w.pausing() {
		t.Error("tried again before the pause was over")
	}
	now.pass(time.Second)
	if w.pausing() {
		t.Error("not tried again when the pause is over")
	}
}

func TestAFullQueueDropsSessions(t *testing.T) {
	r := newRecorder(withDefaults(t, Config{Dir: t.TempDir(), Buffer: 3}))
	for range 10 {
		one(r, &policy.Policy{}, "a@good.example", "x@example.test")
	}
	if s := r.Stats(); s.Dropped != 7 {
		t.Errorf("%+v", s)
	}
	r.start()
	finish(t, r)
	one(r, &policy.Policy{}, "late@good.example", "x@example.test")
	if s := r.Stats(); s.Dropped != 8 || s.Recorded != 3 || r.queued.Load() != 0 {
		t.Errorf("%+v, %d octets queued", s, r.queued.Load())
	}
}

func TestWhatWaitsIsBoundedInOctetsToo(t *testing.T) {
	r := newRecorder(withDefaults(t, Config{Dir: t.TempDir(), Buffer: 1 << 20}))
	long := strings.Repeat("x", 100_000) + "@example.test"
	for range 1000 {
		one(r, &policy.Policy{}, "a@good.example", long)
	}
	if s := r.Stats(); s.Dropped < 300 || s.Dropped > 400 || r.queued.Load() > maxQueued {
		t.Errorf("%+v, %d octets queued", s, r.queued.Load())
	}
}

func TestManyConnectionsAtOnce(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Buffer: 10_000, MaxSize: 10 << 10})
	p := fixture(t, access.Features{DelayChecks: true})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 100 {
				one(r, p, "a@good.example", "x@example.test")
			}
		})
	}
	clients.Wait()
	finish(t, r)
	read := sessions(t, dir)
	if s := r.Stats(); len(read) != 800 || s.Recorded != 800 || s.Dropped+s.Lost+s.LeftOut+s.Cut != 0 {
		t.Errorf("%d sessions, %+v", len(read), s)
	}
	if found := differences(p, read, nil); len(found) > 0 {
		t.Errorf("differences: %q", found)
	}
}

func TestCloseGivesUpWhenItsTimeIsOver(t *testing.T) {
	hold := make(chan struct{})
	r := open(t, Config{})
	conn, e := begin(r, &policy.Policy{}, client("203.0.113.8"), nil)
	conn.SetDNS(func() []string { <-hold; return nil })
	e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(hold)
}

func TestAMistakeOfTheRecorderDoesNotEndTheProcess(t *testing.T) {
	said := new(log)
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(said, nil))})
	conn, e := begin(r, &policy.Policy{}, client("203.0.113.8"), nil)
	conn.SetDNS(func() []string { panic("a mistake") })
	e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	conn.Close()
	one(r, &policy.Policy{}, "b@good.example", "x@example.test")
	finish(t, r)
	if s := r.Stats(); s.Recorded != 1 || s.Lost != 1 || said.count("a mistake") != 1 {
		t.Errorf("%+v\n%s", s, said.text.String())
	}
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Dir: "here"}, `record sessions: directory "here", expected a complete path`},
		{Config{Dir: "/x", Sample: 2}, "record sessions: sample 2, expected a share above 0, and 1 at most"},
		{Config{Dir: "/x", Keep: -1}, "record sessions: a size, a number of files or of sessions below 0"},
		{Config{Dir: "/x", Compress: "lzw"}, `record sessions: compression "lzw", expected gzip, zstd or none`},
		{Config{Dir: "/x", Redact: true, Key: []byte("short")}, "record sessions: redaction key of 5 octets, expected 16 at least"},
	} {
		if _, err := Open(c.config); err == nil || err.Error() != c.want {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}

func TestANewFileTakesNoOther(t *testing.T) {
	dir := t.TempDir()
	now := newClock().Now()
	target := filepath.Join(dir, "target")
	if err := os.Symlink(target, filepath.Join(dir, "milterd-"+now.Format(idTime)+".jsonl")); err != nil {
		t.Fatal(err)
	}
	file, err := create(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link was followed: %v", err)
	}
	if !ourFile.MatchString(filepath.Base(file.Name())) {
		t.Errorf("a name that is not ours: %s", file.Name())
	}
}

func TestLinesEndWhereTheyEnd(t *testing.T) {
	long := strings.Repeat("x", 3*flushSize)
	for text, want := range map[string]int{"": 0, "a": 0, "a\n": 2, "a\nb": 2, "a\n" + long: 2, long + "\n": len(long) + 1, long: 0} {
		got, err := wholeLines(bytes.NewReader([]byte(text)), int64(len(text)))
		if err != nil || got != int64(want) {
			t.Errorf("%d octets: %d, %v, want %d", len(text), got, err, want)
		}
	}
}
