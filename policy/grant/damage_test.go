package grant_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

// manyGrants is a file with 5001 grants, the last that of shin@example.test.
func manyGrants(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "good.db")
	s := open(t, grant.FileConfig{Path: path})
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

// boltDatabase is the beginning of a database as milterd kept grants in once.
func boltDatabase() []byte {
	page := make([]byte, 4*os.Getpagesize())
	binary.NativeEndian.PutUint32(page[16:], 0xed0cdaed)
	return page
}

func TestFilesThatCannotBeReadAreSetAside(t *testing.T) {
	good := manyGrants(t)
	lines := bytes.SplitAfter(good, []byte{'\n'})
	without := func(from, to int) []byte {
		return append(bytes.Clone(good[:from]), good[to:]...)
	}
	for _, tt := range []struct {
		name    string
		content []byte
		// want is a part of the error that is logged.
		want string
	}{
		{"zeros", make([]byte, 8*os.Getpagesize()), "damaged"},
		{"cut within the first line", good[:10], "line 1 does not end"},
		{"cut after the first line", lines[0], "line 2 does not end"},
		{"cut in the middle", good[:len(good)/2], "does not end"},
		{"cut by its last line", good[:len(good)-len(lines[len(lines)-2])], "line 5003 does not end"},
		{"cut by its last octet", good[:len(good)-1], "line 5003 does not end"},
		{"a name that was changed", bytes.ReplaceAll(good, []byte("shin@example.test"), []byte("kimm@example.test")), "its checksum is wrong"},
		{"an address that was changed", bytes.ReplaceAll(good, []byte(first.String()+"\t"), []byte("203.0.113.2\t")), "its checksum is wrong"},
		{"a grant that is gone", without(len(lines[0]), len(lines[0])+len(lines[1])), "its checksum is wrong"},
		{"octets that are gone", without(100, 105), "damaged"},
		{"overwritten in the middle", append(append(bytes.Clone(good[:5000]), bytes.Repeat([]byte{0xa5}, 5000)...), good[10000:]...), "damaged"},
		{"another file behind it", append(bytes.Clone(good), good...), "it goes on behind its end"},
		{"a text", []byte(strings.Repeat("203.0.113.8 shin\n", 5000)), "it does not begin with"},
		{"a short text without an end", []byte("203.0.113.8 shin"), "line 1 does not end"},
		{"one long line", bytes.Repeat([]byte{'x'}, 1<<20), "line 1 does not end, or is too long"},
		{"grants of another version", bytes.Replace(good, []byte("grants 1\n"), []byte("grants 2\n"), 1), "it does not begin with"},
		{"a bolt database", boltDatabase(), "damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "grants.db")
			for name, content := range map[string][]byte{path: tt.content, path + ".damaged": []byte("an older one")} {
				if err := os.WriteFile(name, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var log testkit.Log
			s := open(t, grant.FileConfig{Path: path, Logger: log.Logger()})
			if diff := cmp.Diff(map[string]string{}, held(t, s)); diff != "" {
				t.Errorf("grants of a damaged file (-want +got):\n%s", diff)
			}
			if !bytes.Equal(content(t, path+".damaged"), tt.content) {
				t.Error("what was set aside is not the damaged file")
			}
			for _, part := range []string{"level=WARN", "was set aside", "file=" + path + " ", "set_aside_as=" + path + ".damaged ", tt.want} {
				if strings.Count(log.String(), "\n") != 1 || !log.Has(part) {
					t.Errorf("expected one line with %s in the log:\n%s", part, &log)
				}
			}
			put(t, s, other, "kim")
			closeStore(t, s)
			s = open(t, grant.FileConfig{Path: path})
			if diff := cmp.Diff(map[string]string{other.String(): "kim"}, held(t, s)); diff != "" {
				t.Errorf("grants of the new file (-want +got):\n%s", diff)
			}
			closeStore(t, s)
		})
	}
}

func TestEmptyFileIsOneWithoutGrants(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log testkit.Log
	s := open(t, grant.FileConfig{Path: path, Logger: log.Logger()})
	closeStore(t, s)
	if n := s.Len(); n != 0 || log.String() != "" {
		t.Errorf("%d grants, log:\n%s", n, &log)
	}
}

func TestDamagedFileThatCannotBeSetAside(t *testing.T) {
	damaged := manyGrants(t)[:100]
	path := filepath.Join(t.TempDir(), "grants.db")
	if err := errors.Join(os.WriteFile(path, damaged, 0o600), os.MkdirAll(path+".damaged/in-the-way", 0o700)); err != nil {
		t.Fatal(err)
	}
	s, err := grant.OpenFile(grant.FileConfig{Path: path})
	if err == nil {
		t.Fatalf("opened (close: %v)", s.Close())
	}
	for _, part := range []string{path, "damaged: line ", "set it aside: ", path + ".damaged", "move it away"} {
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
	s := open(t, grant.FileConfig{Path: path})
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := grant.OpenFile(grant.FileConfig{Path: path, LockTimeout: time.Millisecond})
	if err == nil {
		t.Fatalf("opened twice (close: %v)", second.Close())
	}
	if !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("got %v", err)
	}
	closeStore(t, s)
}

// TestTakenOver: the next process gets the file that the last one wrote at its end.
func TestTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.db")
	s := open(t, grant.FileConfig{Path: path})
	opened := make(chan *grant.File)
	go func() {
		next, err := grant.OpenFile(grant.FileConfig{Path: path, LockTimeout: testkit.Patience, Interval: never})
		if err != nil {
			t.Error(err)
		}
		opened <- next
	}()
	put(t, s, first, "shin")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	put(t, s, other, "kim")
	closeStore(t, s)
	next := <-opened
	if diff := cmp.Diff(map[string]string{first.String(): "shin", other.String(): "kim"}, held(t, next)); diff != "" {
		t.Errorf("grants of the successor (-want +got):\n%s", diff)
	}
	closeStore(t, next)
}

func TestDamagedFileBehindALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target.db"), filepath.Join(dir, "grants.db")
	if err := errors.Join(os.WriteFile(target, manyGrants(t)[:100], 0o600), os.Symlink("target.db", link)); err != nil {
		t.Fatal(err)
	}
	s := open(t, grant.FileConfig{Path: link})
	put(t, s, first, "shin")
	closeStore(t, s)
	if n := len(content(t, target+".damaged")); n != 100 {
		t.Errorf("%d octets were set aside, want 100", n)
	}
	if n := records(t, target); n != 1 {
		t.Errorf("%d records where the link leads, want 1", n)
	}
	if leads, err := os.Readlink(link); leads != "target.db" {
		t.Errorf("the link leads to %q, %v", leads, err)
	}
}

func TestALinkToAFileThatIsNotThereYetStays(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target.db"), filepath.Join(dir, "grants.db")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	s := open(t, grant.FileConfig{Path: link})
	put(t, s, first, "shin")
	closeStore(t, s)
	if leads, err := os.Readlink(link); leads != target || records(t, target) != 1 {
		t.Errorf("the link leads to %q, %v", leads, err)
	}
}
