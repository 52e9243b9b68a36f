package milter

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"milterd/integration/testkit"
	"milterd/milter/door"
	"milterd/policy"
)

// labelled is an evaluator whose verdicts name the policy and the client that they are
// for, and the command that they answer. A command says in its argument what it wants.
type labelled struct {
	script
	policy string
	client string
	from   string
}

func (l *labelled) verdict(stage policy.Stage, arg string) policy.Verdict {
	action, _, _ := strings.Cut(strings.Trim(arg, "<>"), "-")
	if action == "panic" {
		panic(arg)
	}
	return policy.Verdict{Stage: stage, Arg: arg, Action: policy.Action(action), Reply: policy.Reply{
		Code: 550, Enhanced: "5.7.1", Text: fmt.Sprintf("%s %s %s", l.policy, l.client, arg),
	}}
}

func (l *labelled) Mail(_ policy.Auth, m policy.Mail) policy.Verdict {
	l.from = m.From
	return l.verdict(policy.StageMail, m.From)
}
func (l *labelled) Rcpt(r policy.Recipient) policy.Verdict { return l.verdict(policy.StageRcpt, r.To) }
func (l *labelled) EndOfMessage([]policy.HeaderField) policy.Verdict {
	return l.verdict(policy.StageEOM, strings.Replace(l.from, "accept-end", "reject-end", 1))
}

// modelled is what the model knows of one connection.
type modelled struct {
	client string // of the last CONNECT, empty without one
	policy string // that answers named since the SMTP connection began
	from   string // of a message under way, empty without one
	// doubtful: macros for MAIL came within the message, which ends it after a RCPT.
	doubtful bool
}

// send sends one command and returns what is wrong with its answer, if it has one.
// closed says that the server has ended the connection.
func (m *modelled) send(conn net.Conn, in *peer, command byte, arg string) (closed bool, err error) {
	data := ""
	switch command {
	case cmdConnect:
		data = "mx.good.example\x004\x00\x19" + arg + "\x00"
	case cmdHelo, cmdMail, cmdRcpt:
		data = arg + "\x00"
	case cmdMacro:
		data = "M{auth_type}\x00PLAIN\x00"
	}
	if _, err := conn.Write(frame(command, data)); err != nil {
		return true, nil
	}
	switch command {
	case cmdConnect:
		*m = modelled{client: arg, policy: m.policy}
	case cmdNewConn:
		*m = modelled{}
	case cmdHelo, cmdAbort:
		m.from = ""
	case cmdMacro:
		m.doubtful = true
	case cmdMail, cmdRcpt, cmdEndOfMsg:
		answer, data, err := in.read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return true, fmt.Errorf("no answer to %q %s", command, arg)
		}
		if err != nil {
			return true, nil
		}
		return false, m.judge(command, arg, answer, strings.TrimRight(data, "\x00"))
	}
	return false, nil
}

// judge says what is wrong with an answer.
func (m *modelled) judge(command byte, arg string, answer byte, text string) error {
	wanted, _, _ := strings.Cut(strings.Trim(arg, "<>"), "-")
	known, before := m.client != "", m.from
	if command == cmdMail {
		m.from, m.doubtful = "", false
	} else {
		known = known && m.from != ""
	}
	if command == cmdEndOfMsg {
		m.from = ""
		wanted = "accept"
		if strings.Contains(before, "accept-end") {
			wanted, arg = "reject", strings.Replace(before, "accept-end", "reject-end", 1)
		}
	}
	problem := fmt.Errorf("%q %s of %+v, message %q, gets %q %q", command, arg, *m, before, answer, text)
	switch {
	case answer == 'c' || answer == 'a':
		if !known || wanted != "accept" {
			return problem
		}
		if command == cmdMail {
			m.from = arg
		}
	case answer == 'y' && strings.HasPrefix(text, "4"): // a fault, or nothing known of it
		if known && !m.doubtful && wanted != "panic" {
			return problem
		}
	case answer == 'y':
		words := strings.Fields(text) // code, enhanced code, policy, client, argument
		if !known || wanted != "reject" || len(words) != 5 || words[3] != m.client || words[4] != strings.Trim(arg, "<>") || m.policy != "" && words[2] != m.policy {
			return problem
		}
		m.policy = words[2]
	case answer == 'd':
		if !known || wanted != "discard" {
			return problem
		}
		m.from = ""
	default:
		return problem
	}
	return nil
}

const (
	modelConnections = 4
	modelCommands    = "CHMMMRRRREEAKD"
)

var modelActions = []string{"accept", "accept", "accept-end", "reject", "discard", "panic"}

// TestAnyOrderOfFrames sends commands in any order over several connections at once,
// while the policy is replaced. Each command that wants an answer has one, or ends its
// connection; each verdict is that of its own command, client and policy; and nothing
// is accepted that does not belong to an accepted MAIL.
func TestAnyOrderOfFrames(t *testing.T) {
	testkit.Rounds(t, 100)
	var generation atomic.Int64
	policies := [2]policy.Policy{}
	ts := serve(t, Config{
		Logger:  slog.New(slog.DiscardHandler),
		Current: func() door.Snapshot { return door.Snapshot{Policy: &policies[generation.Load()%2]} },
		NewEvaluator: func(p *policy.Policy, c policy.Connection, _ policy.Answers) policy.Evaluator {
			name := "even"
			if p == &policies[1] {
				name = "odd"
			}
			return &labelled{policy: name, client: c.Addr.String()}
		},
	})
	rapid.Check(t, func(rt *rapid.T) {
		commands := rapid.SliceOfN(rapid.IntRange(0, len(modelCommands)*len(modelActions)-1), 5, 60)
		var running sync.WaitGroup
		failures := make(chan error, modelConnections)
		for i := range modelConnections {
			list := commands.Draw(rt, fmt.Sprint("connection ", i))
			running.Go(func() {
				generation.Add(1)
				if err := converse(ts.addr, i, list, &generation); err != nil {
					failures <- err
				}
			})
		}
		running.Wait()
		close(failures)
		for err := range failures {
			rt.Error(err)
		}
	})
	if n := ts.guard.active(); n > modelConnections {
		testkit.Eventually(t, "connections end", func() bool { return ts.guard.active() == 0 })
	}
}

// converse is one connection.
func converse(addr string, i int, list []int, generation *atomic.Int64) error {
	conn, err := net.Dial("unix", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		return err
	}
	if err := exchange(conn, optneg(6, allActions, allProtocol), 'O'); err != nil {
		return err
	}
	in, model := &peer{in: bufio.NewReader(conn)}, modelled{}
	for step, n := range list {
		command, action := modelCommands[n%len(modelCommands)], modelActions[n/len(modelCommands)]
		arg := fmt.Sprintf("<%s-%d-%d@x>", action, i, step)
		if command == cmdConnect {
			arg = fmt.Sprintf("203.0.113.%d", 1+(i*60+step)%250)
		}
		if n%5 == 0 {
			generation.Add(1)
		}
		closed, err := model.send(conn, in, command, arg)
		if err != nil {
			return fmt.Errorf("connection %d, step %d: %w", i, step, err)
		}
		if closed {
			return nil
		}
	}
	return nil
}
