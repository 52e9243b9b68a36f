package mapdoor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
	milterdoor "milterd/milter/door"
	"milterd/milter/socketmap"
	"milterd/policy"
	"milterd/policy/access"
)

const hostname = "mx.example.test"

// patience bounds every wait in the tests.
const patience = 60 * time.Second

// requireSendmail skips where sendmail cannot be asked; with CI=true it must be.
func requireSendmail(t testing.TB) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "needs root: sendmail -bt runs in namespaces of its own"
	}
	for _, name := range []string{"sendmail", "makemap", "m4", "hostname"} {
		if _, err := exec.LookPath(name); err != nil {
			why = "needs the sendmail packages: " + err.Error()
		}
	}
	if _, err := os.Stat("/usr/share/sendmail/cf/m4/cf.m4"); err != nil {
		why = "needs the package sendmail-cf: " + err.Error()
	}
	if why != "" {
		testkit.Missing(t, why)
	}
}

// site is a directory that sendmail trusts, which one below a world-writable one is
// not.
type site struct {
	t   testing.TB
	dir string
}

func newSite(t testing.TB) site {
	t.Helper()
	requireSendmail(t)
	dir, err := os.MkdirTemp("/var/lib", "milterd-mapdoor-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return site{t, dir}
}

func (s site) path(name string) string { return filepath.Join(s.dir, name) }

func (s site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// pipe runs a program on a text.
func (s site) pipe(stdin string, name string, args ...string) string {
	s.t.Helper()
	c := exec.Command(name, args...)
	var errs strings.Builder
	c.Stdin, c.Stderr = strings.NewReader(stdin), &errs
	out, err := c.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, &errs)
	}
	return string(out)
}

// door is a map door on the site's socket, until it is closed or the test ends.
type door struct {
	*socketmap.Server
	served chan error
}

func (s site) open(maps map[string]socketmap.Map) *door {
	s.t.Helper()
	ln, err := milterdoor.Listen("local:"+s.path("map.sock"), 0o600, "")
	if err != nil {
		s.t.Fatal(err)
	}
	d := &door{socketmap.NewServer(socketmap.Config{Maps: maps, Logger: slog.New(slog.DiscardHandler)}), make(chan error, 1)}
	go func() { d.served <- d.Serve(ln) }()
	s.t.Cleanup(func() { d.close(s.t) })
	return d
}

func (d *door) close(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-d.served; err != nil {
		t.Errorf("serve: %v", err)
	}
	d.served <- nil // for the next call
}

// served are the maps of a policy.
func served(p *policy.Policy, grants milterdoor.Grants) map[string]socketmap.Map {
	current := func() milterdoor.Snapshot { return milterdoor.Snapshot{Policy: p, Grants: grants} }
	return map[string]socketmap.Map{"milterd": socketmap.NewRcpt(current, nil).Lookup, "access": socketmap.NewAccess(current, nil).Lookup, "received": socketmap.Received(current)}
}

func parse(t testing.TB, text string) *access.Table {
	t.Helper()
	table, problems, err := access.Parse("access", strings.NewReader(text), access.Features{})
	if table == nil || err != nil {
		t.Fatal(problems, err)
	}
	return table
}

// tester is a running sendmail -bt.
type tester struct {
	t   testing.TB
	in  io.WriteCloser
	out *bufio.Reader
}

// test starts sendmail -bt on a configuration. It has network and UTS namespaces of
// its own: no DNS, and a host name that needs none.
func (s site) test(config string, flags ...string) *tester {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	args := append([]string{"-c", "hostname " + hostname + ` && exec sendmail "$@"`, "sh", "-C", s.path(config), "-bt"}, flags...)
	c := exec.CommandContext(ctx, "sh", args...)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS}
	in, err := c.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		defer cancel()
		in.Close()
		io.Copy(io.Discard, out)
		// Where a look-up has failed, the exit status says so.
		if err := c.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			s.t.Errorf("sendmail -bt: %v", err)
		}
	})
	return &tester{s.t, in, bufio.NewReader(out)}
}

// lookup makes one look-up and returns what sendmail says of it: "returns VALUE (0)"
// or "no match (STATUS)".
func (b *tester) lookup(name, key string) string {
	b.t.Helper()
	if _, err := fmt.Fprintf(b.in, "/map %s %s\n", name, key); err != nil {
		b.t.Fatal(err)
	}
	// An error message may come before the answer, on the same line.
	for {
		line, err := b.out.ReadString('\n')
		if err != nil {
			b.t.Fatalf("sendmail -bt ended: %v", err)
		}
		for _, answer := range []string{"returns ", "no match "} {
			if i := strings.Index(line, answer); i >= 0 {
				return strings.TrimSpace(line[i:])
			}
		}
	}
}

// transcript runs commands and returns all that sendmail -bt says.
func (b *tester) transcript(commands string) string {
	b.t.Helper()
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(b.in, commands)
		b.in.Close()
		written <- err
	}()
	out, err := io.ReadAll(b.out)
	if err == nil {
		err = <-written
	}
	if err != nil {
		b.t.Fatalf("sendmail -bt: %v\n%s", err, out)
	}
	return string(out)
}
