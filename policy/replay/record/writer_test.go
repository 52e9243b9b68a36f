package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
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

// contents are the files of a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range names(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	return files
}

// others puts files of every kind of ours into a directory, which another user could
// have put there.
func others(t *testing.T, dir string) map[string]string {
	t.Helper()
	for _, name := range []string{
		"20260101T000000.000000Z.jsonl", "20260102T000000.000000Z.jsonl.gz", "20260103T000000.000000Z.jsonl.zst",
		"20260104T000000.000000Z.jsonl.gz.tmp", "29990101T000000.000000Z.jsonl", "29990102T000000.000000Z.jsonl.gz", "29990103T000000.000000Z.jsonl.gz",
	} {
		if err := os.WriteFile(filepath.Join(dir, "milterd-"+name), []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return contents(t, dir)
}

func TestFilesOfAnotherUserAreLeftAlone(t *testing.T) {
	t.Run("seen by another user", func(t *testing.T) {
		dir := t.TempDir()
		want := others(t, dir)
		k := newKeeper(newRecorder(withDefaults(t, Config{Dir: dir, Keep: 1})))
		k.uid++
		k.tidy()
		if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		k.uid--
		k.tidy()
		if got := names(t, dir); len(got) != 1 || got[0] != "milterd-29990103T000000.000000Z.jsonl.gz" {
			t.Errorf("seen by their owner, files: %q", got)
		}
	})
	t.Run("beside ours", func(t *testing.T) {
		testkit.NeedRoot(t)
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
			t.Fatal(err)
		}
		want := others(t, dir)
		for name := range want {
			if err := os.Chown(filepath.Join(dir, name), 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
		r := open(t, Config{Dir: dir, MaxSize: 1, Keep: 3})
		for i := range 10 {
			one(r, &policy.Policy{}, fmt.Sprintf("a%d@good.example", i), "x@example.test")
		}
		finish(t, r)
		got := contents(t, dir)
		left := len(got) - len(want)
		for name := range got {
			if _, ok := want[name]; !ok {
				delete(got, name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || left != 3 {
			t.Errorf("%d files of ours, those of the other (-want +got):\n%s", left, diff)
		}
	})
	for _, suffix := range []string{".gz", ".gz.tmp"} {
		t.Run("where ours becomes "+suffix, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "milterd-20260101T000000.000000Z.jsonl")
			for _, name := range []string{path, path + suffix} {
				if err := os.WriteFile(name, []byte("{}\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want := contents(t, dir)
			k := newKeeper(newRecorder(withDefaults(t, Config{Dir: dir})))
			k.uid++
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := k.pack(file, 3, path+".gz"); err == nil {
				t.Error("it was packed")
			}
			if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSessionsAreWrittenWithoutWaitingForMore(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir})
	one(r, &policy.Policy{}, "a@good.example", "x@example.test")
	testkit.Eventually(t, "one session in the file", func() bool { return r.Stats().Recorded == 1 })
	if read := sessions(t, dir); len(read) != 1 {
		t.Errorf("%d sessions", len(read))
	}
}

func TestAFileThatWasMovedAwayIsNotWrittenToAnyLonger(t *testing.T) {
	dir := t.TempDir()
	now := newClock()
	r := open(t, Config{Dir: dir, Now: now.Now})
	one(r, &policy.Policy{}, "a@good.example", "x@example.test")
	testkit.Eventually(t, "the first session", func() bool { return r.Stats().Recorded == 1 })
	if err := os.Remove(filepath.Join(dir, names(t, dir)[0])); err != nil {
		t.Fatal(err)
	}
	now.Advance(checkEvery)
	one(r, &policy.Policy{}, "b@good.example", "x@example.test")
	finish(t, r)
	if read := sessions(t, dir); len(read) != 1 || read[0].Messages[0].Mail.From != "b@good.example" {
		t.Errorf("%d sessions", len(read))
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

func TestDNSAnswersThatWaitCount(t *testing.T) {
	r := newRecorder(withDefaults(t, Config{Dir: t.TempDir(), Buffer: 1 << 20}))
	lines := dnsLines{strings.Repeat("x", 1<<20)}
	for range 100 {
		conn, e := begin(r, &policy.Policy{}, client("203.0.113.8"), nil)
		conn.dns = lines
		e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
		conn.Close()
	}
	if s := r.Stats(); s.Dropped != 37 || r.queued.Load() > maxQueued {
		t.Errorf("%+v, %d octets queued", s, r.queued.Load())
	}
}

// TestOneConnectionDoesNotCrowdTheOthersOut: it asks the DNS a great deal, and each
// message that it gives up makes an object with all the answers.
func TestOneConnectionDoesNotCrowdTheOthersOut(t *testing.T) {
	p := fixture(t, access.Features{})
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, MaxSize: 4 << 20, Keep: 3})
	one(r, p, "honest@good.example", "x@example.test")
	lines := make(dnsLines, 1000)
	for i := range lines {
		lines[i] = fmt.Sprintf("d%04d.bad.example. MX NXDOMAIN", i)
	}
	const messages = 2000
	conn, e := begin(r, p, client("203.0.113.9"), nil)
	conn.dns = lines
	for i := range messages {
		e.Mail(policy.Auth{}, policy.Mail{From: fmt.Sprintf("a@d%04d.bad.example", i%len(lines))})
		e.Rcpt(policy.Recipient{To: "x@example.test", Mailer: "local"})
		e.Abort()
	}
	conn.Close()
	one(r, p, "late@good.example", "x@example.test")
	finish(t, r)

	from := map[string]int{}
	for _, s := range sessions(t, dir) {
		_, domain, _ := strings.Cut(s.Messages[0].Mail.From, "@")
		if from[domain]++; strings.HasSuffix(domain, "bad.example") {
			from["bad"]++
		}
	}
	s := r.Stats()
	if from["good.example"] != 2 || from["bad"] == 0 || s.Cut != uint64(messages-from["bad"]) {
		t.Errorf("%d sessions of others and %d of the one with %d messages, %+v", from["good.example"], from["bad"], messages, s)
	}
	if s.Bytes > maxOctets+4<<10 || s.Bytes < maxOctets/2 {
		t.Errorf("%d octets were written", s.Bytes)
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
	var holding atomic.Bool
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Now: func() time.Time {
		if holding.CompareAndSwap(true, false) {
			<-hold
		}
		return time.Now()
	}})
	conn, e := begin(r, &policy.Policy{}, client("203.0.113.8"), nil)
	e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	holding.Store(true)
	conn.Close()
	testkit.Eventually(t, "the writer at work", func() bool { return !holding.Load() })
	for range 5 {
		one(r, &policy.Policy{}, "b@good.example", "x@example.test")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(hold)
	<-r.done
	if s := r.Stats(); s.Recorded != 1 || s.Lost != 5 || r.queued.Load() != 0 {
		t.Errorf("%+v, %d octets queued", s, r.queued.Load())
	}
	// What was written stays as it is: there was no time to compress it.
	if got := names(t, dir); len(got) != 1 || !strings.HasSuffix(got[0], ".jsonl") {
		t.Errorf("files: %q", got)
	}
}

// mistake is a recording that cannot be listed.
type mistake struct{}

func (mistake) Lines() []string { panic("a mistake") }

func TestAMistakeOfTheRecorderDoesNotEndTheProcess(t *testing.T) {
	said := new(testkit.Log)
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Logger: said.Logger()})
	conn, e := begin(r, &policy.Policy{}, client("203.0.113.8"), nil)
	conn.dns = mistake{}
	e.Mail(policy.Auth{}, policy.Mail{From: "a@good.example"})
	conn.Close()
	one(r, &policy.Policy{}, "b@good.example", "x@example.test")
	finish(t, r)
	if s := r.Stats(); s.Recorded != 1 || s.Lost != 1 || strings.Count(said.String(), "a mistake") != 1 {
		t.Errorf("%+v\n%s", s, said)
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
