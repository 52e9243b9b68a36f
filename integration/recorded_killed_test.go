package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"milterd/integration/harness"
)

// TestAKilledMilterdLeavesARecordingThatReplays kills milterd in the middle of traffic.
// What it had written can be replayed at once, and without the line that was cut off, if
// any, as soon as milterd runs again.
func TestAKilledMilterdLeavesARecordingThatReplays(t *testing.T) {
	_, options := readScene(t, "standard", "")
	dir := t.TempDir()
	options.Config += fmt.Sprintf("\nrecord: {dir: %q, redact: false, max_size: 64KiB, compress: gzip}\n", dir)
	env := start(t, options)
	decided := killUnderLoad(t, env, dir)

	cut := cutOff(t, dir)
	out, complaints, status := elsewhere(t, "-config", harness.ConfigFile, "-json", dir)
	if want := min(2*len(cut), 2); status != want || strings.Count(complaints, "\n") != len(cut) {
		t.Errorf("milterd -check: exit status %d, want %d\n%s", status, want, complaints)
	}
	whole := sessionsIn(out)
	// A session is written when its connection ends; few can be between the two.
	if whole == 0 || whole > decided+killers || whole < decided/2 {
		t.Errorf("%d sessions were decided, %d are recorded", decided, whole)
	}
	t.Logf("%d sessions were decided, %d are recorded; lines cut off by chance: %q", decided, whole, cut)

	// Half a line at the end of the newest file is told with its place, and keeps
	// nothing else from being replayed.
	newest := files(t, dir, "*.jsonl")
	path := newest[len(newest)-1]
	appendTo(t, path, `{"id":"half a li`)
	out, complaints, status = elsewhere(t, "-config", harness.ConfigFile, "-json", dir)
	if status != 2 || !strings.Contains(complaints, path+":") || sessionsIn(out) != whole {
		t.Errorf("with half a line: exit status %d, want 2; %d sessions, want %d\n%s", status, sessionsIn(out), whole, complaints)
	}

	// milterd takes it away when it starts.
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
	err := harness.Poll(frameTimeout, "the files to be tidied up", func() (bool, error) { return len(files(t, dir, "*.jsonl")) == 0, nil })
	if err != nil {
		t.Fatal(err)
	}
	out, complaints, status = elsewhere(t, "-config", harness.ConfigFile, "-json", dir)
	if status != 0 || complaints != "" || sessionsIn(out) != whole {
		t.Errorf("tidied up: exit status %d, want 0; %d sessions, want %d\n%s", status, sessionsIn(out), whole, complaints)
	}
	if err := want("accept")(session(goodClient)); err != nil {
		t.Error(err)
	}
}

// killers is how many clients there are when milterd is killed.
const killers = 4

// killUnderLoad lets sessions come until there are several files, and kills milterd
// among them. decided is how many had come to their end.
func killUnderLoad(t *testing.T, env *harness.Env, dir string) (decided int) {
	t.Helper()
	var ended atomic.Int64
	var killed atomic.Bool
	errs := make([]error, killers)
	var working sync.WaitGroup
	for i := range killers {
		working.Go(func() {
			for errs[i] == nil {
				if errs[i] = want("accept")(session("10.9.8.7")); errs[i] == nil {
					ended.Add(1)
				} else if killed.Load() {
					errs[i] = nil
					return
				}
			}
		})
	}
	err := harness.Poll(frameTimeout, "several files", func() (bool, error) { return len(files(t, dir, "milterd-*")) > 2, nil })
	killed.Store(true)
	err = errors.Join(err, env.Milterd.Kill())
	working.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
	return int(ended.Load())
}

// files lists the files of a directory whose names match.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// cutOff lists the files that do not end with a whole line.
func cutOff(t *testing.T, dir string) []string {
	t.Helper()
	var cut []string
	for _, name := range files(t, dir, "*.jsonl") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
			cut = append(cut, filepath.Base(name))
		}
	}
	return cut
}

// sessionsIn counts the sessions of a report of -check -json: each has one MAIL command.
func sessionsIn(report string) int { return strings.Count(report, `"stage":"mail"`) }

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}
