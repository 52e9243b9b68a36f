package integration_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// TestMailIsPutOffWhileThereIsNoMemory lets milterd have a little memory more than it
// has, and makes it need much more: the kernel, or Go's runtime, ends it. Mail is put off
// until it is started again, and none has passed it by.
func TestMailIsPutOffWhileThereIsNoMemory(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit func(t *testing.T, pid int)
	}{
		{"a control group with 32 MiB", limitByControlGroup},
		{"64 MiB of addresses (ulimit -v)", limitAddresses},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := startStandard(t)
			before := dial(t)
			before.say("MAIL FROM:<a@good.example>", "250")
			c.limit(t, env.Milterd.PID())
			exhaust(t, env)
			if reply := before.say("RCPT TO:<shin@example.test>", "4"); reply != putOff {
				t.Errorf("a message that had begun: %s", reply)
			}
			dial(t).say("MAIL FROM:<a@good.example>", putOff)
			if err := env.Milterd.Start(); err != nil {
				t.Fatal(err)
			}
			again := dial(t)
			again.envelope()
			again.say("RCPT TO:<gone@example.test>", "550 5.2.1")
			again.content("found", "250")
			wantQueue(t, env, "found")
		})
	}
}

// exhaust opens connections that each hold most of a large frame, until milterd has ended.
func exhaust(t *testing.T, env *harness.Env) {
	t.Helper()
	frame := append(binary.BigEndian.AppendUint32(nil, maxFrame-1), make([]byte, maxFrame*9/10)...)
	frame[4] = 'L'
	var held []*filterConn
	defer func() {
		for _, f := range held {
			f.close()
		}
	}()
	testkit.Eventually(t, "milterd has ended", func() bool {
		if f, err := dialFilter(); err == nil {
			held = append(held, f)
			_, _ = f.conn.Write(frame)
		}
		return !env.Milterd.Running()
	})
	t.Logf("milterd has ended at %d connections", len(held))
}

// limitByControlGroup moves a process into a group of its own, of version 2 or 1. What
// it has already counts elsewhere with version 1.
func limitByControlGroup(t *testing.T, pid int) {
	t.Helper()
	name := fmt.Sprintf("milterd-test-%d", os.Getpid()) + "-" + strconv.Itoa(pid)
	const bytes = "33554432"
	var errs []error
	for parent, limit := range map[string]string{"/sys/fs/cgroup": "memory.max", "/sys/fs/cgroup/memory": "memory.limit_in_bytes"} {
		if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil {
			errs = append(errs, err)
			continue
		}
		group := filepath.Join(parent, name)
		if err := os.Mkdir(group, 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		t.Cleanup(func() {
			testkit.Eventually(t, "the control group can be removed", func() bool { return os.Remove(group) == nil })
		})
		err := errors.Join(os.WriteFile(filepath.Join(group, limit), []byte(bytes), 0), os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
		if err == nil {
			return
		}
		errs = append(errs, err)
	}
	testkit.Missing(t, fmt.Sprintf("no control group for memory: %v", errors.Join(errs...)))
}

// limitAddresses bounds the address space of a process, 64 MiB above what it has.
func limitAddresses(t *testing.T, pid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var pages uint64
	if _, err := fmt.Sscan(string(status), &pages); err != nil {
		t.Fatal(err)
	}
	most := pages*uint64(os.Getpagesize()) + 64<<20
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: most, Max: most}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestMailIsPutOffWhileThereIsNoDescriptor holds all descriptors that milterd may have:
// clients are put off, and when there are some again, mail is taken.
func TestMailIsPutOffWhileThereIsNoDescriptor(t *testing.T) {
	_, options := readScene(t, "standard", "")
	options.Include = quickFilter
	env := start(t, options)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", env.Milterd.PID()))
	if err != nil {
		t.Fatal(err)
	}
	few := uint64(len(files)) + 8
	if err := unix.Prlimit(env.Milterd.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: few, Max: few}, nil); err != nil {
		t.Fatal(err)
	}
	var held []net.Conn
	for range 40 {
		conn, err := net.Dial("unix", harness.Socket)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		if _, err := conn.Write([]byte(negotiation)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := env.Milterd.Log.Wait(frameTimeout, 0, "too many open files"); err != nil {
		t.Fatal(err)
	}
	// The filter's turn does not come while they are held.
	dial(t).say("MAIL FROM:<a@good.example>", putOff)
	for _, conn := range held {
		_ = conn.Close()
	}
	testkit.Eventually(t, "mail is taken again", func() bool { return rcpt(t, goodClient, "shin@example.test")[0] == '2' })
	if reply := rcpt(t, goodClient, "gone@example.test"); reply[0] != '5' {
		t.Errorf("a recipient that the table refuses: %s", reply)
	}
}
