package replay

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// growth is how many times the processor's time grows when work has four times as much
// to do: about 4 if that is linear, 16 if it is quadratic. What else runs makes single
// measurements longer, never shorter: the shortest of each size are compared, and more are
// made until they are close enough, up to a bound.
func growth(t *testing.T, work func(size int), size int, enough float64) float64 {
	t.Helper()
	const atLeast, atMost = 3, 15
	// The kernel's clock of a process may go in steps of some milliseconds, of which the
	// shortest of many measurements would be wrong by one.
	const manySteps = 100 * time.Millisecond
	less, more := time.Hour, time.Hour
	spent := func(size int) time.Duration {
		before := processorTime(t)
		for n := time.Duration(1); ; n++ {
			work(size)
			if took := processorTime(t) - before; took >= manySteps {
				return took / n
			}
		}
	}
	times := math.Inf(1)
	for i := 0; i < atLeast || i < atMost && times > enough; i++ {
		less, more = min(less, spent(size)), min(more, spent(4*size))
		times = float64(more) / float64(less)
	}
	return times
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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
		err := ReadFile(filepath.Join(dir, c.name), func(*Session) {})
		if err == nil || !strings.HasPrefix(strings.TrimPrefix(err.Error(), dir+"/"), c.name+c.want) {
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 48<<20 {
			t.Errorf("%s: %d MiB were allocated", c.name, took>>20)
		}
	}
}

func TestTimeIsLinear(t *testing.T) {
	p := fixture(t)
	numbered := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name string
		size int
		text func(size int) string
		want string
	}{
		{"keys.yaml", 10_000, func(n int) string { return numbered("k%d: 1\n", n) }, "keys.yaml:1: unknown key \"k0\""},
		{"keys.jsonl", 10_000, func(n int) string { return "{" + numbered(`"k%d":1,`, n) + `"x":1}` }, "keys.jsonl:1: unknown key \"k0\""},
		{"headers.jsonl", 10_000, func(n int) string {
			return `{"messages":[{}],"expect":[{"stage":"eom","headers":[` + numbered(`["h%d","v"],`, n) + `["x"]]}]}`
		}, ""},
		{"expect.jsonl", 2000, func(n int) string {
			return `{"messages":[{"rcpt":[` + numbered(`{"to":"y%d"},`, n) + `{}]}],"expect":[` + numbered(`{"stage":"rcpt","arg":"x%d","action":"accept"},`, n) + `{"stage":"eom","action":"accept"}]}`
		}, ""},
	} {
		work := func(size int) {
			err := Read(c.name, strings.NewReader(c.text(size)), func(s *Session) { RunUntraced(p, s, nil, nil) })
			if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("%s: error %.300v, want %s", c.name, err, c.want)
			}
		}
		if times := growth(t, work, c.size, 9); times > 9 {
			t.Errorf("%s: four times as much takes %.1f times as long", c.name, times)
		}
	}
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
		err := Read("s.jsonl", strings.NewReader(text), func(s *Session) { RunUntraced(p, s, nil, nil) })
		if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
			t.Errorf("error %s, want %s", got, want)
		}
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
	blank := strings.Repeat(" ", 10_000) + "\n"
	for _, c := range []struct{ name, text, want string }{
		{"f.jsonl", "x\n", "f.jsonl: more than 100000 mistakes, the rest of the file is left out"},
		{"f.jsonl", blank, "f.jsonl: no session in 16777216 bytes, the rest of the file is left out"},
		{"f.jsonl", "x", "f.jsonl: no session in 16777216 bytes, the rest of the file is left out"},
		{"f.yaml", "#" + blank, "f.yaml: no session in 16777216 bytes, the rest of the file is left out"},
		{"f.yaml", "---\n# \n", "f.yaml: more than 100000 mistakes, the rest of the file is left out"},
		{"f.yaml", "\x00", "f.yaml: no session in 16777216 bytes, the rest of the file is left out"},
		{"stdin", blank, "stdin: no session in 16777216 bytes, the rest of the file is left out"},
	} {
		err := Read(c.name, &endless{text: c.text}, func(*Session) {})
		if err == nil || !strings.Contains(err.Error()+"\n", c.want+"\n") {
			t.Errorf("%.10q for ever: %.300v, want %s", c.text, err, c.want)
		}
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
	go func() {
		for s.Read() == 0 {
			runtime.Gosched()
		}
		writer.Close()
	}()
	if err := s.Run(inputs); err != nil {
		t.Error(err)
	}
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
