package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// TestMailGoesOnWhileNothingCanBeKept takes the disk away from what milterd keeps over a
// restart, grants and counts of limits: they hold meanwhile, and are on the disk as soon
// as it is well, so that a kill loses nothing.
func TestMailGoesOnWhileNothingCanBeKept(t *testing.T) {
	for _, c := range []struct {
		name         string
		strike, heal func(t *testing.T, dir string)
		reason       string
	}{
		{
			"a file system that becomes read-only",
			coverReadOnly,
			uncover,
			"read-only file system",
		},
		{
			"a file system that becomes full",
			func(t *testing.T, dir string) { fill(t, filepath.Join(dir, "filler")) },
			func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "filler")) },
			"no space left on device",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			mountTmpfs(t, dir)
			env := startDoors(t, fmt.Sprintf("checks: {rdns: {mode: \"off\"}}\ngrants: {file: %[1]s/grants, control: \"local:/run/milterd/control.sock\"}\nlimits: {file: %[1]s/limits, rules: {clients: {count: recipients, by: client, rate: 1000/1h}}}\n", dir))
			// What is written before is read later.
			byHand(t, "-grant", "203.0.113.61")
			awaitFile(t, filepath.Join(dir, "limits"), goodClient)
			c.strike(t, dir)

			byHand(t, "-grant", "203.0.113.62")
			for _, client := range []string{"203.0.113.61", "203.0.113.62"} {
				if reply := relay(t, client); reply[0] != '2' {
					t.Errorf("%s, which has a grant: %s", client, reply)
				}
			}
			if reply := relay(t, "192.0.2.20"); reply[0] != '5' {
				t.Errorf("a stranger: %s", reply)
			}
			busy := dial(t)
			busy.say("MAIL FROM:<a@good.example>", "250")
			busy.say("RCPT TO:<shin@example.test>", "250")
			busy.content("meanwhile", "250")
			busy.say("QUIT", "221")
			for _, what := range []string{"relay grants", "the counts of the limits"} {
				if _, err := env.Milterd.Log.Wait(frameTimeout, 0, what+" cannot be written to disk", c.reason); err != nil {
					t.Fatal(err)
				}
			}

			c.heal(t, dir)
			// A revocation has the grants written at once. What failed is tried again as well.
			byHand(t, "-revoke", "203.0.113.61")
			for _, what := range []string{"relay grants", "the counts of the limits"} {
				if _, err := env.Milterd.Log.Wait(2*frameTimeout, 0, what+" are written to disk again"); err != nil {
					t.Fatal(err)
				}
			}
			if err := env.Milterd.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := env.Milterd.Start(); err != nil {
				t.Fatal(err)
			}
			if reply := relay(t, "203.0.113.62"); reply[0] != '2' {
				t.Errorf("the grant of meanwhile, after a kill: %s", reply)
			}
			if err := env.Milterd.Stop(); err != nil {
				t.Fatal(err)
			}
			wantQueue(t, env, "meanwhile")
		})
	}
}

// awaitFile lets a client send until a file is there.
func awaitFile(t *testing.T, file, client string) {
	t.Helper()
	testkit.Eventually(t, file+" is there", func() bool {
		if reply := rcpt(t, client, "shin@example.test"); reply[0] != '2' {
			t.Fatalf("%s: %s", client, reply)
		}
		_, err := os.Stat(file)
		return err == nil
	})
}

// byHand gives an order to the running milterd.
func byHand(t *testing.T, order, addr string) {
	t.Helper()
	if out, err := exec.Command(world.Binary, "-config", harness.ConfigFile, order, addr).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", order, addr, err, out)
	}
}

// coverReadOnly mounts a directory over itself, read-only. The file system cannot become
// so as a whole while milterd holds the file of the grants open.
func coverReadOnly(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
}

func uncover(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
}

// TestALogThatCannotBeWritten gives milterd a log that is full, and one whose reader has
// gone: mail is decided as before, and a signal ends milterd in order.
func TestALogThatCannotBeWritten(t *testing.T) {
	env := startStandard(t)
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		open func() (*os.File, error)
	}{
		{"a full disk", func() (*os.File, error) { return os.OpenFile("/dev/full", os.O_WRONLY, 0) }},
		{"a pipe without a reader", func() (*os.File, error) {
			reader, writer, err := os.Pipe()
			if err == nil {
				err = reader.Close()
			}
			return writer, err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log, err := c.open()
			if err != nil {
				t.Fatal(err)
			}
			milterd := exec.Command(world.Binary, "-config", harness.ConfigFile)
			milterd.Stderr = log
			if err := milterd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = milterd.Process.Kill(); _ = milterd.Wait(); _ = log.Close() })
			testkit.Eventually(t, "milterd listens", func() bool {
				conn, err := net.Dial("unix", harness.Socket)
				if err == nil {
					err = conn.Close()
				}
				return err == nil
			})
			c := dial(t)
			c.say("MAIL FROM:<a@good.example>", "250")
			c.say("RCPT TO:<gone@example.test>", "550 5.2.1")
			c.say("RCPT TO:<shin@example.test>", "250")
			c.content(t.Name(), "250")
			c.say("QUIT", "221")
			if err := milterd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := milterd.Wait(); err != nil {
				t.Errorf("milterd ends: %v", err)
			}
		})
	}
}
