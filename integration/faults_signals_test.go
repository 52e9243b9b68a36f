package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

// quickFilter is the filter, waited for two seconds only.
const quickFilter = "FEATURE(`access_db', , `skip')dnl\nINPUT_MAIL_FILTER(`milterd', `S=local:/run/milterd/milter.sock, F=T, T=C:2s;S:2s;R:2s;E:2s')dnl\n"

// step is one step of an SMTP dialogue: a line, and whether it is answered.
type step struct {
	name, line string
	silent     bool
}

// dialogueSteps are those of one message. The first line is the connection itself.
var dialogueSteps = []step{
	{name: "CONNECT"},
	{name: "HELO", line: "EHLO mx.good.example"},
	{name: "MAIL", line: "MAIL FROM:<a@good.example>"},
	{name: "RCPT", line: "RCPT TO:<shin@example.test>"},
	{name: "DATA", line: "DATA"},
	{name: "header", line: "Subject: %s", silent: true},
	{name: "body", line: "\r\nHello", silent: true},
	{name: "end of message", line: "."},
}

// struck is a signal at one step of a dialogue.
type struck struct {
	signal syscall.Signal
	step   int
	// during: the signal comes between the line and its reply, and else before the line.
	during bool
}

func (s struck) String() string {
	when := "before"
	if s.during {
		when = "during"
	}
	return fmt.Sprintf("%s %s %s", s.signal, when, dialogueSteps[s.step].name)
}

// TestASignalAtEachStep stops, ends and kills milterd at each step of a dialogue. The
// client is put off, or its message is in the queue once. A milterd that stands still or
// is dead lets no message pass.
func TestASignalAtEachStep(t *testing.T) {
	_, options := readScene(t, "standard", "")
	options.Include = quickFilter
	env := start(t, options)
	queued := 0
	for _, s := range allStruck() {
		t.Run(s.String(), func(t *testing.T) {
			taken := s.dialogue(t, env)
			if taken {
				queued++
			}
			if taken && !s.during && s.signal != syscall.SIGTERM {
				t.Error("the message is taken, and milterd cannot have seen all of it")
			}
			s.heal(t, env)
			found := 0
			for _, subject := range subjects(t, env) {
				if subject == s.String() {
					found++
				}
			}
			if want := map[bool]int{false: 0, true: 1}[taken]; found != want {
				t.Errorf("the message is in the queue %d times, expected %d", found, want)
			}
		})
	}
	t.Logf("%d of %d messages were taken", queued, len(allStruck()))
	found := subjects(t, env)
	slices.Sort(found)
	if once := slices.Compact(slices.Clone(found)); len(once) != len(found) {
		t.Errorf("in the queue twice: %q", found)
	}
}

func allStruck() (all []struck) {
	for at, step := range dialogueSteps {
		for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGKILL} {
			all = append(all, struck{signal, at, false})
			if signal != syscall.SIGSTOP && !step.silent {
				all = append(all, struck{signal, at, true})
			}
		}
	}
	return all
}

// dialogue sends a message, and says whether it was taken.
func (s struck) dialogue(t *testing.T, env *harness.Env) (taken bool) {
	t.Helper()
	var conn *harness.Conn
	for i, step := range dialogueSteps {
		if i == s.step && !s.during {
			s.strike(t, env)
		}
		var err error
		switch {
		case i == 0:
			if conn, err = harness.Dial(goodClient, harness.ServerAddr4+":25"); err == nil {
				defer func() { _ = conn.Close() }()
			}
		case step.name == "header":
			err = conn.Send(fmt.Sprintf(step.line, s))
		default:
			err = conn.Send(step.line)
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == s.step && s.during {
			s.strike(t, env)
		}
		if step.silent {
			continue
		}
		reply, err := conn.ReadReply()
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if reply.Code >= 500 {
			t.Errorf("%s: refused for good: %s", step.name, reply.First())
		}
		if reply.Code >= 400 {
			return false
		}
	}
	return true
}

// strike sends the signal. It does not wait for what comes of it.
func (s struck) strike(t *testing.T, env *harness.Env) {
	t.Helper()
	pid := env.Milterd.PID()
	if err := syscall.Kill(pid, s.signal); err != nil {
		t.Fatal(err)
	}
	switch {
	case s.signal == syscall.SIGSTOP:
		testkit.Eventually(t, "all of milterd stands still", func() bool { return standsStill(t, pid) })
	case s.signal == syscall.SIGKILL && !s.during:
		<-env.Milterd.Ended()
	}
}

// standsStill reports whether each thread of a process is stopped: the signal reaches them
// one by one.
func standsStill(t *testing.T, pid int) bool {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("threads of %d: %q, %v", pid, files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && !strings.Contains(string(text), "\nState:\tT") {
			return false
		}
	}
	return true
}

// heal lets milterd go on, or starts it again, and waits until mail is taken.
func (s struck) heal(t *testing.T, env *harness.Env) {
	t.Helper()
	if s.signal == syscall.SIGSTOP {
		if err := syscall.Kill(env.Milterd.PID(), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	} else {
		<-env.Milterd.Ended()
		if err := env.Milterd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "mail is taken again", func() bool { return rcpt(t, goodClient, "shin@example.test")[0] == '2' })
}
