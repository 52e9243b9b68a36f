package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/configs"
	"milterd/configs/watch"
	"milterd/integration/testkit"
)

// reloading runs a reloader on the default configuration in a new directory,
// polling all the time.
func reloading(t *testing.T, config, access string) (dir string, log *testkit.Log) {
	t.Helper()
	dir = newDir(t, config, access)
	log = new(testkit.Log)
	r := newReloader(configs.Place{Fallback: filepath.Join(dir, "milterd.yaml")}, log)
	closing(t, closer(r.watcher.Close))
	r.watcher = watch.New(5 * time.Millisecond)
	if err := r.load(true); err != nil {
		t.Fatal(err)
	}
	r.inForce("start")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx, nil)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		closing(t, closer(r.watcher.Close))
	})
	return dir, log
}

type closer func() error

func (c closer) Close() error { return c() }

// waitLine waits until a text stands in the log a number of times.
func waitLine(t *testing.T, log *testkit.Log, text string, times int) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("log:\n%s", log)
		}
	}()
	testkit.Eventually(t, text+" in the log", func() bool {
		return strings.Count(log.String(), text) >= times
	})
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestAConfigurationThatVanishesDoesNotBecomeTheBuiltInOne(t *testing.T) {
	dir, log := reloading(t, baseConfig, rejectsBad)
	remove(t, dir, "milterd.yaml")
	waitLine(t, log, "milterd.yaml: no such file any more; what it said stays in force until it is there again", 1)
	if strings.Contains(log.String(), "built in") || strings.Count(log.String(), "policy in force") != 1 {
		t.Errorf("something else than the file was put in force:\n%s", log)
	}
	write(t, dir, "milterd.yaml", strings.ReplaceAll(baseConfig, "DIR", dir)+"mode: shadow\n")
	waitLine(t, log, "mode=shadow", 1)
}

func TestTheBuiltInConfigurationIsInForceWithAWarning(t *testing.T) {
	log := new(testkit.Log)
	r := newReloader(configs.Place{Fallback: filepath.Join(t.TempDir(), "none", "milterd.yaml")}, log)
	defer closing(t, closer(r.watcher.Close))
	if err := r.load(true); err != nil {
		t.Fatal(err)
	}
	r.inForce("start")
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "milterd.yaml, the built-in one is in force") {
		t.Errorf("log:\n%s", log)
	}
}

// A policy may fail for reasons that no watched file shows: here a file appears
// that the failed configuration was the first to name.
func TestAFailedReloadIsTriedAgainAndLoggedOnce(t *testing.T) {
	dir := newDir(t, baseConfig, rejectsBad)
	log := new(testkit.Log)
	r := newReloader(configs.Place{Fallback: filepath.Join(dir, "milterd.yaml")}, log)
	defer closing(t, closer(r.watcher.Close))
	if err := r.load(true); err != nil {
		t.Fatal(err)
	}
	failures := func() int { return strings.Count(log.String(), "level=ERROR") }

	write(t, dir, "access", "\x00one\n")
	for range 3 {
		r.reload(watch.Retrying)
	}
	if failures() != 1 || !r.counts.failing.Load() {
		t.Errorf("%d failures logged, retry %v:\n%s", failures(), r.counts.failing.Load(), log)
	}
	write(t, dir, "access", "\n\x00two\n")
	r.reload(watch.Retrying)
	r.reload(watch.Retrying)
	if failures() != 2 {
		t.Errorf("another failure is worth a line; log:\n%s", log)
	}
	r.reload(watch.Hangup)
	if failures() != 3 {
		t.Errorf("whoever asks for a reload gets an answer; log:\n%s", log)
	}
	write(t, dir, "access", rejectsBad)
	r.reload(watch.Retrying)
	if r.counts.failing.Load() || !strings.Contains(log.String(), "policy in force") || !strings.Contains(log.String(), watch.Retrying) {
		t.Errorf("not repaired; log:\n%s", log)
	}
}

func TestAFileThatBecomesUnreadableIsReportedAndRepaired(t *testing.T) {
	dir, log := reloading(t, baseConfig, rejectsBad)
	access := filepath.Join(dir, "access")
	// Root may read everything but a directory.
	if err := os.Rename(access, access+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(access, 0o700); err != nil {
		t.Fatal(err)
	}
	waitLine(t, log, "access is a directory", 1)
	remove(t, dir, "access")
	if err := os.Rename(access+".old", access); err != nil {
		t.Fatal(err)
	}
	waitLine(t, log, "policy in force", 2)
}

// TestAFileThatIsEmptiedOrTakenAwayNeedsAHangup: a save that is half done must not
// open the gates, or close them.
func TestAFileThatIsEmptiedOrTakenAwayNeedsAHangup(t *testing.T) {
	dir := newDir(t, baseConfig, rejectsBad)
	log := new(testkit.Log)
	r := newReloader(configs.Place{Flag: filepath.Join(dir, "milterd.yaml")}, log)
	defer closing(t, closer(r.watcher.Close))
	if err := r.load(true); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "access", "")
	r.reload(filepath.Join(dir, "access") + " changed")
	if n := r.current.Load().Policy.Access.Len(); n != 1 {
		t.Errorf("%d entries in force after the file was emptied, want the old one", n)
	}
	for _, want := range []string{"no entries any more, 1 before; if that is meant: systemctl reload milterd", "the old policy stays in force"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
	r.reload(watch.Hangup)
	if n := r.current.Load().Policy.Access.Len(); n != 0 {
		t.Errorf("%d entries in force after SIGHUP, want none", n)
	}
	if strings.Contains(log.String(), "SIGHUP takes") || strings.Contains(log.String(), "send SIGHUP") {
		t.Errorf("the log advises what opens the door:\n%s", log.String())
	}
}

// TestAFileThatIsGoneOpensNothing: neither when that is noticed nor on SIGHUP, which a
// program that rotates logs may send.
func TestAFileThatIsGoneOpensNothing(t *testing.T) {
	dir := newDir(t, "sendmail: {cf: DIR/sendmail.cf}\nlisten: {milter: local:DIR/milter.sock}\nchecks: {rdns: {mode: off}}\n", rejectsBad)
	write(t, dir, "sendmail.cf", "V10/Berkeley\nDjmx.example.test\nKaccess hash -o -T<TMPF> "+filepath.Join(dir, "access")+".db\nFR-o "+filepath.Join(dir, "relay")+"\nScheck_rcpt\n")
	write(t, dir, "relay", "a.example\n")
	log := new(testkit.Log)
	r := newReloader(configs.Place{Flag: filepath.Join(dir, "milterd.yaml")}, log)
	defer closing(t, closer(r.watcher.Close))
	if err := r.load(true); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"access", "relay"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		remove(t, dir, file)
		for _, reason := range []string{file + " changed", watch.Hangup} {
			r.reload(reason)
			p := r.current.Load().Policy
			if p.Access.Len() != 1 || !p.Relay.Has("a.example") || !log.Has("the old policy stays in force") {
				t.Errorf("%s gone, %s: something else is in force; log:\n%s", file, reason, log)
			}
		}
		write(t, dir, file, string(text))
	}
	r.reload(watch.Hangup)
	if r.counts.failing.Load() {
		t.Errorf("not in order once the files are back:\n%s", log)
	}
}

func TestAnAccessTableThatLosesAllItsEntriesIsWarnedAbout(t *testing.T) {
	config := strings.Replace(baseConfig, "relay: []", "relay: [DIR/relay]", 1)
	dir := newDir(t, config, rejectsBad)
	write(t, dir, "relay", "# none yet\n")
	log := new(testkit.Log)
	r := newReloader(configs.Place{Flag: filepath.Join(dir, "milterd.yaml")}, log)
	defer closing(t, closer(r.watcher.Close))
	if err := r.load(true); err != nil {
		t.Fatal(err)
	}
	reload := func(access, relay string) string {
		t.Helper()
		write(t, dir, "access", access)
		write(t, dir, "relay", relay)
		before := len(log.String())
		r.reload(watch.Hangup)
		return strings.ReplaceAll(log.String()[before:], dir, "DIR")
	}
	const emptyAccess, emptyRelay = "DIR/access: no entries any more, 1 before", "DIR/relay: no entries any more, 2 before"
	for _, step := range []struct {
		access, relay string
		warned        []string
	}{
		{rejectsBad, "a.example\nb.example\n", nil},
		{"", "a.example\nb.example\n", []string{emptyAccess}},
		{"", "# gone\n", []string{emptyRelay}},
		{"", "", nil},
		{rejectsBad, "c.example\n", nil},
	} {
		got := reload(step.access, step.relay)
		if strings.Count(got, "level=WARN") != len(step.warned) {
			t.Errorf("%+v: log:\n%s", step, got)
		}
		for _, want := range step.warned {
			if !strings.Contains(got, want) {
				t.Errorf("%+v: log:\n%s", step, got)
			}
		}
		if !strings.Contains(got, "policy in force") {
			t.Errorf("%+v: not put in force:\n%s", step, got)
		}
	}
}
