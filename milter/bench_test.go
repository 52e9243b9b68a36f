package milter

import (
	"bufio"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	gomilter "github.com/d--j/go-milter"

	"milterd/milter/door"
	"milterd/policy"
)

// accepting is an evaluator that costs nothing.
type accepting struct{}

func (accepting) Helo(string, policy.TLS) {}
func (accepting) Mail(policy.Auth, policy.Mail) policy.Verdict {
	return policy.Verdict{Stage: policy.StageMail, Action: policy.ActionAccept}
}
func (accepting) Rcpt(policy.Recipient) policy.Verdict {
	return policy.Verdict{Stage: policy.StageRcpt, Action: policy.ActionAccept}
}
func (accepting) EndOfMessage([]policy.HeaderField) policy.Verdict {
	return policy.Verdict{Stage: policy.StageEOM, Action: policy.ActionAccept}
}
func (accepting) Abort()                        {}
func (accepting) Close()                        {}
func (accepting) LeaveOutTraces()               {}
func (accepting) SetQueueID(string)             {}
func (accepting) Visibility() policy.Visibility { return policy.ClientShown }

// BenchmarkSession is one SMTP session through the door: CONNECT, HELO, MAIL,
// RCPT, end of message, QUIT, on a connection of its own as sendmail has it.
// The unguarded variant hands the socket to the library as it is: the
// difference is what the guard costs and its buffering saves. The client's
// share is in both.
func BenchmarkSession(b *testing.B) {
	p := &policy.Policy{}
	config := Config{
		Current:      func() door.Snapshot { return door.Snapshot{Policy: p} },
		NewEvaluator: func(*policy.Policy, policy.Connection, policy.Answers) policy.Evaluator { return accepting{} },
		Logger:       slog.New(slog.DiscardHandler),
	}

	b.Run("guarded", func(b *testing.B) {
		ts := serve(b, config)
		benchmarkSessions(b, ts.addr)
	})
	b.Run("unguarded", func(b *testing.B) {
		s := NewServer(config)
		ln, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
		if err != nil {
			b.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.library.Serve(ln) }()
		benchmarkSessions(b, ln.Addr().String())
		if err := s.Shutdown(b.Context()); err != nil {
			b.Error(err)
		}
		<-served
	})
}

func benchmarkSessions(b *testing.B, addr string) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := benchmarkSession(addr); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

var (
	benchmarkNegotiation = optneg(6, allActions, allProtocol)
	benchmarkEnvelope    = join(sessionOpening, sessionMail)
	benchmarkQuit        = frame(cmdQuit)
)

func benchmarkSession(addr string) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: addr, Net: "unix"})
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 512)
	// sendmail writes every frame by itself.
	for _, frames := range [][]byte{benchmarkNegotiation, benchmarkEnvelope, sessionRcpt, sessionEnd} {
		for rest := frames; len(rest) > 0; {
			n := lengthBytes + int(frameLength(rest))
			if _, err := conn.Write(rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		head, err := in.Peek(lengthBytes)
		if err != nil {
			return err
		}
		if _, err := in.Discard(lengthBytes + int(frameLength(head))); err != nil {
			return err
		}
	}
	_, err = conn.Write(benchmarkQuit)
	return err
}

// BenchmarkFrames is the guard alone: the frames of one session from memory.
func BenchmarkFrames(b *testing.B) {
	frames := join(benchmarkNegotiation, sessionOpening, sessionMail, sessionRcpt, sessionEnd, benchmarkQuit)
	g := testGuard(Limits{})
	buf := make([]byte, 4096)
	b.ReportAllocs()
	b.SetBytes(int64(len(frames)))
	for b.Loop() {
		c := g.admit(memoryConn{Reader: &sliceReader{frames}})
		for {
			if _, err := c.Read(buf); err != nil {
				break
			}
		}
		c.Close()
	}
}

// sliceReader reads a slice without looking at it.
type sliceReader struct{ rest []byte }

func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// BenchmarkReply is a verdict's way into an answer.
func BenchmarkReply(b *testing.B) {
	v := reject(550, "5.7.1", "Access denied")
	b.ReportAllocs()
	for b.Loop() {
		if response, _ := responseTo(&v); response == gomilter.RespContinue {
			b.Fatal("accepted")
		}
	}
}
