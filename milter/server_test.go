package milter

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/integration/testkit"
	"milterd/milter/door"
	"milterd/policy"
)

// shutDown starts a shutdown and waits until nobody listens any more.
func shutDown(t *testing.T, ts *testServer, ctx context.Context) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- ts.Shutdown(ctx) }()
	testkit.Eventually(t, "the socket is closed", func() bool {
		conn, err := net.Dial("unix", ts.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	return done
}

func TestShutdownLetsAMessageFinish(t *testing.T) {
	ts := serve(t, Config{})
	ts.script.verdict = func(stage policy.Stage, arg string) policy.Verdict {
		if strings.HasPrefix(arg, "spam") {
			return reject(550, "5.7.1", "Access denied")
		}
		return policy.Verdict{Action: policy.ActionAccept}
	}
	idle, busy := negotiated(t, ts.addr), negotiated(t, ts.addr)
	busy.begin()
	done := shutDown(t, ts, t.Context())
	idle.expectClosed()

	busy.send(frame('R', "<spam@our.example>\x00"))
	busy.expect("y550 5.7.1 Access denied")
	busy.send(frame('R', "<b@our.example>\x00"))
	busy.expect("c")
	select {
	case err := <-done:
		t.Fatalf("the shutdown did not wait for the message: %v", err)
	default:
	}
	busy.send(frame('E'))
	busy.expect("a")
	busy.expectClosed()
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownClosesIdleConnections(t *testing.T) {
	mail, rcpt := frame('M', "<spam@good.example>\x00"), frame('R', "<drop@our.example>\x00")
	tests := []struct {
		name    string
		frames  []byte
		answers int
	}{
		{"before CONNECT", nil, 0},
		{"after CONNECT", connectFrame("203.0.113.8"), 0},
		{"after a message", join(connectFrame("203.0.113.8"), frame('M', "<>\x00"), frame('R', "<b@our.example>\x00"), frame('E')), 3},
		{"after MAIL was rejected", join(connectFrame("203.0.113.8"), mail), 1},
		{"after RCPT discarded the message", join(connectFrame("203.0.113.8"), frame('M', "<>\x00"), rcpt), 2},
		{"after ABORT", join(connectFrame("203.0.113.8"), frame('M', "<>\x00"), frame('A')), 1},
		{"after QUIT_NC", join(connectFrame("203.0.113.8"), frame('M', "<>\x00"), frame('K')), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ts := serve(t, Config{})
			ts.script.verdict = func(stage policy.Stage, arg string) policy.Verdict {
				switch {
				case strings.HasPrefix(arg, "spam"):
					return reject(550, "5.7.1", "Access denied")
				case strings.HasPrefix(arg, "drop"):
					return policy.Verdict{Action: policy.ActionDiscard}
				}
				return policy.Verdict{Action: policy.ActionAccept}
			}
			p := negotiated(t, ts.addr)
			p.send(tt.frames)
			for range tt.answers {
				p.answer()
			}
			ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
			defer cancel()
			if err := ts.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			p.expectClosed()
		})
	}
}

func TestShutdownServesIdleConnectionsForAGrace(t *testing.T) {
	ts := serve(t, Config{IdleGrace: 2 * testkit.Patience})
	p := negotiated(t, ts.addr)
	done := shutDown(t, ts, t.Context())
	p.begin()
	p.send(frame('R', "<b@our.example>\x00"), frame('E'), frame('Q'))
	p.expect("c")
	p.expect("a")
	p.expectClosed()
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	ts := serve(t, Config{})
	p := negotiated(t, ts.addr)
	p.begin()
	ctx, cancel := context.WithCancel(t.Context())
	done := shutDown(t, ts, ctx)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	p.expectClosed()
}

func TestServeAfterShutdown(t *testing.T) {
	ts := serve(t, Config{})
	if err := ts.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	ln, err := door.Listen("local:"+path, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := ts.Serve(ln); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		t.Error("Serve left its listener open")
	}
}

func TestSeveralListeners(t *testing.T) {
	ts := serve(t, Config{})
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- ts.Serve(ln) }()
	conn, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := exchange(conn, optneg(6, 0, 0), 'O'); err != nil {
		t.Fatal(err)
	}
	negotiated(t, ts.addr)

	// A malformed frame is logged with the address it came from.
	if _, err := conn.Write(frame('C')); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the peer's address is logged", func() bool {
		return strings.Contains(ts.log.String(), "peer="+conn.LocalAddr().String())
	})
	if err := ts.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// FuzzSession sends arbitrary frames to a running server. It must answer in
// well-formed frames, close the connection at the end, and live.
func FuzzSession(f *testing.F) {
	const commands = "OCHDMRTLNBEAKUQx"
	command := func(c byte) byte { return byte(strings.IndexByte(commands, c)) }
	steps := func(frames ...string) []byte {
		var b []byte
		for _, s := range frames {
			b = append(b, command(s[0]), byte(len(s)-1))
			b = append(b, s[1:]...)
		}
		return b
	}
	f.Add(byte(2), steps("Cmx\x004\x00\x19203.0.113.8\x00", "DHi\x00x\x00", "Hmx\x00", "M<a@b>\x00", "R<c@d>\x00", "E", "Q"))
	f.Add(byte(2), steps("Cmx\x00U", "M<reject@b>\x00", "M<panic@b>\x00SIZE=1\x00", "R<discard@d>\x00", "R<c@d>\x00", "E", "E"))
	f.Add(byte(2), steps("Cmx\x006\x00\x19IPv6:2001:db8::8\x00", "M<quarantine@b>\x00", "R<quarantine@d>\x00", "La\x00b\x00", "N", "Bx", "E", "A", "A", "K", "M<>\x00"))
	f.Add(byte(2), steps("E", "R<c@d>\x00", "M<>\x00", "T", "UFOO\x00", "x"))
	f.Add(byte(0), []byte("\x00\x00\x00\x00"))
	f.Add(byte(0), join(connectFrame("203.0.113.8"), frame('M', "<a@b>")))
	f.Add(byte(1), optneg(2, 0, 0))

	ts := serve(f, Config{Logger: slog.New(slog.DiscardHandler), NewEvaluator: func(*policy.Policy, policy.Connection, policy.Answers) policy.Evaluator {
		return &script{verdict: func(_ policy.Stage, arg string) policy.Verdict {
			action, _, _ := strings.Cut(arg, "@")
			return policy.Verdict{Action: policy.Action(action), Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: arg}}
		}}
	}})
	f.Fuzz(func(t *testing.T, mode byte, input []byte) {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: ts.addr, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(testkit.Patience))

		var sent []byte
		if mode%3 != 1 {
			sent = optneg(6, allActions, allProtocol&^0x7ff380)
		}
		if mode%3 < 2 {
			sent = append(sent, input...)
		} else {
			for len(input) >= 2 {
				n := min(int(input[1]), len(input)-2)
				sent = append(sent, frame(commands[int(input[0])%len(commands)], string(input[2:2+n]))...)
				input = input[2+n:]
			}
		}
		// The server may close while this is being written.
		conn.Write(sent)
		conn.CloseWrite()
		answers, err := io.ReadAll(conn)
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Fatal("the connection stays open")
		}
		for len(answers) > 0 {
			if len(answers) < lengthBytes+1 || int(frameLength(answers)) > len(answers)-lengthBytes {
				if err == nil {
					t.Fatalf("not a frame: %q", answers)
				}
				break
			}
			if strings.IndexByte("Ocardtyq", answers[lengthBytes]) < 0 {
				t.Fatalf("not an answer: %q", answers)
			}
			answers = answers[lengthBytes+int(frameLength(answers)):]
		}
		if n := ts.counter.Panics.Load(); n != 0 {
			t.Fatalf("%d panics", n)
		}
	})
}
