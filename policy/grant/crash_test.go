package grant_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

// The test binary runs itself again for what must happen in another process.
const (
	crashFile = "MILTERD_TEST_CRASH_FILE"
	fullDir   = "MILTERD_TEST_FULL_DIR"
)

func numbered(n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0xc6120000+uint32(n))
	return netip.AddrFrom4(b)
}

// writeUntilKilled grants one address after the other, ends some grants again, and
// prints the number of each that is on disk.
func writeUntilKilled(path string) int {
	s, err := grant.OpenFile(grant.FileConfig{Path: path, Interval: time.Millisecond})
	if err != nil {
		fmt.Println("open:", err)
		return 1
	}
	ctx := context.Background()
	for n := s.Len(); ; n++ {
		for i := range 20 {
			// Others come and go, so that pages are used again.
			user := grant.Login{Addr: numbered(1<<20 + (n*20+i)%5000), User: "user" + strconv.Itoa(i), Source: "test"}
			if _, err := s.Put(ctx, user, time.Hour, 3); err != nil {
				fmt.Println("put:", err)
				return 1
			}
		}
		if _, err := s.Put(ctx, grant.Login{Addr: numbered(n), Source: "test"}, time.Hour, 0); err != nil {
			fmt.Println("put:", err)
			return 1
		}
		if err := s.Flush(); err != nil {
			fmt.Println("flush:", err)
			return 1
		}
		fmt.Println(n)
	}
}

func TestFileOutlivesKilledWriters(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "grants.db")
	acknowledged := make(map[int]bool)
	for round := range 20 {
		child := exec.Command(self)
		child.Env = append(os.Environ(), crashFile+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range round * 2 {
			if !lines.Scan() {
				break
			}
			acknowledge(t, acknowledged, lines.Text())
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			acknowledge(t, acknowledged, lines.Text())
		}
		if err := child.Wait(); err == nil || !child.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
			t.Fatalf("round %d: the writer ended by itself: %v", round, err)
		}

		s := open(t, grant.FileConfig{Path: path})
		for n := range acknowledged {
			if _, ok, err := s.Get(t.Context(), numbered(n)); !ok || err != nil {
				t.Errorf("round %d: grant %d was on disk, and is not there: %v", round, n, err)
			}
		}
		closeStore(t, s)
	}
	if len(acknowledged) < 300 {
		t.Errorf("%d grants were acknowledged, expected some hundreds", len(acknowledged))
	}
}

func acknowledge(t *testing.T, all map[int]bool, line string) {
	t.Helper()
	n, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("the writer said %q", line)
	}
	all[n] = true
}

func TestFileThatIsGoneWhileOpenIsWrittenAgain(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"cut":     func(path string) error { return os.Truncate(path, 0) },
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "grants.db")
			s := open(t, grant.FileConfig{Path: path})
			put(t, s, first, "shin")
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := lose(path); err != nil {
				t.Fatal(err)
			}
			put(t, s, other, "kim")
			closeStore(t, s)
			if n := records(t, path); n != 2 {
				t.Errorf("%d grants in the file, want 2", n)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(fullDir); dir != "" {
		onSmallDisk(t, dir)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self, "-test.run=^TestFullDisk$", "-test.v")
	child.Env = append(os.Environ(), fullDir+"="+t.TempDir())
	// A file system of its own, which needs no privilege in a user namespace.
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := child.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "--- FAIL") {
		testkit.Missing(t, fmt.Sprintf("no mount namespace of our own: %v\n%s", err, out))
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// runOnSmallDisk mounts a file system of 2 MiB and runs the test there.
func runOnSmallDisk(m *testing.M, dir string) int {
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
		fmt.Fprintln(os.Stderr, "mount:", err)
		return 1
	}
	return m.Run()
}

// onSmallDisk is the test there.
func onSmallDisk(t *testing.T, dir string) {
	var log testkit.Log
	s := open(t, grant.FileConfig{Path: filepath.Join(dir, "grants.db"), Logger: log.Logger()})
	put(t, s, first, "shin")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(filler, zeros{})
	t.Logf("filled with %d octets: %v", n, err)

	for i := range 5000 {
		put(t, s, numbered(i), strings.Repeat("u", 300))
		put(t, s, numbered(i), "")
		put(t, s, numbered(1<<20+i), "")
	}
	for range 3 {
		if err := s.Flush(); err == nil {
			t.Error("written to a full disk")
		}
	}
	stats := s.Stats()
	if stats.Failures < 3 || !stats.Failing || stats.Pending == 0 || s.Failures() != stats.Failures {
		t.Errorf("stats: %+v", stats)
	}
	if _, ok, err := s.Get(t.Context(), numbered(1<<20+4999)); !ok || err != nil {
		t.Errorf("the grant does not hold in memory: %v", err)
	}
	if _, err := s.Delete(t.Context(), numbered(1<<20)); err == nil {
		t.Error("a revocation that is not on disk had no error")
	}

	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"cannot be written to disk: they hold until milterd ends", "no space left", "are written to disk again"} {
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("%q logged %d times:\n%s", line, n, log.String())
		}
	}
	want := held(t, s)
	closeStore(t, s)
	s = open(t, grant.FileConfig{Path: filepath.Join(dir, "grants.db")})
	if got := held(t, s); len(got) != len(want) {
		t.Errorf("%d grants in the file, want %d", len(got), len(want))
	}
	closeStore(t, s)
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
