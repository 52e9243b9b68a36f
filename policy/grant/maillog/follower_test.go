package maillog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keeper remembers who logged in.
type keeper struct {
	mu    sync.Mutex
	users []string
	err   error
}

func (k *keeper) Login(_ context.Context, l grant.Login) (grant.Result, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users = append(k.users, l.User)
	return grant.Result{}, k.err
}

func (k *keeper) seen() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.users...)
}

// following is a Follower at work.
type following struct {
	*Follower
	t      *testing.T
	keeper *keeper
	log    *testkit.Log
	path   string
	stop   func()
}

// follow begins to follow a file and waits until that has taken effect.
func follow(t *testing.T, path string, poll time.Duration) *following {
	t.Helper()
	f := &following{t: t, keeper: &keeper{}, log: new(testkit.Log), path: path}
	f.Follower = New(Config{
		Path: path, Format: named(t, "courier"), Granter: f.keeper, Poll: poll,
		Logger: f.log.Logger(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	f.stop = func() { cancel(); <-done }
	t.Cleanup(f.stop)
	testkit.Eventually(f.t, "it has looked at the file", func() bool { return f.Stats().Open || strings.Count(f.log.String(), "cannot be read") > 0 })
	return f
}

// waitUsers waits for so many logins and compares them.
func (f *following) waitUsers(want ...string) {
	f.t.Helper()
	testkit.Eventually(f.t, fmt.Sprintf("%d logins", len(want)), func() bool { return len(f.keeper.seen()) >= len(want) })
	if diff := cmp.Diff(want, f.keeper.seen()); diff != "" {
		f.t.Fatalf("logins (-want +got):\n%s", diff)
	}
}

func loginLine(user string) string {
	return "Nov 22 10:00:00 mx pop3d: LOGIN, user=" + user + ", ip=[::ffff:203.0.113.8], port=[40112]\n"
}

func appendTo(t *testing.T, path string, texts ...string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, text := range texts {
		if _, err := io.WriteString(f, text); err != nil {
			t.Fatal(err)
		}
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	// The long interval of polling shows that events do; the short one is for what has
	// no event.
	const events, short = time.Hour, 5 * time.Millisecond
	tests := []struct {
		name string
		poll time.Duration
		// before is in the file at the start; "missing" for none.
		before string
		do     func(f *following)
		want   []string
	}{
		{"what was logged before is history", events, loginLine("old"), func(f *following) {
			appendTo(f.t, f.path, loginLine("new"))
		}, []string{"new"}},
		{"a line that had begun before is history", events, loginLine("old") + loginLine("half")[:40], func(f *following) {
			appendTo(f.t, f.path, loginLine("half")[40:], loginLine("new"))
		}, []string{"new"}},
		{"a file longer than the window", events, strings.Repeat(loginLine("old"), 1000), func(f *following) {
			appendTo(f.t, f.path, loginLine("new"))
		}, []string{"new"}},
		{"a line in many pieces", events, "", func(f *following) {
			for i := range loginLine("a") {
				appendTo(f.t, f.path, loginLine("a")[i:i+1])
			}
		}, []string{"a"}},
		{"a file that is not there yet", events, "missing", func(f *following) {
			appendTo(f.t, f.path, loginLine("a"), loginLine("b"))
		}, []string{"a", "b"}},
		{"without events", short, "", func(f *following) {
			appendTo(f.t, f.path, loginLine("a"))
		}, []string{"a"}},
		{"rotated by renaming, written to the old file first", events, "", func(f *following) {
			appendTo(f.t, f.path, loginLine("a"))
			rename(f.t, f.path, f.path+".1")
			appendTo(f.t, f.path+".1", loginLine("b"))
			appendTo(f.t, f.path, loginLine("c"))
			testkit.Eventually(f.t, "the new file is read", func() bool { return f.Stats().Logins == 3 })
			appendTo(f.t, f.path+".1", loginLine("d"))
		}, []string{"a", "b", "c", "d"}},
		{"renamed out of the directory", short, "", func(f *following) {
			away := filepath.Join(f.t.TempDir(), "elsewhere")
			rename(f.t, f.path, away)
			appendTo(f.t, away, loginLine("a"))
			testkit.Eventually(f.t, "the old file is read", func() bool { return f.Stats().Logins == 1 })
			appendTo(f.t, f.path, loginLine("b"))
		}, []string{"a", "b"}},
		{"removed and made anew", events, loginLine("old"), func(f *following) {
			if err := os.Remove(f.path); err != nil {
				f.t.Fatal(err)
			}
			appendTo(f.t, f.path, loginLine("a"))
		}, []string{"a"}},
		{"truncated", events, strings.Repeat(loginLine("old"), 3), func(f *following) {
			truncate(f.t, f.path)
			testkit.Eventually(f.t, "it is seen", func() bool { return f.Stats().Truncated == 1 })
			appendTo(f.t, f.path, loginLine("a"))
		}, []string{"a"}},
		{"truncated, and longer than before when that is seen", events, loginLine("old"), func(f *following) {
			appendTo(f.t, f.path+"x", loginLine("one"), loginLine("two"), loginLine("three"))
			f.rewrite(f.path + "x")
		}, []string{"one", "two", "three"}},
		{"truncated with lines that are only in the copy", events, loginLine("old"), func(f *following) {
			old, err := os.ReadFile(f.path)
			if err != nil {
				f.t.Fatal(err)
			}
			appendTo(f.t, f.path+".1", string(old), loginLine("a"), loginLine("b"), loginLine("half")[:30])
			appendTo(f.t, f.path+".2", strings.Repeat(loginLine("older"), 9))
			appendTo(f.t, f.path+"x", loginLine("third"))
			f.rewrite(f.path + "x")
		}, []string{"a", "b", "third"}},
		{"truncated under a writer that does not append", events, "", func(f *following) {
			w, err := os.OpenFile(f.path, os.O_WRONLY, 0)
			if err != nil {
				f.t.Fatal(err)
			}
			defer w.Close()
			for i, user := range []string{"a", "b"} {
				if _, err := io.WriteString(w, loginLine(user)); err != nil {
					f.t.Fatal(err)
				}
				testkit.Eventually(f.t, "the line is read", func() bool { return f.Stats().Logins == uint64(i+1) })
				truncate(f.t, f.path)
			}
		}, []string{"a", "b"}},
		{"replaced by an edited copy of itself", events, loginLine("old"), func(f *following) {
			appendTo(f.t, f.path, loginLine("a"))
			testkit.Eventually(f.t, "the line is read", func() bool { return f.Stats().Logins == 1 })
			appendTo(f.t, f.path+".new", loginLine("old"), loginLine("a"), loginLine("b"))
			rename(f.t, f.path+".new", f.path)
		}, []string{"a", "b"}},
		{"a line longer than any", events, "", func(f *following) {
			appendTo(f.t, f.path, loginLine(strings.Repeat("x", maxLine)), strings.Repeat("y", 3*bufferSize), "\n", loginLine("a"))
			testkit.Eventually(f.t, "they are counted", func() bool { return f.Stats().Long == 2 })
		}, []string{"a"}},
		{"more than a buffer at once", events, "", func(f *following) {
			appendTo(f.t, f.path, strings.Repeat("noise\n", bufferSize), loginLine("a"))
		}, []string{"a"}},
		{"a directory that is not there yet", short, "missing", func(f *following) {
			dir := filepath.Dir(f.path)
			if err := os.Remove(dir); err != nil {
				f.t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				f.t.Fatal(err)
			}
			appendTo(f.t, f.path, loginLine("a"))
		}, []string{"a"}},
		{"something else in the place of the file", short, loginLine("old"), func(f *following) {
			rename(f.t, f.path, f.path+".1")
			if err := os.Mkdir(f.path, 0o700); err != nil {
				f.t.Fatal(err)
			}
			testkit.Eventually(f.t, "it is reported", func() bool { return strings.Count(f.log.String(), "is not a regular file") == 1 })
			if err := os.Remove(f.path); err != nil {
				f.t.Fatal(err)
			}
			appendTo(f.t, f.path, loginLine("a"))
			testkit.Eventually(f.t, "its end is reported", func() bool { return strings.Count(f.log.String(), "read again") == 1 })
		}, []string{"a"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dir", "mail.log")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if tc.before != "missing" {
				appendTo(t, path, tc.before)
			}
			f := follow(t, path, tc.poll)
			tc.do(f)
			f.waitUsers(tc.want...)
		})
	}
}

// rewrite gives the file other contents in one write, so that it is never seen shorter
// than it was.
func (f *following) rewrite(from string) {
	f.t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		f.t.Fatal(err)
	}
	w, err := os.OpenFile(f.path, os.O_WRONLY, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	defer w.Close()
	size, err := w.Seek(0, io.SeekEnd)
	if err != nil {
		f.t.Fatal(err)
	}
	if len(text) < int(size) {
		f.t.Fatalf("%d octets instead of %d, which can be seen", len(text), size)
	}
	if _, err := w.WriteAt(text, 0); err != nil {
		f.t.Fatal(err)
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
}

func TestMissingFileIsReportedOnce(t *testing.T) {
	f := follow(t, filepath.Join(t.TempDir(), "mail.log"), time.Millisecond)
	// Many polls later: a file beside it makes events, which are handled in order.
	for i := range 100 {
		appendTo(t, fmt.Sprintf("%s.%d", f.path, i), "x")
	}
	appendTo(t, f.path, loginLine("a"))
	f.waitUsers("a")
	if n := strings.Count(f.log.String(), "cannot be read"); n != 1 {
		t.Errorf("reported %d times", n)
	}
	if n := strings.Count(f.log.String(), "read again"); n != 1 {
		t.Errorf("its end reported %d times", n)
	}
}

func TestFailuresOfTheGranterAreCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, "")
	f := follow(t, path, time.Hour)
	f.keeper.mu.Lock()
	f.keeper.err = errors.New("no store")
	f.keeper.mu.Unlock()
	appendTo(t, path, loginLine("a"), loginLine("b"), "noise\n")
	testkit.Eventually(f.t, "they are counted", func() bool { return f.Stats().Lines == 3 })
	want := Stats{Lines: 3, Logins: 2, Failed: 2, Open: true}
	if diff := cmp.Diff(want, f.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
	f.stop()
	if f.Stats().Open {
		t.Error("the file is open after the end")
	}
}

func TestWrongFormatIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, "")
	f := follow(t, path, time.Hour)
	appendTo(t, path, strings.Repeat("noise\n", unmatched+10))
	testkit.Eventually(f.t, "it is reported", func() bool { return strings.Count(f.log.String(), "is it the right file") == 1 })
}

// sourceKeeper remembers the whole login.
type sourceKeeper chan grant.Login

func (k sourceKeeper) Login(_ context.Context, l grant.Login) (grant.Result, error) {
	k <- l
	return grant.Result{}, nil
}

func TestSourceAndTime(t *testing.T) {
	k := make(sourceKeeper, 1)
	now := time.Date(2027, 1, 1, 0, 0, 5, 0, time.UTC)
	f := New(Config{Path: "unused", Format: named(t, "uw"), Granter: k, Now: func() time.Time { return now }})
	f.line(t.Context(), []byte("Dec 31 23:59:59 mx imapd[1]: Login user=shin host=h [203.0.113.8]"), time.Time{})
	want := grant.Login{Addr: netip.MustParseAddr("203.0.113.8"), User: "shin", Source: "maillog:uw", At: time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)}
	if diff := cmp.Diff(want, <-k, compareAddrs); diff != "" {
		t.Errorf("login (-want +got):\n%s", diff)
	}
}
