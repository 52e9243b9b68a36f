package integration_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"milterd/header"
	"milterd/integration/harness"
	"milterd/policy/replay"
)

// maxFrame bounds one frame between sendmail and milterd.
const maxFrame = 1 << 20

// recorder sits between sendmail and milterd, hands every frame on, and writes
// down what sendmail said about each connection: the facts of a recorded
// session, and what milterd answered.
type recorder struct {
	mu       sync.Mutex
	sessions map[string][]*replay.Session // by client address and port of the daemon
	errs     []error
}

// listen starts a recorder on the socket that sendmail knows.
func (r *recorder) listen() (stop func() error, err error) {
	if err := os.Remove(harness.Socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	listener, err := net.Listen("unix", harness.Socket)
	if err != nil {
		return nil, err
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.note(r.connection(conn)) })
		}
	})
	return func() error {
		err := listener.Close()
		running.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		return errors.Join(append(r.errs, err)...)
	}, nil
}

func (r *recorder) note(err error) {
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.errs = append(r.errs, err)
	}
}

// connection hands frames on in both directions until either side is done.
// sendmail never sends a command before the last one is answered, so an answer
// always belongs to the last command.
func (r *recorder) connection(mta net.Conn) error {
	defer func() { _ = mta.Close() }()
	filter, err := net.Dial("unix", harness.TappedSocket)
	if err != nil {
		return err
	}
	defer func() { _ = filter.Close() }()
	s := &recording{session: new(replay.Session), macros: make(map[byte]map[string]string), begin: r.begin}
	var answers sync.WaitGroup
	answers.Go(func() {
		defer func() { _ = mta.Close() }()
		r.note(pass(mta, filter, s.answer))
	})
	err = pass(filter, mta, s.command)
	_ = filter.Close()
	answers.Wait()
	return err
}

// pass hands frames on, each after note has seen it.
func pass(to io.Writer, from io.Reader, note func(code byte, data string)) error {
	for {
		frame, err := readFrame(from)
		if err != nil {
			return ended(err)
		}
		note(frame[4], string(frame[5:]))
		if _, err := to.Write(frame); err != nil {
			return ended(err)
		}
	}
}

// ended makes nothing of the ordinary end of a connection.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// readFrame reads one frame, its length included.
func readFrame(from io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 1 || size > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes", size)
	}
	frame := make([]byte, 4+size)
	copy(frame, head[:])
	_, err := io.ReadFull(from, frame[4:])
	return frame, err
}

// begin files a session under its client, in the order in which they connect.
func (r *recorder) begin(s *replay.Session) {
	key := clientKey(s.Connect.Addr, s.Connect.DaemonPort)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[key] = append(r.sessions[key], s)
}

// of returns the sessions of a dialogue's clients, named after it. Connections
// without a message hold nothing to judge and are left out. It may be called
// once the recorder has stopped.
func (r *recorder) of(d *harness.Dialogue) []*replay.Session {
	var sessions []*replay.Session
	for _, s := range r.sessions[d.Client()] {
		if len(s.Messages) == 0 {
			continue
		}
		s.ID, s.DNS = d.Name, d.DNS
		if len(sessions) > 0 {
			s.ID = fmt.Sprintf("%s-%d", d.Name, len(sessions)+1)
		}
		sessions = append(sessions, s)
	}
	return sessions
}

// clientKey is how harness.Dialogue.Client names a client.
func clientKey(addr string, port uint16) string { return fmt.Sprintf("%s to port %d", addr, port) }

// recording is one connection on its way to a session.
type recording struct {
	mu      sync.Mutex
	session *replay.Session
	macros  map[byte]map[string]string // by the command they belong to
	last    byte                       // the last command
	begin   func(*replay.Session)
	// quarantined: the current message is to be held; first is where its
	// expectations begin.
	quarantined bool
	first       int
	// edits are milterd's orders about the header of the current message.
	edits []header.Edit
}

// command takes in what sendmail says.
func (s *recording) command(code byte, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code == 'D' {
		s.macros[data[0]] = parseMacros(data[1:])
		return
	}
	s.last = code
	words := strings.Split(strings.TrimSuffix(data, "\x00"), "\x00")
	m := s.macros[code]
	switch code {
	case 'C':
		s.connect(data, m)
		s.begin(s.session)
	case 'H':
		s.session.HELO = words[0]
		s.session.TLS = replay.TLS{Version: m["tls_version"], Cipher: m["cipher"], Bits: number(m["cipher_bits"]),
			Verify: m["verify"], CertSubject: m["cert_subject"], CertIssuer: m["cert_issuer"]}
	case 'M':
		s.quarantined, s.first, s.edits = false, len(s.session.Expect), nil
		s.session.Auth = replay.Auth{Type: m["auth_type"], Authen: m["auth_authen"], Author: m["auth_author"], SSF: number(m["auth_ssf"])}
		s.session.Messages = append(s.session.Messages, replay.Message{Mail: replay.Mail{
			From: path(words[0]), Args: words[1:], Mailer: m["mail_mailer"], Host: m["mail_host"], Addr: m["mail_addr"]}})
	case 'R':
		message := s.message()
		message.Rcpt = append(message.Rcpt, replay.Rcpt{
			To: path(words[0]), Args: words[1:], Mailer: m["rcpt_mailer"], Host: m["rcpt_host"], Addr: m["rcpt_addr"]})
	case 'L':
		// sendmail sends them only where milterd has asked for them.
		name, value, _ := strings.Cut(strings.TrimSuffix(data, "\x00"), "\x00")
		message := s.message()
		message.Headers = append(message.Headers, []string{name, value})
	}
}

func (s *recording) message() *replay.Message {
	return &s.session.Messages[len(s.session.Messages)-1]
}

// connect takes in a connection: host, family, two bytes of port, address.
func (s *recording) connect(data string, m map[string]string) {
	host, rest, _ := strings.Cut(data, "\x00")
	if len(rest) < 3 {
		return // a local submission; no dialogue has one
	}
	addr := strings.TrimPrefix(strings.TrimSuffix(rest[3:], "\x00"), "IPv6:")
	if parsed, err := netip.ParseAddr(addr); err == nil {
		addr = parsed.Unmap().String()
	}
	name := m["client_name"]
	if name == "" {
		name = host
	}
	s.session.Connect = replay.Connect{Addr: addr, Name: name, PTR: m["client_ptr"], Resolve: m["client_resolve"],
		Daemon: m["daemon_name"], DaemonPort: uint16(number(m["daemon_port"])),
		DaemonAddr: m["daemon_addr"], DaemonFlags: m["daemon_flags"]}
}

// parseMacros reads names and values in turn, each ended by NUL.
func parseMacros(data string) map[string]string {
	words := strings.Split(strings.TrimSuffix(data, "\x00"), "\x00")
	macros := make(map[string]string)
	for i := 0; i+1 < len(words); i += 2 {
		macros[strings.Trim(words[i], "{}")] = words[i+1]
	}
	return macros
}

// number reads a macro that may be absent.
func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// path takes the angle brackets off.
func path(s string) string {
	return strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
}

// answer takes in what milterd says about the last command.
func (s *recording) answer(code byte, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := replay.Expect{}
	switch s.last {
	case 'M':
		x.Stage, x.Arg = "mail", s.message().Mail.From
	case 'R':
		x.Stage, x.Arg = "rcpt", s.message().Rcpt[len(s.message().Rcpt)-1].To
	case 'E':
		x.Stage = "eom"
	default:
		return
	}
	switch code {
	case 'q': // modification, the answer follows
		s.quarantined = true
		return
	case 'm':
		s.edits = append(s.edits, edit(data))
		return
	case 'y':
		x.Reply = strings.ReplaceAll(strings.TrimSuffix(data, "\x00"), "%%", "%")
	case 'd':
		x.Action = "discard"
	case 'a', 'c':
		x.Action = "accept"
		if len(s.edits) > 0 {
			x.Headers = s.edited()
		}
	default:
		x.Action = fmt.Sprintf("answer %q", code)
	}
	if x.Stage == "eom" && s.quarantined {
		// That it would be is not to be seen on the wire any earlier.
		x.Action = "quarantine"
		for i := range s.session.Expect[s.first:] {
			if e := &s.session.Expect[s.first+i]; e.Action == "accept" {
				e.Action, e.Reply = "", "250"
			}
		}
	}
	s.session.Expect = append(s.session.Expect, x)
}

// edit reads an order to change a header field: four bytes of index, name, value.
func edit(data string) header.Edit {
	name, value, _ := strings.Cut(strings.TrimSuffix(data[4:], "\x00"), "\x00")
	return header.Edit{Index: int(binary.BigEndian.Uint32([]byte(data[:4]))), Name: name, Value: value, Delete: value == ""}
}

// edited are the fields whose names the edits mention, as they leave.
func (s *recording) edited() [][]string {
	var fields []header.Field
	for _, h := range s.message().Headers {
		fields = append(fields, header.Field{Name: h[0], Value: h[1]})
	}
	after := header.Apply(fields, s.edits)
	var expected [][]string
	for i, e := range s.edits {
		if slices.ContainsFunc(s.edits[:i], func(before header.Edit) bool { return before.Name == e.Name }) {
			continue
		}
		left := 0
		for _, f := range after {
			if f.Name == e.Name {
				expected = append(expected, []string{f.Name, f.Value})
				left++
			}
		}
		if left == 0 {
			expected = append(expected, []string{e.Name})
		}
	}
	return expected
}
