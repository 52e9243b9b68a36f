package integration_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"milterd/integration/harness"
)

// statusPort is where milterd has its status page in these tests.
const statusPort = "9180"

// unrecorded and recordedAgain are what the log says when the recorder fails, and when it
// works again.
const (
	unrecorded    = "sessions are not recorded, and writing is tried again; mail goes on"
	recordedAgain = "sessions are recorded again"
)

// diskFault is something that keeps the recorder from writing.
type diskFault struct {
	name string
	// prepare makes the place of the recordings before milterd starts.
	prepare func(t *testing.T, dir string)
	// strike makes a recorder fail that has written before; nil where it cannot from the
	// beginning.
	strike func(t *testing.T, dir string)
	heal   func(t *testing.T, dir string)
	// reason is what the log says of it.
	reason string
}

var diskFaults = []diskFault{
	{
		name:    "a file system that is mounted read-only",
		prepare: func(t *testing.T, dir string) { mountTmpfs(t, dir); remount(t, dir, syscall.MS_RDONLY) },
		heal:    func(t *testing.T, dir string) { remount(t, dir, 0) },
		reason:  "read-only file system",
	},
	{
		name: "a directory that is missing, with the one above it",
		prepare: func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Dir(dir)); err != nil {
				t.Fatal(err)
			}
		},
		heal:   func(t *testing.T, dir string) { makeDirectory(t, filepath.Dir(dir)); makeDirectory(t, dir) },
		reason: "no such file or directory",
	},
	{
		name:    "a directory that everybody may write to",
		prepare: func(t *testing.T, dir string) { makeDirectory(t, dir); chmod(t, dir, 0o777) },
		heal:    func(t *testing.T, dir string) { chmod(t, dir, 0o700) },
		reason:  "writable for everyone",
	},
	{
		name:    "a file system that is full",
		prepare: func(t *testing.T, dir string) { mountTmpfs(t, dir); fill(t, filepath.Join(dir, "filler")) },
		heal:    func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "filler")) },
		reason:  "no space left on device",
	},
	{
		name:    "a directory that is removed while milterd records",
		prepare: makeDirectory,
		strike:  remove,
		heal:    makeDirectory,
		reason:  "no such file or directory",
	},
	{
		name:    "a pipe in the place of the directory",
		prepare: makePipe,
		heal:    func(t *testing.T, dir string) { remove(t, dir); makeDirectory(t, dir) },
		reason:  "is not a directory",
	},
}

// TestMailGoesOnWithoutTheRecorder takes the recorder's disk away: mail is decided as
// before, the log says so once, the gauge is set, and recording goes on when it can.
func TestMailGoesOnWithoutTheRecorder(t *testing.T) {
	env, mail := startFaulty(t)
	for _, fault := range diskFaults {
		t.Run(fault.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "milterd", "sessions")
			makeDirectory(t, filepath.Dir(dir))
			fault.prepare(t, dir)
			mark := restartRecording(t, env, dir)
			if fault.strike != nil {
				awaitSessions(t, "a recording", func() bool { return metric(t, "recorder_recorded_total") > 0 })
				fault.strike(t, dir)
			}
			awaitSessions(t, "the recorder to fail", func() bool { return metric(t, "recorder_failing") == 1 })
			play(t, env, mail)
			if metric(t, "recorder_lost_total") == 0 {
				t.Error("no session is counted as lost")
			}
			fault.heal(t, dir)
			awaitSessions(t, "the recorder to work again", func() bool { return metric(t, "recorder_failing") == 0 })
			play(t, env, mail)
			if err := env.Milterd.Stop(); err != nil {
				t.Fatal(err)
			}
			if lines := env.Milterd.Log.FindAll(mark, unrecorded); len(lines) != 1 || !strings.Contains(lines[0], fault.reason) {
				t.Errorf("the log has %q, want one line with %q", lines, fault.reason)
			}
			if lines := env.Milterd.Log.FindAll(mark, recordedAgain); len(lines) != 1 {
				t.Errorf("the log has %q, want one line", lines)
			}
			checkRecording(t, dir, len(mail))
		})
	}
	// The harness stops what runs.
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
}

// TestForeignFilesAmongRecordings puts pipes, directories and links with names of
// recordings where milterd records: it waits for none, and touches none.
func TestForeignFilesAmongRecordings(t *testing.T) {
	env, mail := startFaulty(t)
	dir := filepath.Join(t.TempDir(), "sessions")
	makeDirectory(t, dir)
	const old = "milterd-20200101T000000.00000"
	makePipe(t, filepath.Join(dir, old+"1Z.jsonl"))
	makePipe(t, filepath.Join(dir, old+"2Z.jsonl.gz"))
	makeDirectory(t, filepath.Join(dir, old+"3Z.jsonl"))
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("not to be touched\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, old+"4Z.jsonl")); err != nil {
		t.Fatal(err)
	}
	restartRecording(t, env, dir)
	play(t, env, mail)
	awaitSessions(t, "a recording", func() bool { return metric(t, "recorder_recorded_total") >= float64(len(mail)) })
	if metric(t, "recorder_failing") != 0 || metric(t, "recorder_lost_total") != 0 {
		t.Error("the recorder fails")
	}
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "not to be touched\n" {
		t.Errorf("the file outside is %q, %v", text, err)
	}
	foreign, err := filepath.Glob(filepath.Join(dir, old+"*"))
	if err != nil || len(foreign) != 4 {
		t.Errorf("of four foreign files there are %q, %v", foreign, err)
	}
	remove(t, filepath.Join(dir, old+"4Z.jsonl"))
	checkRecording(t, dir, len(mail))
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
}

// startFaulty starts the standard scene, and picks dialogues that tell whether mail is
// decided.
func startFaulty(t *testing.T) (*harness.Env, []*harness.Dialogue) {
	t.Helper()
	dialogues, options := readScene(t, "standard", "")
	var mail []*harness.Dialogue
	for _, d := range dialogues {
		switch d.Name {
		case "good-mx", "several-messages", "recipient-blocked", "relay-network":
			mail = append(mail, d)
		}
	}
	if len(mail) != 4 {
		t.Fatalf("only %d of 4 dialogues are there", len(mail))
	}
	return start(t, options), mail
}

// restartRecording starts milterd again, recording to a directory, and marks its log.
func restartRecording(t *testing.T, env *harness.Env, dir string) (mark int) {
	t.Helper()
	_, options := readScene(t, "standard", "")
	config := options.Config + fmt.Sprintf("\nlisten: {http: 'inet:%s@127.0.0.1'}\nrecord: {dir: %q, redact: false}\n", statusPort, dir)
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	mark = env.Milterd.Log.Len()
	if err := errors.Join(env.WriteFile("milterd.yaml", config), env.Milterd.Start()); err != nil {
		t.Fatal(err)
	}
	return mark
}

// awaitSessions lets sessions come, one after the other, until something is so. Each
// must be accepted.
func awaitSessions(t *testing.T, what string, is func() bool) {
	t.Helper()
	err := harness.Poll(frameTimeout, what, func() (bool, error) {
		if err := want("accept")(session("10.9.8.7")); err != nil {
			return false, err
		}
		return is(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// metric is a number on the status page.
func metric(t testing.TB, name string) float64 {
	t.Helper()
	response, err := http.Get("http://127.0.0.1:" + statusPort + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		var value float64
		if _, err := fmt.Sscanf(line, "milterd_"+name+" %g\n", &value); err == nil {
			return value
		}
	}
	t.Fatalf("no milterd_%s among the metrics", name)
	return 0
}

// checkRecording replays a recording, of so many sessions at least.
func checkRecording(t *testing.T, dir string, atLeast int) {
	t.Helper()
	if n := len(readRecording(t, dir)); n < atLeast {
		t.Errorf("%d sessions are recorded, want %d at least", n, atLeast)
	}
	if out, complaints, status := elsewhere(t, "-config", harness.ConfigFile, dir); status != 0 {
		t.Errorf("milterd -check: exit status %d, want 0\n%s%s", status, complaints, out)
	}
}

func makeDirectory(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func makePipe(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// mountTmpfs makes a directory that is a small file system of its own, seen by this
// world only.
func mountTmpfs(t *testing.T, dir string) {
	t.Helper()
	makeDirectory(t, dir)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size=128k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
		t.Fatal(err)
	}
}

// fill writes a file until nothing more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 4096); ; {
		_, err := file.Write(block)
		if errors.Is(err, syscall.ENOSPC) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
