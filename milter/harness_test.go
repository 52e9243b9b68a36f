package milter

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gomilter "github.com/d--j/go-milter"
	"go.uber.org/goleak"

	"milterd/integration/testkit"
	"milterd/milter/door"
	"milterd/policy"
)

func TestMain(m *testing.M) {
	crashIfAsked()
	goleak.VerifyTestMain(m)
}

// script is an evaluator that notes what it is told and answers from a
// function.
type script struct {
	mu      sync.Mutex
	notes   []any
	verdict func(stage policy.Stage, arg string) policy.Verdict
	hides   bool
}

// What a script notes, besides policy.Connection and policy.Recipient.
type (
	heloNote struct {
		Name string
		TLS  policy.TLS
	}
	mailNote struct {
		Auth policy.Auth
		Mail policy.Mail
	}
	endNote   struct{ Headers int }
	abortNote struct{}
)

func (s *script) note(what any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, what)
}

func (s *script) taken() []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	notes := s.notes
	s.notes = nil
	return notes
}

// all is what was noted up to now, and stays noted.
func (s *script) all() []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notes)
}

func (s *script) begin(_ *policy.Policy, c policy.Connection, _ policy.Answers) policy.Evaluator {
	s.note(c)
	return s
}

func (s *script) Helo(name string, tls policy.TLS) { s.note(heloNote{name, tls}) }

func (s *script) Mail(auth policy.Auth, m policy.Mail) policy.Verdict {
	s.note(mailNote{auth, m})
	return s.give(policy.StageMail, m.From)
}

func (s *script) Rcpt(r policy.Recipient) policy.Verdict {
	s.note(r)
	return s.give(policy.StageRcpt, r.To)
}

func (s *script) EndOfMessage(headers []policy.HeaderField) policy.Verdict {
	s.note(endNote{len(headers)})
	return s.give(policy.StageEOM, "")
}

func (s *script) Abort() { s.note(abortNote{}) }

func (s *script) Visibility() policy.Visibility {
	if s.hides {
		return policy.ClientHidden
	}
	return policy.ClientShown
}

func (s *script) SetQueueID(string) {}

func (s *script) Close() {}

func (s *script) LeaveOutTraces() {}

func (s *script) give(stage policy.Stage, arg string) policy.Verdict {
	v := policy.Verdict{Action: policy.ActionAccept}
	if s.verdict != nil {
		v = s.verdict(stage, arg)
	}
	v.Stage, v.Arg = stage, arg
	return v
}

func reject(code int, enhanced, text string) policy.Verdict {
	return policy.Verdict{Action: policy.ActionReject, Check: "test", Reply: policy.Reply{Code: code, Enhanced: enhanced, Text: text}}
}

// testServer is a server on a unix socket, stopped at the end of the test.
type testServer struct {
	*Server
	addr   string
	log    *testkit.Log
	script *script
}

// serve starts a server. Where config says nothing of it, the policy is empty
// and a script that accepts everything takes the policy's place.
func serve(t testing.TB, config Config) *testServer {
	t.Helper()
	ts := &testServer{log: &testkit.Log{}, script: &script{}}
	if config.Logger == nil {
		config.Logger = ts.log.Logger()
	}
	if config.Current == nil {
		p := &policy.Policy{}
		config.Current = func() door.Snapshot { return door.Snapshot{Policy: p} }
	}
	if config.NewEvaluator == nil {
		config.NewEvaluator = ts.script.begin
	}
	if config.IdleGrace == 0 {
		config.IdleGrace = time.Millisecond
	}
	ts.Server = NewServer(config)
	ln, err := door.Listen("local:"+filepath.Join(t.TempDir(), "m.sock"), 0, "")
	if err != nil {
		t.Fatal(err)
	}
	ts.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- ts.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		if err := ts.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ts
}

// frame makes a frame; the parts of data are joined as they are.
func frame(command byte, data ...string) []byte {
	all := strings.Join(data, "")
	f := binary.BigEndian.AppendUint32(nil, uint32(1+len(all)))
	return append(append(f, command), all...)
}

// optneg makes the first frame of a connection.
func optneg(version, actions, protocol uint32) []byte {
	var data []byte
	for _, n := range []uint32{version, actions, protocol} {
		data = binary.BigEndian.AppendUint32(data, n)
	}
	return frame(cmdNegotiate, string(data))
}

// What sendmail 8.17 offers: SMFI_CURR_ACTS and SMFI_CURR_PROT.
const (
	allActions  = 0x1ff
	allProtocol = 0x1fffff
)

// peer is an MTA that can send anything.
type peer struct {
	t    testing.TB
	conn *net.UnixConn
	in   *bufio.Reader
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: addr, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// negotiated dials and does the negotiation as sendmail does.
func negotiated(t testing.TB, addr string) *peer {
	t.Helper()
	p := dial(t, addr)
	p.send(optneg(6, allActions, allProtocol))
	if command, _ := p.answer(); command != cmdNegotiate {
		t.Fatalf("answer to OPTNEG: %q", command)
	}
	return p
}

func (p *peer) send(frames ...[]byte) {
	p.t.Helper()
	if _, err := p.conn.Write(bytes.Join(frames, nil)); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// read returns one answer, or the error that ended the connection.
func (p *peer) read() (command byte, data string, err error) {
	var head [lengthBytes + 1]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, "", err
	}
	rest := make([]byte, frameLength(head[:])-1)
	if _, err := io.ReadFull(p.in, rest); err != nil {
		return 0, "", err
	}
	return head[lengthBytes], string(rest), nil
}

func (p *peer) answer() (command byte, data string) {
	p.t.Helper()
	command, data, err := p.read()
	if err != nil {
		p.t.Fatalf("read an answer: %v", err)
	}
	return command, data
}

// expect reads one answer and compares it: the command byte, then the text of
// a reply code.
func (p *peer) expect(want string) {
	p.t.Helper()
	command, data := p.answer()
	if got := strings.TrimRight(string(command)+data, "\x00"); got != want {
		p.t.Fatalf("answer %q, want %q", got, want)
	}
}

// expectClosed waits for the server to close the connection.
func (p *peer) expectClosed() {
	p.t.Helper()
	for {
		_, _, err := p.read()
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			p.t.Fatal("the connection stays open")
		}
		if err != nil {
			return
		}
	}
}

func connectFrame(addr string) []byte {
	return frame(cmdConnect, "client.example\x00", "4", "\x04\x00", addr, "\x00")
}

// begin sends CONNECT, HELO and MAIL, and expects MAIL to be accepted.
func (p *peer) begin() {
	p.t.Helper()
	p.send(connectFrame("203.0.113.8"), frame(cmdHelo, "client.example\x00"), frame(cmdMail, "<a@good.example>\x00"))
	p.expect("c")
}

// client starts a session of go-milter's own client.
func client(t testing.TB, addr string, macros map[string]string, options ...gomilter.Option) *gomilter.ClientSession {
	t.Helper()
	session, err := gomilter.NewClient("unix", addr, options...).Session(bag(macros))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

func bag(macros map[string]string) *gomilter.MacroBag {
	b := gomilter.NewMacroBag()
	for name, value := range macros {
		b.Set(name, value)
	}
	return b
}
