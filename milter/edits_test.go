package milter

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"milterd/header"
	"milterd/milter/door"
	"milterd/policy"
)

// scrubbingPolicy has the header of everybody's mail scrubbed.
func scrubbingPolicy() *policy.Policy {
	return &policy.Policy{Received: policy.Scrub{Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}}
}

func headerFrame(name, value string) []byte { return frame(cmdHeader, name, "\x00", value, "\x00") }

// changes are the orders to change a header field that come before the answer:
// "INDEX NAME: VALUE".
func (p *peer) changes() (orders []string, answer byte) {
	p.t.Helper()
	for {
		command, data := p.answer()
		if command != 'm' {
			return orders, command
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(data[4:], "\x00"), "\x00")
		orders = append(orders, string('0'+byte(binary.BigEndian.Uint32([]byte(data[:4]))))+" "+name+": "+value)
	}
}

func TestEditsReachTheMTAInTheirOrder(t *testing.T) {
	ts := serve(t, Config{Current: func() door.Snapshot { return door.Snapshot{Policy: scrubbingPolicy()} }})
	ts.script.verdict = func(stage policy.Stage, _ string) policy.Verdict {
		v := policy.Verdict{Action: policy.ActionAccept}
		if stage == policy.StageEOM {
			v.Edits = []header.Edit{
				{Name: "X-Mailer", Index: 2, Delete: true, Value: "not this", Old: "b"},
				{Name: "X-Mailer", Index: 1, Delete: true, Old: "a"},
				{Name: "Received", Index: 3, Value: "from SMTP\n\tby mx.example.test", Old: "from laptop.lan"},
			}
		}
		return v
	}
	p := negotiated(t, ts.addr)
	p.begin()
	p.send(headerFrame("Received", "from laptop.lan"), headerFrame("Subject", "hi"), frame(cmdEndOfMsg))
	orders, answer := p.changes()
	if got, want := strings.Join(orders, "|"), "2 X-Mailer: |1 X-Mailer: |3 Received: from SMTP\n\tby mx.example.test"; got != want || answer != 'a' {
		t.Errorf("orders %q, answer %q, expected %q", got, answer, want)
	}
	expectEnd := ts.script.taken()
	if end, ok := expectEnd[len(expectEnd)-1].(endNote); !ok || end.Headers != 2 {
		t.Errorf("the policy saw %+v, expected 2 fields", expectEnd[len(expectEnd)-1])
	}
}

func TestFieldsAreAskedForOnlyWhereSomethingScrubs(t *testing.T) {
	var p atomic.Pointer[policy.Policy]
	p.Store(&policy.Policy{})
	ts := serve(t, Config{Current: func() door.Snapshot { return door.Snapshot{Policy: p.Load()} }})
	if actions, protocol := agreed(t, ts.addr); actions&0x10 != 0 || protocol&0x20 == 0 {
		t.Errorf("without scrubbing: actions %#x, protocol %#x", actions, protocol)
	}

	// A connection that began before knows no fields: mail that has to be scrubbed
	// now is put off, and other mail is not.
	old := negotiated(t, ts.addr)
	p.Store(scrubbingPolicy())
	if actions, protocol := agreed(t, ts.addr); actions&0x10 == 0 || protocol&0x20 != 0 {
		t.Errorf("with scrubbing: actions %#x, protocol %#x", actions, protocol)
	}
	old.begin()
	old.send(frame(cmdEndOfMsg))
	old.expect("a")
	ts.script.hides = true
	old.send(frame(cmdMail, "<a@good.example>\x00"))
	old.expect("c")
	old.send(frame(cmdEndOfMsg))
	old.expect("y451 4.3.0 Temporary system failure. Please try again later")
}

func TestAnMTAThatChangesNoFieldsKeepsTheMail(t *testing.T) {
	ts := serve(t, Config{Current: func() door.Snapshot { return door.Snapshot{Policy: scrubbingPolicy()} }})
	ts.script.hides = true
	p := dial(t, ts.addr)
	p.send(optneg(6, allActions&^0x10, allProtocol))
	if command, _ := p.answer(); command != cmdNegotiate {
		t.Fatalf("answer to OPTNEG: %q", command)
	}
	p.begin()
	p.send(headerFrame("Subject", "hi"), frame(cmdEndOfMsg))
	p.expect("y451 4.3.0 Temporary system failure. Please try again later")
}

// agreed is what a negotiation comes to.
func agreed(t *testing.T, addr string) (actions, protocol uint32) {
	t.Helper()
	p := dial(t, addr)
	p.send(optneg(6, allActions, allProtocol))
	command, data := p.answer()
	if command != cmdNegotiate || len(data) < 12 {
		t.Fatalf("answer to OPTNEG: %q %q", command, data)
	}
	return binary.BigEndian.Uint32([]byte(data[4:8])), binary.BigEndian.Uint32([]byte(data[8:12]))
}
