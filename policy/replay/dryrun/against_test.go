package dryrun

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
)

// generated writes n sessions into a directory with both configurations.
func generated(t testing.TB, n int) (dir string, g *generator) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"milterd.yaml": beforeConfig, "after.yaml": afterConfig, "access": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(dir, "day.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	g = newGenerator()
	for range n {
		if err := g.write(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, g
}

// TestAPolicyChangeAgainstADaysTraffic compares what -against finds with what the
// generator of the sessions has worked out by itself.
func TestAPolicyChangeAgainstADaysTraffic(t *testing.T) {
	n := 100_000
	if raced {
		n = 5_000
	}
	dir, g := generated(t, n)
	total := 0
	for kind, count := range g.changes {
		total += count
		if count == 0 {
			t.Errorf("no change of the kind %s", kind)
		}
	}
	status, stdout, stderr := runDry(t, dir, "-against", "after.yaml", "-json", "day.jsonl")
	if status != Difference || stderr != "" {
		t.Fatalf("exit status %d, stderr %q", status, stderr)
	}
	got, sessions := make(map[string]int), make(map[string]bool)
	for line := range strings.Lines(stdout) {
		var c struct {
			Session  string
			Old, New *struct{ Action, Check, Rule string }
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		sessions[c.Session] = true
		kind := c.Old.Action + " -> not reached"
		if c.New != nil {
			kind = c.Old.Action + " -> " + c.New.Action + " " + c.New.Check + " " + c.New.Rule
		}
		got[kind]++
	}
	if diff := cmp.Diff(g.changes, got); diff != "" || len(sessions) != g.changed {
		t.Errorf("%d sessions change, predicted %d; changes (-predicted +found):\n%s", len(sessions), g.changed, diff)
	}
	_, stdout, _ = runDry(t, dir, "-against", "after.yaml", "day.jsonl")
	want := fmt.Sprintf("%d changes in %d sessions\n", total, g.changed)
	if !strings.HasPrefix(stdout, "s-") || !strings.HasSuffix(stdout, want) || strings.Count(stdout, "\n    - ") != total {
		t.Errorf("text ends %q, want %q", stdout[max(0, len(stdout)-1000):], want)
	}
	for kind, count := range g.changes {
		if !strings.Contains(strings.Join(strings.Fields(stdout), " "), fmt.Sprintf("%d %s", count, kind)) {
			t.Errorf("the totals have no %d %s", count, kind)
		}
	}
}

func TestAgainstItselfNothingChanges(t *testing.T) {
	dir, g := generated(t, 1000)
	status, stdout, stderr := runDry(t, dir, "-against", "milterd.yaml", "day.jsonl")
	if want := ": nothing changes\n"; status != OK || stderr != "" || !strings.HasPrefix(stdout, fmt.Sprintf("%d sessions, ", g.sessions)) || !strings.HasSuffix(stdout, want) {
		t.Errorf("exit status %d, stderr %q, stdout %q", status, stderr, stdout)
	}
	if status, stdout, _ := runDry(t, dir, "-against", "milterd.yaml", "-json", "day.jsonl"); status != OK || stdout != "" {
		t.Errorf("as JSON: exit status %d, stdout %q", status, stdout)
	}
}

func TestWhatChangesIsPrinted(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := generated(t, 40)
	_, text, _ := runDry(t, dir, "-against", "after.yaml", "day.jsonl")
	_, objects, _ := runDry(t, dir, "-against", "after.yaml", "-json", "day.jsonl")
	t.Chdir(wd)
	testkit.Golden(t, "testdata/against.txt", text)
	testkit.Golden(t, "testdata/against.jsonl", objects)
}

func TestBadInputIsWorseThanAChange(t *testing.T) {
	dir, _ := generated(t, 100)
	write(t, dir, "bad.jsonl", "{\n")
	write(t, dir, "bad.yaml", "mode: shadoww\n")
	write(t, dir, "dns.jsonl", `{"id":"x","messages":[{}],"dns":["what"]}`+"\n")
	for _, c := range []struct {
		name, complaint string
		args            []string
	}{
		{"sessions that cannot be read", "milterd: bad.jsonl:1: ", []string{"-against", "after.yaml", "bad.jsonl", "day.jsonl"}},
		{"DNS answers that cannot be read", "milterd: dns.jsonl:1: x: ", []string{"-against", "after.yaml", "dns.jsonl", "day.jsonl"}},
		{"another configuration that is bad", "milterd: bad.yaml:1: ", []string{"-against", "bad.yaml", "day.jsonl"}},
		{"another configuration that is missing", "milterd: read configuration: ", []string{"-against", "none.yaml", "day.jsonl"}},
	} {
		status, _, stderr := runDry(t, dir, c.args...)
		if status != BadInput || !strings.HasPrefix(stderr, c.complaint) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit status %d, stderr %q", c.name, status, stderr)
		}
	}
}
