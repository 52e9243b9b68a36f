package bolt_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"milterd/policy/grant/bolt"
)

// manyGrants is a file with 5001 grants, the last that of shin@example.test.
func manyGrants(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "good.db")
	s := open(t, bolt.Config{Path: path})
	addr := netip.MustParseAddr("198.18.0.0")
	for range 5000 {
		addr = addr.Next()
		put(t, s, addr, "")
	}
	put(t, s, first, "shin@example.test")
	closeStore(t, s)
	return content(t, path)
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// used is how much of a file the database uses; there is room behind it.
func used(t *testing.T, content []byte) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "used.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	size := 0
	if err := db.View(func(tx *bbolt.Tx) error { size = int(tx.Size()); return nil }); err != nil {
		t.Fatal(err)
	}
	return size
}

// database is a file with a bucket that is not ours.
func database(t *testing.T, bucket string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte(bucket)); return err })
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return content(t, path)
}

func TestDamagedFilesAreSetAside(t *testing.T) {
	good := manyGrants(t)
	page := os.Getpagesize()
	overwritten := func(from, to int) []byte {
		return append(append(append([]byte(nil), good[:from]...), bytes.Repeat([]byte{0xa5}, to-from)...), good[to:]...)
	}
	for _, tt := range []struct {
		name    string
		content []byte
		// want is a part of the error that is logged.
		want string
	}{
		{"zeros", make([]byte, 8*page), "invalid database"},
		{"cut within the first page", good[:100], "invalid database"},
		{"cut after the first page", good[:page], "file size too small"},
		{"cut after the first pages", good[:4*page], ""},
		{"cut in the middle", good[:len(good)/2/page*page], ""},
		{"cut by its last page", good[:used(t, good)-page], ""},
		{"a record that was changed", bytes.ReplaceAll(good, []byte("shin@example.test"), []byte("kimm@example.test")), "a record whose checksum is wrong"},
		{"the pages of records overwritten", overwritten(2*page, len(good)), ""},
		{"the ends of both first pages overwritten", append(append(append(append([]byte(nil), good[:40]...), make([]byte, page-40)...), good[page:page+40]...), good[page+80:]...), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "grants.db")
			for name, content := range map[string][]byte{path: tt.content, path + ".damaged": []byte("an older one")} {
				if err := os.WriteFile(name, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			s := open(t, bolt.Config{Path: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if diff := cmp.Diff(map[string]string{}, held(t, s)); diff != "" {
				t.Errorf("grants of a damaged file (-want +got):\n%s", diff)
			}
			if !bytes.Equal(content(t, path+".damaged"), tt.content) {
				t.Error("what was set aside is not the damaged file")
			}
			for _, part := range []string{"level=ERROR", "file=" + path + " ", "set_aside_as=" + path + ".damaged ", tt.want} {
				if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), part) {
					t.Errorf("expected one line with %s in the log:\n%s", part, &log)
				}
			}
			put(t, s, other, "kim")
			closeStore(t, s)
			s = open(t, bolt.Config{Path: path})
			if diff := cmp.Diff(map[string]string{other.String(): "kim"}, held(t, s)); diff != "" {
				t.Errorf("grants of the new file (-want +got):\n%s", diff)
			}
			closeStore(t, s)
		})
	}
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	good := manyGrants(t)
	page := os.Getpagesize()
	// The version is behind the mark, on both first pages.
	newer := append([]byte(nil), good...)
	newer[16+4], newer[page+16+4] = 3, 3
	for _, tt := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"a text", []byte(strings.Repeat("203.0.113.8 shin\n", 5000)), "invalid database"},
		{"a short text", []byte("203.0.113.8 shin\n"), "invalid database"},
		{"somebody else's database", database(t, "recipes"), `it holds "recipes", not relay grants of this version of milterd`},
		{"grants of another version", database(t, "grants.v2"), `it holds "grants.v2", not relay grants of this version of milterd`},
		{"a database of another version", newer, "version mismatch"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "grants.db")
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := bolt.Open(bolt.Config{Path: path})
			if err == nil {
				t.Fatalf("opened, with %d grants (close: %v)", s.Len(), s.Close())
			}
			for _, part := range []string{path, tt.want, "move it away to begin without grants"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if !bytes.Equal(content(t, path), tt.content) {
				t.Error("the file was changed")
			}
			if _, err := os.Lstat(path + ".damaged"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("there is a file that was set aside (%v)", err)
			}
		})
	}
}

func TestDamagedFileThatCannotBeSetAside(t *testing.T) {
	damaged := manyGrants(t)[:100]
	path := filepath.Join(t.TempDir(), "grants.db")
	if err := errors.Join(os.WriteFile(path, damaged, 0o600), os.MkdirAll(path+".damaged/in-the-way", 0o700)); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(bolt.Config{Path: path})
	if err == nil {
		t.Fatalf("opened (close: %v)", s.Close())
	}
	for _, part := range []string{path, "invalid database", "set it aside: ", path + ".damaged", "move it away"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if !bytes.Equal(content(t, path), damaged) {
		t.Error("the file was changed")
	}
}

func TestDamagedFileThatIsOpenElsewhereIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.db")
	s := open(t, bolt.Config{Path: path})
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	second, err := bolt.Open(bolt.Config{Path: path, LockTimeout: time.Millisecond})
	if err == nil {
		t.Fatalf("opened twice (close: %v)", second.Close())
	}
	if !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("got %v", err)
	}
	closeStore(t, s)
}

func TestDamagedFileBehindALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target.db"), filepath.Join(dir, "grants.db")
	if err := errors.Join(os.WriteFile(target, manyGrants(t)[:100], 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	s := open(t, bolt.Config{Path: link})
	put(t, s, first, "shin")
	closeStore(t, s)
	if n := len(content(t, target+".damaged")); n != 100 {
		t.Errorf("%d octets were set aside, want 100", n)
	}
	if n := records(t, target); n != 1 {
		t.Errorf("%d records where the link leads, want 1", n)
	}
}
