package milter

import (
	"fmt"
	"strings"
	"testing"

	"milterd/policy"
)

func TestMacrosAreInForceAsLongAsTheirStep(t *testing.T) {
	var m macros
	set := func(command byte, list string) { m.take(append([]byte{command}, list...)) }
	want := func(when, expected string) {
		t.Helper()
		var got []string
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			if value, ok := m.GetEx(name); ok {
				got = append(got, name+"="+value)
			}
		}
		if text := strings.Join(got, " "); text != expected {
			t.Errorf("%s: %q, expected %q", when, text, expected)
		}
	}
	want("at first", "")
	set('C', "a\x001\x00b\x00\x00")
	set('H', "c\x002\x00")
	set('M', "d\x003\x00a\x00later\x00a\x00last\x00")
	set('R', "e\x004\x00")
	want("at RCPT", "a=last b= c=2 d=3 e=4")
	set('R', "")
	want("at the next RCPT", "a=last b= c=2 d=3")
	set('E', "e\x005\x00")
	want("at the end of the message", "a=last b= c=2 d=3 e=5")
	m.forget(stepMail)
	want("after the message", "a=1 b= c=2")
	set('H', "d\x006\x00")
	want("at the second HELO", "a=1 b= d=6")
	set('C', "")
	want("at the next CONNECT", "")
	if m.Get("a") != "" {
		t.Error("a value of a macro that is not known")
	}
}

// What the guard keeps reaches the session of the same connection, however many there are.
func TestEachConnectionHasItsOwnMacros(t *testing.T) {
	ts := serve(t, Config{MaxConnections: 40})
	ts.script.verdict = func(policy.Stage, string) policy.Verdict { return policy.Verdict{Action: policy.ActionAccept} }
	var peers []*peer
	for range 20 {
		peers = append(peers, negotiated(t, ts.addr))
	}
	// Numbers become free, and are not given to two.
	for i := 0; i < len(peers); i += 2 {
		peers[i].conn.Close()
		peers[i] = negotiated(t, ts.addr)
	}
	for i, p := range peers {
		p.send(frame('D', "C{client_name}\x00", fmt.Sprint(i), ".example\x00"), connectFrame(fmt.Sprintf("203.0.113.%d", i+1)), frame('H', "x\x00"),
			frame('D', fmt.Sprintf("Mi\x00Q%d\x00", i)))
	}
	for _, p := range peers {
		p.send(frame('M', "<>\x00"))
		p.expect("c")
	}
	seen := 0
	for _, note := range ts.script.all() {
		if c, ok := note.(policy.Connection); ok {
			seen++
			if want := fmt.Sprintf("203.0.113.%d %d.example", int(c.Addr.As4()[3]), c.Addr.As4()[3]-1); c.Addr.String()+" "+c.Name != want {
				t.Errorf("%v is named %s, expected %s", c.Addr, c.Name, want)
			}
		}
	}
	if seen != len(peers) {
		t.Errorf("%d connections, expected %d", seen, len(peers))
	}
}

func TestTheAnswerToTheOfferHasNoNumber(t *testing.T) {
	ts := serve(t, Config{})
	for range 3 {
		p := dial(t, ts.addr)
		p.send(optneg(6, 0xffffffff, allProtocol))
		command, data := p.answer()
		if actions := frameLength([]byte(data[4:8])); command != cmdNegotiate || actions&^allActions != 0 {
			t.Errorf("answer %q with the actions %x", command, actions)
		}
	}
}

func TestNumbersOfOpenConnectionsDiffer(t *testing.T) {
	g := testGuard(Limits{})
	g.last = maxNumber - 1
	for i, want := range []uint32{maxNumber, 1, 2} {
		n := g.nextNumber()
		if n != want {
			t.Errorf("number %d is %d, expected %d", i, n, want)
		}
		g.conns[n] = new(guardedConn)
	}
	g.last = maxNumber
	if n := g.nextNumber(); n != 3 {
		t.Errorf("got %d while 1 and 2 are open", n)
	}
}
