package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestWhatIsMissingAtTheStart: a service must not begin to refuse, or to take
// everything, because a file is not there.
func TestWhatIsMissingAtTheStart(t *testing.T) {
	const common = "listen: {milter: local:DIR/milter.sock, map: local:DIR/map.sock}\nchecks: {rdns: {mode: off}}\nsendmail: {cf: DIR/sendmail.cf}\n"
	const rules = "V10/Berkeley\nDjmx.example.test\nScheck_rcpt\n"
	cases := []struct {
		name, config, cf string
		gone             []string
		unreadable       string
		// refused is what milterd says if it does not start; log what it warns of.
		refused, log string
	}{
		{name: "the configuration", config: common, gone: []string{"milterd.yaml"}, refused: "read configuration: stat DIR/milterd.yaml: no such file"},
		{name: "a table that sendmail.cf names", config: common, cf: rules + "Kaccess hash -T<TMPF> DIR/access.db\n", gone: []string{"access"},
			refused: "DIR/sendmail.cf:4: access table: stat DIR/access: no such file"},
		{name: "an optional one", config: common, cf: rules + "Kaccess hash -o -T<TMPF> DIR/access.db\n", gone: []string{"access"},
			log: "DIR/access: no such file, taken as empty (access table)"},
		{name: "a class file that sendmail.cf names", config: common, cf: rules + "Kaccess hash -o DIR/access.db\nFR DIR/relay\n",
			refused: "DIR/sendmail.cf:5: class R: stat DIR/relay: no such file"},
		{name: "a class file that is a directory", config: common, cf: rules + "Kaccess hash -o DIR/access.db\nFR-o DIR/relay\n", unreadable: "relay",
			refused: "DIR/sendmail.cf:5: class R: DIR/relay is a directory"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := newDir(t, c.config, rejectsBad)
			write(t, dir, "sendmail.cf", strings.ReplaceAll(c.cf, "DIR", dir))
			for _, name := range c.gone {
				remove(t, dir, name)
			}
			if c.unreadable != "" {
				if err := os.Mkdir(filepath.Join(dir, c.unreadable), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			p := launch(t, dir)
			if c.refused == "" {
				p.waitSocket(t)
				p.waitLog(t, "level=WARN", strings.ReplaceAll(c.log, "DIR", dir))
				return
			}
			if status := p.waitEnd(t); status != exitUsage || !p.log.Has(strings.ReplaceAll(c.refused, "DIR", dir)) {
				t.Errorf("exit status %d, expected %q in\n%s", status, c.refused, p.log)
			}
			if status, _, stderr := checked(dir, "-user", "root"); status != exitUsage || !strings.Contains(stderr, c.refused) {
				t.Errorf("-check: exit status %d, %s", status, stderr)
			}
		})
	}
}

// TestTheEndIsBounded: a client that holds a message open does not hold up the end for
// longer than listen.shutdown.
func TestTheEndIsBounded(t *testing.T) {
	p := serving(t, strings.Replace(baseConfig, "map.sock}", "map.sock, shutdown: 50ms}", 1), "")
	session := p.holding(t)
	defer session.Close() // milterd has cut it off
	if status := p.end(t, syscall.SIGTERM); status != exitOK {
		t.Errorf("exit status %d", status)
	}
	p.waitLog(t, "shutting down", "within=50ms")
	p.waitLog(t, "shutdown cut connections off")
}

// TestASocketOfTheServiceManagerRefusesNobodyMeanwhile: what connects while milterd ends
// waits for the next one.
func TestASocketOfTheServiceManagerRefusesNobodyMeanwhile(t *testing.T) {
	dir := newDir(t, baseConfig, "")
	p := activated(t, dir, "", "milter.sock")
	session := p.holding(t)
	defer session.Close() // milterd has cut it off
	p.signal(t, syscall.SIGTERM)
	p.waitLog(t, "shutting down")
	waits := func(when string) {
		t.Helper()
		conn, err := net.Dial("unix", p.socket())
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		closing(t, conn)
	}
	waits("while it ends")
	if status := p.end(t, syscall.SIGTERM); status != exitOK {
		t.Errorf("exit status %d", status)
	}
	waits("after its end")
}
