package grants_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"milterd/integration/harness"
)

// TestEachLoginIsGrantedOnceWhileTheLogIsRotated lets users log in without a pause,
// and rotates Dovecot's log by renaming it and by copying and truncating it.
func TestEachLoginIsGrantedOnceWhileTheLogIsRotated(t *testing.T) {
	const each = 12 // logins between two rotations, at least
	env := start(t, "grants:\n  max_per_user: 10000\n"+byLog.grants, harness.MissingDovecot())
	d := startDovecot(t, env, "")
	mark := env.Milterd.Log.Len()
	t.Cleanup(func() { freeze(t, env.Milterd, syscall.SIGCONT) })
	users := userTraffic{t: t, stop: make(chan struct{})}
	var loggingIn sync.WaitGroup
	loggingIn.Go(users.run)
	leave := sync.OnceFunc(func() {
		close(users.stop)
		loggingIn.Wait()
	})
	t.Cleanup(leave)
	rotations := []func(*testing.T, *harness.Dovecot, *userTraffic){rename, copyTruncate, rename, copyTruncate, copyTruncate}
	for _, rotate := range rotations {
		// milterd has to see each file: that is all it asks of a rotation. The last lines
		// before a rotation it sees afterwards only.
		if _, err := env.Milterd.Log.WaitCount(patience, mark, users.soFar()+each, `msg="relay grant made"`); err != nil {
			t.Error(err)
			break
		}
		freeze(t, env.Milterd, syscall.SIGSTOP)
		users.await(t, users.soFar()+each)
		rotate(t, d, &users)
		freeze(t, env.Milterd, syscall.SIGCONT)
	}
	leave()
	total := users.logins
	if total < len(rotations)*each {
		t.Fatalf("only %d logins", total)
	}
	if _, err := env.Milterd.Log.WaitCount(patience, mark, total, `msg="relay grant `, "client=2001:db8::1:"); err != nil {
		t.Error(err)
	}
	for n := 1; n <= total; n++ {
		lines := env.Milterd.Log.FindAll(mark, `msg="relay grant `, "client="+userAddr(n)+" ")
		if len(lines) != 1 || !strings.Contains(lines[0], "relay grant made") {
			t.Errorf("login %d of %d: %d lines in milterd's log, expected one grant:\n%s", n, total, len(lines), strings.Join(lines, "\n"))
		}
	}
	wantRelay(t, userAddr(1), recipientTaken)
	wantRelay(t, userAddr(total), recipientTaken)
	wantRelay(t, userAddr(total+1), relayingDenied)
	t.Logf("%d logins", total)
}

// maxLogins ends a test that would go on for ever.
const maxLogins = 5000

// userTraffic are users who log in, one after the other, each from another address.
type userTraffic struct {
	t    *testing.T
	stop chan struct{}
	// mu is held during a login.
	mu     sync.Mutex
	logins int
}

func userAddr(n int) string { return fmt.Sprintf("2001:db8::1:%x", n) }

// soFar is how many have logged in.
func (u *userTraffic) soFar() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.logins
}

// await waits until n have logged in.
func (u *userTraffic) await(t *testing.T, n int) {
	t.Helper()
	eventually(t, "users to log in", func() bool { return u.soFar() >= n })
}

func (u *userTraffic) run() {
	for u.once() {
		select {
		case <-u.stop:
			return
		default:
		}
	}
}

func (u *userTraffic) once() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.logins == maxLogins {
		return false
	}
	u.logins++
	protocol := []string{"pop3", "imap"}[u.logins%2]
	if err := tryLogin(u.t.Context(), protocol, userAddr(u.logins), "shin", users["shin"]); err != nil {
		u.t.Error(err)
		return false
	}
	return true
}

// freeze stops milterd, or lets it go on.
func freeze(t *testing.T, m *harness.Milterd, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(m.PID(), s); err != nil {
		t.Fatal(err)
	}
}

// makePlace renames older logs, as logrotate does.
func makePlace(t *testing.T) {
	t.Helper()
	for i := 5; i > 0; i-- {
		err := os.Rename(fmt.Sprintf("%s.%d", harness.DovecotLog, i), fmt.Sprintf("%s.%d", harness.DovecotLog, i+1))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// rename puts the log aside and tells Dovecot, while users log in.
func rename(t *testing.T, d *harness.Dovecot, _ *userTraffic) {
	t.Helper()
	makePlace(t)
	if err := os.Rename(harness.DovecotLog, harness.DovecotLog+".1"); err != nil {
		t.Fatal(err)
	}
	if err := d.ReopenLog(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "logins in the new log", func() bool {
		text, _ := os.ReadFile(harness.DovecotLog)
		return bytes.Contains(text, []byte(" Login: "))
	})
}

// copyTruncate copies the log and empties it. Lines that are written in between would be
// lost, to everybody, so nobody logs in meanwhile.
func copyTruncate(t *testing.T, _ *harness.Dovecot, u *userTraffic) {
	t.Helper()
	makePlace(t)
	u.mu.Lock()
	defer u.mu.Unlock()
	last := []byte("rip=" + userAddr(u.logins) + ",")
	var text []byte
	eventually(t, "the last login in the log", func() bool {
		var err error
		if text, err = os.ReadFile(harness.DovecotLog); err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(text, last)
	})
	if err := os.WriteFile(harness.DovecotLog+".1", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(harness.DovecotLog, 0); err != nil {
		t.Fatal(err)
	}
}
