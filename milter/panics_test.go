package milter

import (
	"strings"
	"sync/atomic"
	"testing"

	"milterd/milter/door"
	"milterd/policy"
)

func TestPanicsBecomeTemporaryFailures(t *testing.T) {
	const failed = "y451 4.3.0 Temporary system failure. Please try again later"
	connect, helo := connectFrame("203.0.113.8"), frame('H', "mx.example\x00")
	mail, rcpt, eom, abort := frame('M', "<a@good.example>\x00"), frame('R', "<b@our.example>\x00"), frame('E'), frame('A')
	tests := []struct {
		name   string
		at     string
		frames []byte
		want   []string
	}{
		{"at CONNECT: nothing of the connection is let in", "connect", join(connect, helo, mail, mail), []string{failed, failed}},
		{"at HELO: nothing of the connection is let in", "helo", join(connect, helo, mail, mail), []string{failed, failed}},
		{"at MAIL: the next may pass", "mail", join(connect, helo, mail, mail, rcpt, eom), []string{failed, "c", "c", "a"}},
		{"at RCPT: the next may pass", "rcpt", join(connect, helo, mail, rcpt, rcpt, eom), []string{"c", failed, "c", "a"}},
		{"at the end of message: the next may pass", "eom", join(connect, helo, mail, rcpt, eom, mail, rcpt, eom), []string{"c", "c", failed, "c", "c", "a"}},
		{"at ABORT: nothing more of the connection is let in", "abort", join(connect, helo, mail, abort, mail), []string{"c", failed}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fuse := &panicking{at: tt.at}
			ts := serve(t, Config{NewEvaluator: func(*policy.Policy, policy.Connection, policy.Answers) policy.Evaluator {
				fuse.burn("connect")
				return fuse
			}})
			p := negotiated(t, ts.addr)
			p.send(tt.frames)
			for _, want := range tt.want {
				p.expect(want)
			}
			if n := ts.counter.Panics.Load(); n != 1 {
				t.Errorf("%d panics counted, want 1", n)
			}
			if log := ts.log.String(); !strings.Contains(log, "panic=\"burnt at "+tt.at) || !strings.Contains(log, "place=milterd/milter.(*panicking).burn:") {
				t.Errorf("the log does not say what panicked where:\n%s", log)
			}
		})
	}
}

// panicking is an evaluator that panics once, at one callback.
type panicking struct {
	script
	at    string
	burnt bool
}

func (p *panicking) burn(callback string) {
	if p.at == callback && !p.burnt {
		p.burnt = true
		panic("burnt at " + callback)
	}
}

func (p *panicking) Helo(string, policy.TLS) { p.burn("helo") }

func (p *panicking) Mail(a policy.Auth, m policy.Mail) policy.Verdict {
	p.burn("mail")
	return p.script.Mail(a, m)
}

func (p *panicking) Rcpt(r policy.Recipient) policy.Verdict {
	p.burn("rcpt")
	return p.script.Rcpt(r)
}

func (p *panicking) EndOfMessage(h []policy.HeaderField) policy.Verdict {
	p.burn("eom")
	return p.script.EndOfMessage(h)
}

func (p *panicking) Abort() { p.burn("abort") }

func TestPanicStackIsLoggedOnce(t *testing.T) {
	ts := serve(t, Config{})
	ts.script.verdict = func(policy.Stage, string) policy.Verdict { panic("always") }
	p := negotiated(t, ts.addr)
	p.send(connectFrame("203.0.113.8"))
	for range 3 {
		p.send(frame('M', "<>\x00"))
		p.answer()
	}
	log := ts.log.String()
	if n := strings.Count(log, "callback panicked"); n != 3 {
		t.Errorf("%d panics in the log, want 3", n)
	}
	if n := strings.Count(log, "stack="); n != 1 {
		t.Errorf("%d stacks in the log, want 1", n)
	}
}

func TestPolicyFunctionPanics(t *testing.T) {
	var broken atomic.Bool
	p := &policy.Policy{}
	ts := serve(t, Config{Current: func() door.Snapshot {
		if broken.Load() {
			panic("no policy")
		}
		return door.Snapshot{Policy: p}
	}})
	open := negotiated(t, ts.addr)
	open.begin() // the policy has been taken once it answers
	broken.Store(true)
	dialled := dial(t, ts.addr)
	dialled.send(optneg(6, allActions, allProtocol))
	dialled.expectClosed()
	open.send(frame('K'), connectFrame("203.0.113.8"), frame('M', "<>\x00"))
	open.expect("y451 4.3.0 Temporary system failure. Please try again later")
	if n := ts.counter.Panics.Load(); n != 2 {
		t.Errorf("%d panics, want 2", n)
	}
}
