package grant_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		os.Exit(writeUntilKilled(path))
	}
	if dir := os.Getenv(fullDir); dir != "" {
		os.Exit(runOnSmallDisk(m, dir))
	}
	goleak.VerifyTestMain(m)
}

// never is an interval after which no test still runs: nothing is written but by
// Flush and Close.
const never = time.Hour

var (
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	first = netip.MustParseAddr("203.0.113.1")
	other = netip.MustParseAddr("2001:db8::1")
)

func at(now time.Time) func() time.Time { return func() time.Time { return now } }

func open(t testing.TB, c grant.FileConfig) *grant.File {
	t.Helper()
	if c.Interval == 0 {
		c.Interval = never
	}
	s, err := grant.OpenFile(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *grant.File, addr netip.Addr, user string) {
	t.Helper()
	if _, err := s.Put(t.Context(), grant.Login{Addr: addr, User: user, Source: "dovecot"}, 30*time.Minute, 10); err != nil {
		t.Fatal(err)
	}
}

func closeStore(t testing.TB, s *grant.File) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// held lists the addresses and users that a store has.
func held(t testing.TB, s *grant.File) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := s.List(t.Context(), func(g grant.Grant) bool { all[g.Addr.String()] = g.User; return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

// records counts the grants in a file.
func records(t testing.TB, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n") - 2
}

func TestRestartKeepsWhatHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.db")
	s := open(t, grant.FileConfig{Path: path, Now: at(noon)})
	put(t, s, first, "shin")
	put(t, s, other, "日本")
	want, _, err := s.Get(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)

	s = open(t, grant.FileConfig{Path: path, Now: at(noon.Add(29 * time.Minute))})
	got, ok, err := s.Get(t.Context(), other)
	if err != nil || !ok {
		t.Fatalf("after the restart: %v, %v", ok, err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("before the restart - after +:\n%s", diff)
	}
	put(t, s, first, "shin")
	closeStore(t, s)

	s = open(t, grant.FileConfig{Path: path, Now: at(noon.Add(30 * time.Minute))})
	if diff := cmp.Diff(map[string]string{"203.0.113.1": "shin"}, held(t, s)); diff != "" {
		t.Errorf("after the end of one, want - got +:\n%s", diff)
	}
	closeStore(t, s)
	if n := records(t, path); n != 1 {
		t.Errorf("%d records in the file, want 1", n)
	}

	s = open(t, grant.FileConfig{Path: path, Now: at(noon.Add(-48 * time.Hour))})
	if diff := cmp.Diff(map[string]string{}, held(t, s)); diff != "" {
		t.Errorf("with a clock that makes them longer than any can be, want - got +:\n%s", diff)
	}
	closeStore(t, s)
}

func TestFileIsMadePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.db")
	closeStore(t, open(t, grant.FileConfig{Path: path}))
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file: %v, %v", entries, err)
	}
}

func TestRevocationIsOnDiskWhenItReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.db")
	s := open(t, grant.FileConfig{Path: path})
	put(t, s, first, "shin")
	put(t, s, other, "kim")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	copied := func() map[string]string {
		t.Helper()
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		copyPath := filepath.Join(t.TempDir(), "copy.db")
		if err := os.WriteFile(copyPath, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c := open(t, grant.FileConfig{Path: copyPath})
		defer closeStore(t, c)
		return held(t, c)
	}
	if diff := cmp.Diff(map[string]string{"203.0.113.1": "shin", "2001:db8::1": "kim"}, copied()); diff != "" {
		t.Errorf("flushed, want - got +:\n%s", diff)
	}
	if ok, err := s.Delete(t.Context(), first); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if diff := cmp.Diff(map[string]string{"2001:db8::1": "kim"}, copied()); diff != "" {
		t.Errorf("one revoked, want - got +:\n%s", diff)
	}
	if gone, err := s.DeleteUser(t.Context(), "kim"); len(gone) != 1 || err != nil {
		t.Fatal(gone, err)
	}
	if diff := cmp.Diff(map[string]string{}, copied()); diff != "" {
		t.Errorf("the other's user revoked, want - got +:\n%s", diff)
	}
	closeStore(t, s)
}

func TestStormOfLoginsIsWrittenTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.db")
	s := open(t, grant.FileConfig{Path: path})
	addr := netip.MustParseAddr("198.18.0.0")
	for range 25_000 {
		addr = addr.Next()
		put(t, s, addr, "")
		put(t, s, addr, "shin")
	}
	if pending := s.Stats().Pending; pending != 50_000 {
		t.Errorf("%d changes wait to be written", pending)
	}
	closeStore(t, s)
	if stats := s.Stats(); stats != (grant.FileStats{Writes: 1}) {
		t.Errorf("stats: %+v", stats)
	}
	if n := records(t, path); n != 10 {
		t.Errorf("%d records, the limit of the user is 10", n)
	}
}

func TestChangesAreWrittenAfterTheInterval(t *testing.T) {
	s := open(t, grant.FileConfig{Path: filepath.Join(t.TempDir(), "grants.db"), Interval: time.Millisecond})
	put(t, s, first, "shin")
	testkit.Eventually(t, "written", func() bool { return s.Stats().Writes == 1 && s.Stats().Pending == 0 })
	closeStore(t, s)
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if err := s.Flush(); err == nil {
		t.Error("flushed after the end")
	}
}

func TestFileWithMoreThanTheLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.db")
	s := open(t, grant.FileConfig{Path: path})
	put(t, s, first, "shin")
	put(t, s, other, "kim")
	closeStore(t, s)
	var log testkit.Log
	s = open(t, grant.FileConfig{Path: path, Max: 1, Logger: log.Logger()})
	if n := s.Len(); n != 1 {
		t.Errorf("%d grants", n)
	}
	closeStore(t, s)
	if !strings.Contains(log.String(), "left_out=1") {
		t.Errorf("log: %s", log.String())
	}
}

func TestTwoCannotOpenOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.db")
	s := open(t, grant.FileConfig{Path: path})
	_, err := grant.OpenFile(grant.FileConfig{Path: path, LockTimeout: time.Millisecond})
	want := "open file of relay grants " + path + ": another process has it open; is another milterd running?"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	closeStore(t, s)
}

func TestPathsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, path, want string }{
		{"no such directory", filepath.Join(dir, "missing", "grants.db"), "no such file or directory"},
		{"a directory", dir, "is a directory"},
		{"no path", "", "no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.path == "" {
				t.Chdir(filepath.Join(dir))
			}
			s, err := grant.OpenFile(grant.FileConfig{Path: tt.path})
			if err == nil {
				t.Fatalf("opened (close: %v)", s.Close())
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}
