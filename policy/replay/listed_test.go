package replay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestADirectoryThatIsBeingWrittenTo lists a directory, then does what milterd's
// recorder does to it, then reads.
func TestADirectoryThatIsBeingWrittenTo(t *testing.T) {
	dir := tree(t, map[string]string{
		"a.jsonl": jsonSessions("plain", 1), "a.jsonl.gz": gzipped(t, jsonSessions("packed", 1)), "a.jsonl.zst": "not looked at",
		"b.jsonl": jsonSessions("then-packed", 1), "c.jsonl": jsonSessions("removed", 1), "d.jsonl.gz": gzipped(t, jsonSessions("removed", 1)),
		"e.jsonl": "", "e.jsonl.gz": gzipped(t, jsonSessions("beside-empty", 1)),
		"f.yaml": yamlSessions("yaml", 1), "f.yaml.gz": gzipped(t, yamlSessions("yaml-packed", 1)),
	})
	inputs, err := Inputs([]string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.jsonl.gz"), []byte(gzipped(t, jsonSessions("now-packed", 1))), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b.jsonl", "c.jsonl", "d.jsonl.gz"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var got, gone []string
	s := Stream[*[]string]{
		New:  func() *[]string { return new([]string) },
		Each: func(list *[]string, s *Session) { *list = append(*list, filepath.Base(s.File)+" "+s.ID) },
		Collect: func(list *[]string, err error) error {
			got, *list = append(got, *list...), nil
			if e := new(GoneError); errors.As(err, &e) {
				gone = append(gone, filepath.Base(e.Name))
				err = nil
			}
			return err
		},
	}
	if err := s.Run(inputs); err != nil {
		t.Fatal(err)
	}
	want := []string{"a.jsonl plain-0", "b.jsonl.gz now-packed-0", "e.jsonl.gz beside-empty-0", "f.yaml yaml-0", "f.yaml.gz yaml-packed-0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"c.jsonl", "d.jsonl.gz"}, gone); diff != "" {
		t.Errorf("gone (-want +got):\n%s", diff)
	}
	// A file that somebody has named must be there.
	inputs, _ = Inputs([]string{filepath.Join(dir, "c.jsonl")}, nil)
	if _, errs := ids(t, inputs, 1); len(errs) != 1 || !strings.HasPrefix(errs[0], "read sessions: open ") {
		t.Errorf("errors %q", errs)
	}
}

func TestLinksThatLeadNowhereAreAnError(t *testing.T) {
	dir := tree(t, map[string]string{"a.jsonl": jsonSessions("a", 1)})
	if err := os.Symlink("nowhere", filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	inputs, err := Inputs([]string{dir}, nil)
	if want := "read sessions: stat " + filepath.Join(dir, "b.yaml") + ": no such file or directory"; err == nil || err.Error() != want || len(inputs) != 1 {
		t.Errorf("%d inputs, error %v, want %s", len(inputs), err, want)
	}
}
