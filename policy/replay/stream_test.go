package replay

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// jsonSessions are n sessions, one a line, whose ids begin with a name.
func jsonSessions(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"%s-%d","messages":[{"mail":{"from":"a@good.example"}}]}`+"\n", name, i)
	}
	return b.String()
}

func yamlSessions(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\nid: %s-%d\nmessages: [{mail: {from: a@good.example}}]\n", name, i)
	}
	return b.String()
}

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstandard(t testing.TB, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(text), nil))
}

// tree writes files below a directory.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ids runs a stream and lists the sessions and the errors as they were collected.
func ids(t testing.TB, inputs []Input, workers int) (got []string, errs []string) {
	t.Helper()
	s := Stream[*[]string]{
		Workers: workers,
		New:     func() *[]string { return new([]string) },
		Each:    func(list *[]string, s *Session) { *list = append(*list, s.ID) },
		Collect: func(list *[]string, err error) error {
			got = append(got, *list...)
			*list = (*list)[:0]
			if err != nil {
				errs = append(errs, strings.Split(err.Error(), "\n")...)
			}
			return nil
		},
	}
	if err := s.Run(inputs); err != nil {
		t.Fatal(err)
	}
	return got, errs
}

func numbered(name string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s-%d", name, i)
	}
	return list
}

func TestSessionsOfAllFilesComeInOrder(t *testing.T) {
	dir := tree(t, map[string]string{
		"a.jsonl": jsonSessions("a", 5000), "b/c.yaml": yamlSessions("c", 3), "b/d.jsonl.gz": gzipped(t, jsonSessions("d", 3000)),
		"b/e.yml.zst": zstandard(t, yamlSessions("e", 2)), "f.json.zst": zstandard(t, jsonSessions("f", 3000)),
		"b/.hidden.yaml": "nonsense", ".git/x.yaml": "nonsense", "README.md": "nonsense", "g.yaml~": "nonsense", "b/now.jsonl": "",
	})
	var want []string
	for _, part := range []struct {
		name string
		n    int
	}{{"a", 5000}, {"c", 3}, {"d", 3000}, {"e", 2}, {"f", 3000}, {"stdin", 10}, {"a", 5000}} {
		want = append(want, numbered(part.name, part.n)...)
	}
	for _, workers := range []int{0, 1, 3} {
		inputs, err := Inputs([]string{dir, "-", filepath.Join(dir, "a.jsonl")}, strings.NewReader(gzipped(t, jsonSessions("stdin", 10))))
		if err != nil {
			t.Fatal(err)
		}
		got, errs := ids(t, inputs, workers)
		if diff := cmp.Diff(want, got); diff != "" || errs != nil {
			t.Errorf("%d workers: errors %v (-want +got):\n%s", workers, errs, diff)
		}
	}
}

func TestStandardInputSaysByItselfWhatItIs(t *testing.T) {
	for name, text := range map[string]string{
		"YAML": yamlSessions("s", 2), "JSON": jsonSessions("s", 2), "JSON behind an empty line": "\n \n" + jsonSessions("s", 2),
		"compressed YAML": zstandard(t, yamlSessions("s", 2)), "compressed JSON": gzipped(t, jsonSessions("s", 2)),
	} {
		inputs, err := Inputs([]string{"-"}, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		got, errs := ids(t, inputs, 1)
		if diff := cmp.Diff([]string{"s-0", "s-1"}, got); diff != "" || errs != nil {
			t.Errorf("%s: errors %v (-want +got):\n%s", name, errs, diff)
		}
	}
}

func TestABadFileDoesNotKeepTheOthersFromBeingRead(t *testing.T) {
	packed := gzipped(t, jsonSessions("cut", 4000))
	damaged := []byte(gzipped(t, jsonSessions("bad", 4000)))
	damaged[len(damaged)-6] ^= 0xff // the check sum
	dir := tree(t, map[string]string{
		"a.jsonl": jsonSessions("a", 1), "b-cut.jsonl.gz": packed[:len(packed)/2], "c-sum.jsonl.gz": string(damaged),
		"d-not.yaml.gz": yamlSessions("d", 1), "e-not.jsonl.zst": jsonSessions("e", 1), "f-empty.json": "", "g-empty.yaml": "",
		"h-mixed.jsonl": jsonSessions("h", 1) + "{\n" + jsonSessions("h", 1), "i-cut.yaml.gz": gzipped(t, yamlSessions("i", 20000))[:3000],
		"j-empty.jsonl.gz": "", "z.yaml": yamlSessions("z", 1),
	})
	inputs, err := Inputs([]string{dir, filepath.Join(dir, "missing.yaml")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, errs := ids(t, inputs, 2)
	var cut, whole, documents int
	var others []string
	for _, id := range got {
		switch name, _, _ := strings.Cut(id, "-"); name {
		case "cut":
			cut++
		case "bad":
			whole++
		case "i":
			documents++
		default:
			others = append(others, id)
		}
	}
	if diff := cmp.Diff([]string{"a-0", "h-0", "h-0", "z-0"}, others); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	if cut == 0 || cut >= 4000 || whole != 4000 || documents == 0 {
		t.Errorf("of the damaged files %d, %d and %d sessions were read", cut, whole, documents)
	}
	for i := range errs {
		errs[i] = strings.ReplaceAll(errs[i], dir+"/", "")
	}
	want := []string{
		fmt.Sprintf("b-cut.jsonl.gz:%d: compressed data ends too early", cut+1),
		"c-sum.jsonl.gz:4001: compressed data: gzip: invalid checksum",
		"d-not.yaml.gz:1: compressed data: gzip: invalid header",
		"e-not.jsonl.zst:1: compressed data: invalid input: magic number mismatch",
		"f-empty.json:1: no session, expected one JSON object a line",
		"g-empty.yaml:1: no session, expected a YAML document",
		"h-mixed.jsonl:2: not a session: the line ends too early",
		"", // below
		"j-empty.jsonl.gz:1: compressed data ends too early",
		"read sessions: open missing.yaml: no such file or directory",
	}
	if len(errs) == len(want) {
		want[7] = errs[7]
		if !strings.HasPrefix(errs[7], "i-cut.yaml.gz:") || !strings.HasSuffix(errs[7], ": compressed data ends too early") {
			t.Errorf("error %q", errs[7])
		}
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

func TestDirectoriesWithoutSessionsAreAnError(t *testing.T) {
	dir := tree(t, map[string]string{"README.md": "x", "sub/.a.yaml": "x"})
	_, err := Inputs([]string{dir}, nil)
	want := dir + ": no session files, expected names that end in .yaml .yml .jsonl .json, or in these and .gz or .zst"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestAStreamEndsWhereItsResultsCannotBeWritten(t *testing.T) {
	full := errors.New("disk full")
	collected := 0
	s := Stream[*int]{
		Workers: 2, New: func() *int { return new(int) }, Each: func(n *int, _ *Session) { *n++ },
		Collect: func(*int, error) error { collected++; return full },
	}
	r, w := io.Pipe()
	go func() {
		// Sessions without end: only the stream itself can stop.
		for block := jsonSessions("s", 1000); ; {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
	}()
	defer r.Close()
	inputs, err := Inputs([]string{"-"}, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(inputs); !errors.Is(err, full) || collected != 1 {
		t.Errorf("error %v after %d blocks", err, collected)
	}
}

// TestMemoryDoesNotGrowWithTheNumberOfSessions compares what is in use after the
// first sessions of a stream with what is after the last.
func TestMemoryDoesNotGrowWithTheNumberOfSessions(t *testing.T) {
	const total, early = 100_000, 10_000
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	p := fixture(t)
	var sessions int
	var first int64
	s := Stream[*int]{
		Workers: 2, New: func() *int { return new(int) },
		Each: func(n *int, s *Session) { *n += len(RunUntraced(p, s, nil, nil).Results) },
		Collect: func(n *int, err error) error {
			sessions += *n
			*n = 0
			if first == 0 && sessions >= early {
				first = inUse()
			}
			return err
		},
	}
	r, w := io.Pipe()
	go func() {
		block := jsonSessions("s", 1000)
		for range total / 1000 {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
		w.Close()
	}()
	inputs, err := Inputs([]string{"-"}, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(inputs); err != nil {
		t.Fatal(err)
	}
	last := inUse()
	if sessions != total || last > first+4<<20 {
		t.Errorf("%d bytes in use after %d sessions, %d after %d", first, early, last, sessions)
	}
}
