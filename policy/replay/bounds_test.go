package replay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
)

// inTime fails a test if work takes longer than any machine needs for it.
func inTime(t *testing.T, work func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	select {
	case <-done:
	case <-time.After(testkit.Patience):
		t.Fatal("it takes too long")
	}
}

// filled is a text with as many pieces as fit into so many bytes.
func filled(before, piece, after string, size int) string {
	return before + strings.Repeat(piece, (size-len(before)-len(after))/len(piece)) + after
}

func TestAFewBytesDoNotTakeAllMemory(t *testing.T) {
	const head = "id: x\nmessages: [{}]\n"
	tooLarge, tooMany := ":1: document of more than 1048576 bytes", " of more than 262144 values"
	for _, c := range []struct{ name, text, want string }{
		{"values.yaml.gz", gzipped(t, filled(head+"dns: [", "a,", "a]\n", 15<<20)), tooLarge},
		{"values.yaml.zst", zstandard(t, filled(head+"dns: [", "a,", "a]\n", 15<<20)), tooLarge},
		{"values.yaml", filled(head+"dns: [", "a,", "a]\n", maxDocument), ":1: document" + tooMany},
		{"lists.yaml", filled(head+"dns: [", "[],", "[]]\n", maxDocument), ":1: document" + tooMany},
		{"aliases.yaml", filled("id: &a x\nmessages: [{}]\ndns: [", "*a,", "*a]\n", maxDocument), ":1: document" + tooMany},
		{"multiplied.yaml", "id: &a [a,a,a,a,a,a,a,a]\nhelo: &b [*a,*a,*a,*a,*a,*a,*a,*a]\ntls: &c [*b,*b,*b,*b,*b,*b,*b,*b]\ndns: [*c,*c,*c,*c]\n", ":1: a list, expected text"},
		{"deep.yaml", filled(head+"dns: ", "[", "", 20_000), ":3: exceeded max depth of 10000"},
		{"messages.jsonl", filled(`{"messages":[`, "{},", "{}]}\n", maxLine), ":1: line" + tooMany},
		{"recipients.jsonl.gz", gzipped(t, filled(`{"messages":[{"rcpt":[`, "{},", "{}]}]}\n", maxLine)), ":1: line" + tooMany},
		{"expect.jsonl", filled(`{"messages":[{}],"expect":[`, `{"stage":"eom","action":"accept"},`, `{"stage":"eom","action":"accept"}]}`+"\n", maxLine), ":1: line" + tooMany},
		{"deep.jsonl", filled("", "[", "\n", maxLine), ":1: a list, expected keys and values"},
	} {
		dir := tree(t, map[string]string{c.name: c.text})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		inTime(t, func() {
			err := ReadFile(filepath.Join(dir, c.name), func(*Session) {})
			if err == nil || !strings.HasPrefix(strings.TrimPrefix(err.Error(), dir+"/"), c.name+c.want) {
				t.Errorf("%s: error %v, want %s", c.name, err, c.want)
			}
		})
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 48<<20 {
			t.Errorf("%s: %d MiB were allocated", c.name, took>>20)
		}
	}
}

func TestManyMistakesTakeLinearTime(t *testing.T) {
	var keys strings.Builder
	for document := range 3 {
		keys.WriteString("---\n")
		for i := 0; keys.Len() < (document+1)*900_000; i++ {
			fmt.Fprintf(&keys, "k%d: 1\n", i)
		}
	}
	var pairs strings.Builder
	for i := 0; pairs.Len() < 1<<19; i++ {
		fmt.Fprintf(&pairs, `["h%d","v"],`, i)
	}
	inTime(t, func() {
		err := Read("keys.yaml", strings.NewReader(keys.String()), func(*Session) {})
		// Those that are reported, how many others there are, and that it is enough.
		if n := strings.Count(err.Error(), "\n"); n != maxReported+1 || !strings.HasPrefix(err.Error(), "keys.yaml:2: unknown key \"k0\"") {
			t.Errorf("%d errors: %.300s", n, err)
		}
	})
	inTime(t, func() {
		text := `{"messages":[{}],"expect":[{"stage":"eom","headers":[` + pairs.String() + `["x"]]}]}`
		p := fixture(t)
		if err := Read("pairs.jsonl", strings.NewReader(text), func(s *Session) { Run(p, s, nil) }); err != nil {
			t.Error(err)
		}
	})
}

func TestASessionHasABoundedNumberOfCommands(t *testing.T) {
	session := func(messages, recipients, expect int) string {
		return `{"messages":[{"rcpt":[` + strings.TrimSuffix(strings.Repeat("{},", recipients), ",") + `]}` + strings.Repeat(",{}", messages-1) +
			`],"expect":[` + strings.TrimSuffix(strings.Repeat(`{"stage":"rcpt","action":"accept","arg":"x"},`, expect), ",") + "]}\n"
	}
	for text, want := range map[string]string{
		session(5000, 5001, 0):          "s.jsonl:1: messages: 10001 messages and recipients, expected 10000 at most",
		session(1, 1, 2*maxCommands+1):  "s.jsonl:1: expect: 20001 verdicts, expected 20000 at most",
		session(9999, 1, 2*maxCommands): "",
	} {
		p := fixture(t)
		inTime(t, func() {
			err := Read("s.jsonl", strings.NewReader(text), func(s *Session) { RunUntraced(p, s, nil) })
			if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
				t.Errorf("error %s, want %s", got, want)
			}
		})
	}
}

// endless repeats a text for ever.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		k := copy(p[n:], e.text[e.at:])
		n, e.at = n+k, (e.at+k)%len(e.text)
	}
	return n, nil
}

func TestFilesWithoutEndAreLeft(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"f.jsonl", "x\n", "f.jsonl: more than 100000 mistakes, the rest of the file is left out"},
		{"f.jsonl", "\n", "f.jsonl: no session in 16777216 bytes, the rest of the file is left out"},
		{"f.jsonl", "x", "f.jsonl: no session in 16777216 bytes, the rest of the file is left out"},
		{"f.yaml", "#\n", "f.yaml: no session in 16777216 bytes, the rest of the file is left out"},
		{"f.yaml", "---\n# \n", "f.yaml: more than 100000 mistakes, the rest of the file is left out"},
		{"f.yaml", "\x00", "f.yaml: no session in 16777216 bytes, the rest of the file is left out"},
		{"f.yaml", "---x\n--- ", "f.yaml: more than 100000 mistakes, the rest of the file is left out"},
		{"stdin", "\n", "stdin: no session in 16777216 bytes, the rest of the file is left out"},
	} {
		inTime(t, func() {
			err := Read(c.name, &endless{text: c.text}, func(*Session) {})
			if err == nil || !strings.Contains(err.Error()+"\n", c.want+"\n") {
				t.Errorf("%q for ever: %.300v, want %s", c.text, err, c.want)
			}
		})
	}
}

func TestCompressedDataExpandsAThousandfoldAtMost(t *testing.T) {
	dir := tree(t, map[string]string{"a.jsonl.zst": zstandard(t, strings.Repeat("\n", maxExpanded+(16<<20))), "b.jsonl.zst": zstandard(t, strings.Repeat("\n", maxExpanded-(16<<20)))})
	for name, want := range map[string]string{"a": "compressed data expands to more than 1000 times its size", "b": "<nil>"} {
		s := new(Stream[int])
		src, err := Input{Name: filepath.Join(dir, name+".jsonl.zst")}.open(&s.read)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, src); fmt.Sprint(err) != want {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
		src.close()
	}
}

func TestNoSessionIsAnErrorEverywhere(t *testing.T) {
	const json, yaml = ":1: no session, expected one JSON object a line", ":1: no session, expected a YAML document"
	dir := tree(t, map[string]string{
		"a.jsonl": "\n\n", "b.json": " \r\n\t\n", "c.jsonl.gz": gzipped(t, "\n"), "d.jsonl.zst": zstandard(t, strings.Repeat("\n", 3*blockSize)),
		"e.yaml": "\n", "f.yml": "# nothing\n", "g.yaml.gz": gzipped(t, "\n\n"), "h.jsonl": "\ufeff\n", "i.yaml": "", "j.json": "",
	})
	inputs, err := Inputs([]string{dir, "-"}, strings.NewReader("\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, errs := ids(t, inputs, 2)
	for i := range errs {
		errs[i] = strings.TrimPrefix(errs[i], dir+"/")
	}
	want := []string{"a.jsonl" + json, "b.json" + json, "c.jsonl.gz" + json, "d.jsonl.zst" + json, "e.yaml" + yaml, "f.yml" + yaml, "g.yaml.gz" + yaml, "h.jsonl" + json, "i.yaml" + yaml, "j.json" + json, "stdin" + yaml}
	if diff := cmp.Diff(want, errs); diff != "" || got != nil {
		t.Errorf("sessions %q, errors (-want +got):\n%s", got, diff)
	}
	empty := Form{Recognise: func([]byte) bool { return true }, Read: func(string, io.Reader, func(*Session) bool) error { return nil }}
	s := Stream[int]{Forms: []Form{empty}, New: func() int { return 0 }, Each: func(int, *Session) {}, Collect: func(_ int, err error) error { return err }}
	if err := s.Run([]Input{{Name: "log", stdin: strings.NewReader("x")}}); err == nil || err.Error() != "log:1: no session, expected a connection with a message" {
		t.Errorf("of a form: %v", err)
	}
}

func TestPipesAndDevicesAreNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	silent, written := filepath.Join(dir, "silent.jsonl"), filepath.Join(dir, "written.jsonl")
	for _, name := range []string{silent, written} {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Opened for both, a pipe waits for no other end.
	writer, err := os.OpenFile(written, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(writer, jsonSessions("s", 2)); err != nil {
		t.Fatal(err)
	}
	inputs, err := Inputs([]string{silent, "/dev/zero", "/dev/null", written}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got, errs []string
	s := Stream[*[]string]{
		New:  func() *[]string { return new([]string) },
		Each: func(list *[]string, s *Session) { *list = append(*list, s.ID) },
		Collect: func(list *[]string, err error) error {
			got, *list = append(got, *list...), nil
			if err != nil {
				errs = append(errs, err.Error())
			}
			return nil
		},
	}
	inTime(t, func() {
		go func() {
			for s.Read() == 0 {
				runtime.Gosched()
			}
			writer.Close()
		}()
		if err := s.Run(inputs); err != nil {
			t.Error(err)
		}
	})
	want := []string{
		silent + ":1: no session, expected one JSON object a line",
		"read sessions: /dev/zero is a device, expected a file, or - for standard input",
		"read sessions: /dev/null is a device, expected a file, or - for standard input",
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"s-0", "s-1"}, got); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	if _, err := Inputs([]string{dir}, nil); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory of pipes: %v", err)
	}
}
