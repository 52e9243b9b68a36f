package record

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/replay"
)

// recordForEver is what the process that gets killed does.
func recordForEver(dir string) {
	r, err := Open(Config{Dir: dir, MaxSize: 1 << 20, Compress: None})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p := &policy.Policy{}
	for i := 0; ; i++ {
		one(r, p, fmt.Sprintf("a%d@good.example", i), "x@example.test", strings.Repeat("y", i%2000)+"@example.test")
	}
}

func TestAKilledProcessLeavesReadableFiles(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "several files", func() bool { return len(names(t, dir)) > 3 })
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) {
		t.Fatalf("the process ended: %v", err)
	}
	// Files may end in the middle of a line, but for that they are whole.
	for i, name := range names(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		whole := data[:bytes.LastIndexByte(data, '\n')+1]
		if len(data) == 0 {
			continue
		}
		if read := parse(t, whole); len(read) == 0 {
			t.Errorf("file %d holds no session", i)
		}
	}
	// A piece of a line is put there in any case. The newest file may be empty.
	last := names(t, dir)[len(names(t, dir))-2]
	before := len(parse(t, wholeContent(t, filepath.Join(dir, last))))
	f, err := os.OpenFile(filepath.Join(dir, last), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"id":"half`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	r := open(t, Config{Dir: dir})
	finish(t, r)
	after := 0
	for _, name := range names(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, ".jsonl.gz") && info.Size() > 0 {
			t.Errorf("%s was left behind", name)
		}
		if strings.HasPrefix(name, last) {
			if err := replay.Read(name[:len(name)-len(".gz")], bytes.NewReader(gunzip(t, filepath.Join(dir, name))), func(*replay.Session) { after++ }); err != nil {
				t.Error(err)
			}
		}
	}
	if after != before || before == 0 {
		t.Errorf("%d sessions in the last file, and %d once it was compressed", before, after)
	}
}

// wholeContent are the whole lines of a file, without what is written after the last.
func wholeContent(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.LastIndexByte(data, '\n')
	if err := os.WriteFile(path, data[:i+1], 0o600); err != nil {
		t.Fatal(err)
	}
	return data[:i+1]
}
