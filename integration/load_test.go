package integration_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"milterd/integration/harness"
)

const (
	// manySessions is how many sessions are open at the same time.
	manySessions = 2000
	// memoryASession is what milterd may need for one of them: a bound that
	// catches a buffer that is too large, not a measure.
	memoryASession = 64 << 10
)

// TestManySessionsAtOnce holds 2,000 sessions open in the middle of a message,
// and then lets all of them finish.
func TestManySessionsAtOnce(t *testing.T) {
	env := startStandard(t)
	before := residentBytes(t, env.Milterd.PID())
	sessions := make([]*filterConn, manySessions)
	defer func() {
		for _, f := range sessions {
			if f != nil {
				f.close()
			}
		}
	}()
	each(t, "open", func(i int) (err error) {
		if sessions[i], err = dialFilter(); err != nil {
			return err
		}
		if err := sessions[i].connect(fmt.Sprintf("10.1.%d.%d", i/250, i%250+1)); err != nil {
			return err
		}
		return want("accept")(sessions[i].mail("a@good.example"))
	})
	open := residentBytes(t, env.Milterd.PID())
	perSession := (open - before) / manySessions
	t.Logf("%d sessions open: %d KiB resident, %d KiB before, %.1f KiB a session",
		manySessions, open>>10, before>>10, float64(perSession)/1024)
	if perSession > memoryASession && !world.Race {
		t.Errorf("%d bytes a session, want %d at most", perSession, memoryASession)
	}
	each(t, "finish", func(i int) error {
		if err := want("accept")(sessions[i].rcpt("shin@example.test")); err != nil {
			return err
		}
		if err := want("550 5.2.1 Mailbox disabled for this recipient")(sessions[i].rcpt("gone@example.test")); err != nil {
			return err
		}
		if err := want("accept")(sessions[i].end()); err != nil {
			return err
		}
		return sessions[i].send('Q', "")
	})
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Milterd.Log.Wait(frameTimeout, 0, "msg=stopped", "refused=0", "malformed=0", "panics=0"); err != nil {
		t.Error(err)
	}
}

// each does something for every session, all of them at once.
func each(t *testing.T, what string, do func(i int) error) {
	t.Helper()
	errs := make([]error, manySessions)
	var wg sync.WaitGroup
	for i := range manySessions {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	failed := 0
	for i, err := range errs {
		if err != nil {
			failed++
			if failed <= 5 {
				t.Errorf("%s session %d: %v", what, i, err)
			}
		}
	}
	if failed > 0 {
		t.Fatalf("%s: %d of %d sessions failed", what, failed, manySessions)
	}
}

// want compares the answer of a step.
func want(answer string) func(got string, err error) error {
	return func(got string, err error) error {
		if err == nil && got != answer {
			err = fmt.Errorf("got %q, want %q", got, answer)
		}
		return err
	}
}

// residentBytes is the memory that a process has in RAM.
func residentBytes(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib int
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		t.Fatalf("VmRSS: %v", err)
	}
	return kib << 10
}

// TestManyClientsOfSendmail holds three dozen clients in sendmail at the same
// time, and then lets each send two messages.
func TestManyClientsOfSendmail(t *testing.T) {
	const clients = 36
	env := startStandard(t)
	conns := make([]*harness.Conn, clients)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	// sendmail's queue of connections not yet taken is short (10 by default).
	arriving := make(chan struct{}, 8)
	for i := range clients {
		wg.Go(func() {
			arriving <- struct{}{}
			defer func() { <-arriving }()
			if conns[i], errs[i] = harness.Dial(goodClient, harness.ServerAddr4+":25"); errs[i] == nil {
				_, errs[i] = conns[i].ReadReply()
			}
		})
	}
	wg.Wait()
	for i := range clients {
		if conns[i] == nil {
			continue
		}
		defer func() { _ = conns[i].Close() }()
		if errs[i] == nil {
			wg.Go(func() { errs[i] = twoMessages(conns[i]) })
		}
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := len(subjects(t, env)); got != 2*clients {
		t.Errorf("queue: got %d messages, want %d", got, 2*clients)
	}
}

func twoMessages(conn *harness.Conn) error {
	lines := []string{"EHLO mx.good.example"}
	for range 2 {
		lines = append(lines, "MAIL FROM:<a@good.example>", "RCPT TO:<shin@example.test>", "DATA", "Subject: many\r\n\r\nHello\r\n.")
	}
	return sayAll(conn, append(lines, "QUIT")...)
}

// sayAll says the lines one after the other; each of them must be accepted.
func sayAll(conn *harness.Conn, lines ...string) error {
	for _, line := range lines {
		reply, err := conn.Command(line)
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		if reply.Code >= 400 {
			return fmt.Errorf("%s: %s", line, reply)
		}
	}
	return nil
}

// rejected is the client whose fate changes under load, and its two fates.
const (
	rejected = "10.2.3.4"
	before   = "accept"
	after    = "550 5.7.1 Access denied"

	// rejections are the lines that change it, for a client of sendmail as well.
	rejections = "Connect:" + rejected + "\tREJECT\nConnect:" + goodClient + "\tREJECT\n"
)

// TestReloadUnderLoad changes the access table while sessions come and go.
// Sessions that are open keep their policy, new ones get the new one, nobody is
// refused a session, and a broken table changes nothing.
func TestReloadUnderLoad(t *testing.T) {
	env := startStandard(t)
	table, err := os.ReadFile(harness.ConfigDir + "/access")
	if err != nil {
		t.Fatal(err)
	}
	load := startLoad()
	defer load.stop()
	load.waitFor(t, before)

	old, err := dialFilter()
	if err != nil {
		t.Fatal(err)
	}
	defer old.close()
	if err := old.connect(rejected); err != nil {
		t.Fatal(err)
	}

	customer := dial(t)

	change := func(text, logLine string) {
		t.Helper()
		mark := env.Milterd.Log.Len()
		if err := env.WriteFile("access", text); err != nil {
			t.Fatal(err)
		}
		if _, err := env.Milterd.Log.Wait(frameTimeout, mark, logLine); err != nil {
			t.Fatal(err)
		}
	}
	judge := func(when, answer string) {
		t.Helper()
		if err := want(answer)(session(rejected)); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	judge("before", before)
	change(string(table)+rejections, "policy in force")
	judge("after the change", after)
	if err := want(before)(old.message()); err != nil {
		t.Errorf("a session from before: %v", err)
	}
	customer.envelope()
	customer.content("from before", "250")
	newcomer := dial(t)
	newcomer.say("MAIL FROM:<a@good.example>", "250")
	newcomer.say("RCPT TO:<shin@example.test>", "550 5.7.1")
	newcomer.say("QUIT", "221")
	load.waitFor(t, after)

	change(string(table)+"Connect:"+rejected+"\x00\n", "reload failed, the old policy stays in force")
	judge("with a broken table", after)
	if err := env.WriteFile("access", string(table)+rejections); err != nil {
		t.Fatal(err)
	}
	mark := env.Milterd.Log.Len()
	if err := env.Milterd.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Milterd.Log.Wait(frameTimeout, mark, "policy in force"); err != nil {
		t.Fatal(err)
	}
	judge("after SIGHUP", after)
	change(string(table), "policy in force")
	judge("after the change back", before)
	if err := want(before)(old.message()); err != nil {
		t.Errorf("a session from before all: %v", err)
	}

	if err := load.stop(); err != nil {
		t.Errorf("under load: %v", err)
	}
	t.Logf("%d sessions under load: %d %s, %d %s", load.accepted.Load()+load.refused.Load(),
		load.accepted.Load(), before, load.refused.Load(), after)
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Milterd.Log.Wait(frameTimeout, 0, "msg=stopped", "refused=0", "malformed=0", "panics=0"); err != nil {
		t.Error(err)
	}
}

// load is a number of clients that come again and again.
type load struct {
	accepted, refused atomic.Int64

	cancel  context.CancelFunc
	working sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

func startLoad() *load {
	const workers = 4
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for range workers {
		l.working.Go(func() {
			for ctx.Err() == nil {
				l.count(session(rejected))
			}
		})
	}
	return l
}

// count notes one session's answer.
func (l *load) count(answer string, err error) {
	switch {
	case err == nil && answer == before:
		l.accepted.Add(1)
	case err == nil && answer == after:
		l.refused.Add(1)
	default:
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil {
			err = fmt.Errorf("answer %q", answer)
		}
		if len(l.errs) < 5 {
			l.errs = append(l.errs, err)
		}
	}
}

// waitFor waits until some more sessions have got an answer.
func (l *load) waitFor(t *testing.T, answer string) {
	t.Helper()
	counter := &l.accepted
	if answer == after {
		counter = &l.refused
	}
	enough := counter.Load() + 100
	if err := harness.Poll(frameTimeout, "sessions under load", func() (bool, error) { return counter.Load() >= enough, nil }); err != nil {
		t.Fatal(err)
	}
}

// stop ends the load, and says what went wrong under it.
func (l *load) stop() error {
	l.cancel()
	l.working.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}
