package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
)

const rejectsBad = "From:bad.example\tREJECT\n"

func TestAnEditedAccessTableTakesEffect(t *testing.T) {
	p := serving(t, baseConfig, "")
	if got := p.ask(t, "a@bad.example"); got != "" {
		t.Fatalf("reply %q", got)
	}
	write(t, p.dir, "access", rejectsBad)
	p.waitReply(t, "a@bad.example", denied)
	p.waitLog(t, "policy in force", "access changed", "entries=1")
}

func TestAnAccessTableReplacedByARenameTakesEffect(t *testing.T) {
	p := serving(t, baseConfig, "")
	for _, c := range []struct{ text, want string }{{rejectsBad, denied}, {"From:bad.example\tOK\n", ""}, {rejectsBad, denied}} {
		write(t, p.dir, "access.new", c.text)
		if err := os.Rename(filepath.Join(p.dir, "access.new"), filepath.Join(p.dir, "access")); err != nil {
			t.Fatal(err)
		}
		p.waitReply(t, "a@bad.example", c.want)
	}
}

func TestAFileReachedThroughASymbolicLinkTakesEffectWhenTheLinkChanges(t *testing.T) {
	dir := newDir(t, strings.ReplaceAll(baseConfig, "file: access", "file: current/access"), "")
	for version, text := range map[string]string{"v1": "", "v2": rejectsBad} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version), "access", text)
	}
	if err := os.Symlink("v1", filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	p := launch(t, dir)
	p.waitSocket(t)
	if got := p.ask(t, "a@bad.example"); got != "" {
		t.Fatalf("reply %q", got)
	}
	if err := os.Symlink("v2", filepath.Join(dir, "next")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	p.waitReply(t, "a@bad.example", denied)
}

func TestABrokenAccessTableChangesNothingUntilItIsRepaired(t *testing.T) {
	p := serving(t, baseConfig, rejectsBad)
	write(t, p.dir, "access", "From:good.example\tREJECT\nFrom:bad.example\x00\n")
	p.waitLog(t, "level=ERROR", "the old policy stays in force", "access:2: NUL octet")
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply to the one still refused: %q", got)
	}
	if got := p.ask(t, "a@good.example"); got != "" {
		t.Errorf("reply to the one not yet refused: %q", got)
	}
	write(t, p.dir, "access", "From:good.example\tREJECT\n")
	p.waitReply(t, "a@good.example", denied)
	p.waitReply(t, "a@bad.example", "")
}

func TestABrokenConfigurationChangesNothingUntilItIsRepaired(t *testing.T) {
	p := serving(t, baseConfig, rejectsBad)
	config := strings.ReplaceAll(baseConfig, "DIR", p.dir)
	write(t, p.dir, "milterd.yaml", config+"mode: shadoww\n")
	p.waitLog(t, "level=ERROR", "the old policy stays in force", "milterd.yaml:5: mode:")
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply %q", got)
	}
	write(t, p.dir, "milterd.yaml", config+"mode: shadow\n")
	p.waitReply(t, "a@bad.example", "")
	p.waitLog(t, "policy in force", "mode=shadow")
}

func TestAnAccessTableThatVanishesChangesNothing(t *testing.T) {
	p := serving(t, baseConfig, rejectsBad)
	if err := os.Remove(filepath.Join(p.dir, "access")); err != nil {
		t.Fatal(err)
	}
	p.waitLog(t, "level=ERROR", "the old policy stays in force", "no such file or directory")
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply %q", got)
	}
}

func TestSIGHUPReloads(t *testing.T) {
	p := serving(t, baseConfig, rejectsBad)
	p.signal(t, syscall.SIGHUP)
	p.waitLog(t, "policy in force", "reason=SIGHUP")
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply %q", got)
	}
}

// TestAWarningIsLoggedOnce, however often the files change, and again when asked for.
func TestAWarningIsLoggedOnce(t *testing.T) {
	const first, second = "a netmask in dotted form", "is not a keyword"
	p := serving(t, baseConfig, rejectsBad+"Connect:203.0.113.0/255.255.255.0\tREJECT\n")
	p.waitLog(t, "level=WARN", first)
	write(t, p.dir, "access", rejectsBad+"Connect:203.0.113.0/255.255.255.0\tREJECT\nFrom:worse.example\tERROR:x\n")
	p.waitLog(t, "level=WARN", second)
	if n := strings.Count(p.log.String(), first); n != 1 {
		t.Errorf("%d times", n)
	}
	p.signal(t, syscall.SIGHUP)
	p.waitLog(t, "policy in force", "reason=SIGHUP")
	testkit.Eventually(t, "both are told", func() bool {
		return strings.Count(p.log.String(), first) == 2 && strings.Count(p.log.String(), second) == 2
	})
}

func TestAChangedLogLevelTakesEffect(t *testing.T) {
	quiet := baseConfig + "log: {level: error}\n"
	p := serving(t, quiet, rejectsBad)
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply %q", got)
	}
	write(t, p.dir, "milterd.yaml", strings.ReplaceAll(baseConfig, "DIR", p.dir))
	p.waitLog(t, "policy in force", "milterd.yaml changed")
	if strings.Contains(p.log.String(), denied) {
		t.Errorf("a verdict was logged although the level was error:\n%s", p.log)
	}
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply %q", got)
	}
	p.waitLog(t, "level=INFO", denied)
}

func TestWhatOnlyAStartCanChangeIsWarnedAbout(t *testing.T) {
	p := serving(t, baseConfig, rejectsBad)
	config := strings.ReplaceAll(baseConfig, "DIR/milter.sock", "DIR/other.sock")
	write(t, p.dir, "milterd.yaml", strings.ReplaceAll(config, "DIR", p.dir)+"log: {format: json}\n")
	p.waitLog(t, "level=WARN", "a change under listen: takes effect at the next start only")
	p.waitLog(t, "level=WARN", "a change of log.format takes effect at the next start only")
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply on the old socket: %q", got)
	}
}

func TestFilesThatANewConfigurationNamesAreWatched(t *testing.T) {
	p := serving(t, baseConfig, "")
	write(t, p.dir, "other", "")
	write(t, p.dir, "milterd.yaml", strings.ReplaceAll(strings.ReplaceAll(baseConfig, "DIR", p.dir), "file: access", "file: other"))
	p.waitLog(t, "policy in force", "milterd.yaml changed")
	write(t, p.dir, "other", rejectsBad)
	p.waitReply(t, "a@bad.example", denied)
}

func TestAMistakeInTheAddressesOfLoginsChangesNothing(t *testing.T) {
	p := serving(t, baseConfig, rejectsBad)
	write(t, p.dir, "senders", "shin shin@good.example\n")
	config := strings.Replace(baseConfig, "checks: {", "checks: {sender_login: {mode: enforce, file: senders}, ", 1)
	write(t, p.dir, "milterd.yaml", strings.ReplaceAll(config, "DIR", p.dir))
	p.waitLog(t, "policy in force", "milterd.yaml changed")
	write(t, p.dir, "senders", "shin shin@good.example\nbo\n")
	p.waitLog(t, "level=ERROR", "the old policy stays in force", `senders:2: checks.sender_login.file: \"bo\" has no address`)
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply %q", got)
	}
	write(t, p.dir, "senders", "shin shin@good.example\nbo @good.example\n")
	p.waitLog(t, "policy in force", "senders changed")
}

func TestASessionKeepsThePolicyItBeganWith(t *testing.T) {
	p := serving(t, baseConfig, "")
	before, err := connect(p.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, before)
	write(t, p.dir, "access", rejectsBad)
	p.waitReply(t, "a@bad.example", denied)
	if got, err := mail(before, "a@bad.example"); err != nil || got != "" {
		t.Errorf("the session that began before the reload: %q, %v", got, err)
	}
}

func TestReloadsUnderLoadRefuseNobody(t *testing.T) {
	p := serving(t, baseConfig+"log: {level: warn}\n", rejectsBad)
	var stop atomic.Bool
	var asked atomic.Int64
	var clients sync.WaitGroup
	failures := make(chan error, 8)
	for range cap(failures) {
		clients.Go(func() {
			for !stop.Load() {
				session, err := connect(p.socket())
				if err == nil {
					_, err = mail(session, "a@bad.example")
					if closeErr := session.Close(); err == nil {
						err = closeErr
					}
				}
				if err != nil {
					failures <- err
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range 10 {
		text, want := rejectsBad, denied
		if i%2 == 0 {
			text, want = "# nobody is refused\n", ""
		}
		write(t, p.dir, "access", text)
		p.signal(t, syscall.SIGHUP)
		p.waitReply(t, "a@bad.example", want)
	}
	stop.Store(true)
	clients.Wait()
	close(failures)
	for err := range failures {
		t.Errorf("a client: %v", err)
	}
	if asked.Load() == 0 {
		t.Error("no client asked")
	}
	t.Logf("%d sessions during 10 reloads", asked.Load())
}

// TestAHalfWrittenAccessTableIsNotPutInForce writes a table in place, with pauses
// that are longer than those after which a file is read.
func TestAHalfWrittenAccessTableIsNotPutInForce(t *testing.T) {
	text := rejectsBad + strings.Repeat("# a comment\n", 10)
	p := serving(t, baseConfig, text)
	file, err := os.Create(filepath.Join(p.dir, "access"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pauses := time.NewTicker(400 * time.Millisecond)
	defer pauses.Stop()
	for i, line := range append([]string{"From:other.example\tREJECT\n", rejectsBad}, "# one\n", "# two\n", "From:last.example\tREJECT\n") {
		if _, err := file.WriteString(line); err != nil {
			t.Fatal(err)
		}
		<-pauses.C
		if got := p.ask(t, "a@bad.example"); got != denied {
			t.Fatalf("after line %d: reply %q", i, got)
		}
	}
	p.waitReply(t, "a@last.example", denied)
	p.waitLog(t, "access changed")
	if n := strings.Count(p.log.String(), "access changed"); n != 1 {
		t.Errorf("%d tables were put in force:\n%s", n, p.log)
	}
}
