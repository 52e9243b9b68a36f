package limits

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/integration/testkit"
	"milterd/policy"
)

// notifying makes a keeper that runs a shell script for each beginning, with DIR for a
// directory.
func notifying(t *testing.T, l *policy.Limit, timeout time.Duration, script string) (k *Keeper, clock *testkit.Clock, log *testkit.Log, dir string) {
	t.Helper()
	dir, log = t.TempDir(), new(testkit.Log)
	k, clock = keeper(t, Config{Logger: log.Logger()})
	k.notify.timeout = timeout
	k.Use([]policy.Limit{*l}, []string{"/bin/sh", "-c", strings.ReplaceAll(script, "DIR", dir)})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return k, clock, log, dir
}

// told are the files that scripts have written, each whole.
func told(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "told.*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

const tell = `env | sort >DIR/$$ && mv DIR/$$ DIR/told.$$`

func TestAProgramRunsOnceForEachBeginning(t *testing.T) {
	l := byLogin(t, "logins", "10/1h")
	k, clock, _, dir := notifying(t, l, testkit.Patience, tell)
	send(k, 30, "shin", l)
	testkit.Eventually(t, "it has run", func() bool { return len(told(t, dir)) == 1 })
	lines := strings.Split(told(t, dir)[0], "\n")
	for _, want := range []string{"LIMIT_NAME=logins", "LIMIT_MODE=enforce", "LIMIT_BY=login", "LIMIT_KEY=shin", "LIMIT_COUNT=recipients",
		"LIMIT_RATE=10/1h", "LIMIT_USED=10", "LIMIT_WAIT=360", "LIMIT_SINCE=2026-11-28T12:00:00Z"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in %q", want, lines)
		}
	}
	for _, line := range lines {
		name, _, _ := strings.Cut(line, "=")
		if name != "" && !strings.HasPrefix(name, "LIMIT_") && !slices.Contains([]string{"PATH", "PWD", "OLDPWD", "SHLVL", "_"}, name) {
			t.Errorf("%q comes from the environment of milterd", line)
		}
	}
	// Once it has room again, it begins anew.
	clock.Advance(2 * time.Hour)
	testkit.Eventually(t, "the limit has room", func() bool { return len(k.Near()) == 0 })
	send(k, 30, "shin", l)
	testkit.Eventually(t, "it has run again", func() bool { return len(told(t, dir)) == 2 })
}

// TestAHostileLoginIsOneValue: neither does it begin another variable, nor does a shell
// run it.
func TestAHostileLoginIsOneValue(t *testing.T) {
	l := byLogin(t, "logins", "1/1h")
	l.Mode = policy.ModeShadow
	k, _, _, dir := notifying(t, l, testkit.Patience, tell)
	send(k, 2, "a\nLIMIT_NAME=other\x00`touch DIR/ran`$(touch DIR/ran);\x1b[2J"+strings.Repeat("x", 1000), l)
	testkit.Eventually(t, "it has run", func() bool { return len(told(t, dir)) == 1 })
	text := told(t, dir)[0]
	if !strings.Contains(text, "LIMIT_KEY=a?LIMIT_NAME=other?`touch DIR/ran`$(touch DIR/ran);?[2Jxxx") || !strings.Contains(text, "\nLIMIT_NAME=logins\n") ||
		strings.Count(text, "LIMIT_NAME=") != 2 || !strings.Contains(text, "LIMIT_MODE=shadow\n") || len(text) > 1000 {
		t.Errorf("told: %q", text)
	}
}

// TestProgramsThatHangAreBounded: few run at a time, a few wait, the rest is dropped, and
// mail waits for none of it.
func TestProgramsThatHangAreBounded(t *testing.T) {
	l := byLogin(t, "logins", "1/1h")
	k, _, log, dir := notifying(t, l, 200*time.Millisecond, `touch DIR/told.$$; sleep 1000 & sleep 1000`)
	const logins = notifyAtOnce + notifyWaiting + 20
	for i := range logins {
		if n := send(k, 2, fmt.Sprint("login", i), l); n != 1 {
			t.Fatalf("%d taken", n)
		}
	}
	if n := k.notify.dropped.Load(); n < 20 || !log.Has("some are told in the log alone") {
		t.Errorf("%d dropped, log %s", n, log)
	}
	testkit.Eventually(t, "some have run", func() bool { return k.notify.failed.Load() > 2*notifyAtOnce })
	// A file may be there before its program has been counted.
	if n := uint64(len(told(t, dir))); n > k.notify.failed.Load()+notifyAtOnce {
		t.Errorf("%d have begun, %d are over", n, k.notify.failed.Load())
	}
	if !log.Has("not done after 200ms") {
		t.Errorf("log %s", log)
	}
}

func TestAProgramThatFailsIsLogged(t *testing.T) {
	l := byLogin(t, "logins", "1/1h")
	k, _, log, _ := notifying(t, l, testkit.Patience, `echo "no way \001" >&2; head -c 1000000 /dev/zero; exit 3`)
	send(k, 2, "shin", l)
	// The line comes after the count.
	testkit.Eventually(t, "it has failed", func() bool {
		return k.notify.failed.Load() == 1 && log.Has(`program=/bin/sh limit=logins login=shin error="exit status 3" output="no way ??`)
	})
	if len(log.String()) > 2000 {
		t.Errorf("log %.3000s", log)
	}
	// One that is gone since the configuration was read.
	k.Use([]policy.Limit{*l}, []string{"/no/such/program"})
	send(k, 2, "mari", l)
	testkit.Eventually(t, "it has failed, too", func() bool {
		return k.notify.failed.Load() == 2 && log.Has("fork/exec /no/such/program: no such file or directory")
	})
	// One that says a line.
	k.Use([]policy.Limit{*l}, []string{"/bin/sh", "-c", "echo one line; exit 4"})
	send(k, 2, "aoi", l)
	testkit.Eventually(t, "its line is logged", func() bool { return log.Has(`error="exit status 4" output="one line"`) })
}
