package integration_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"milterd/integration/harness"
)

const (
	soakRejected = "203.0.113.251" // by the table
	soakUnnamed  = "203.0.113.252" // has no PTR record
	soakGranted  = "203.0.113.60"  // has a grant from time to time
	soakNamed    = 200             // clients whose DNS is in order
	soakVictim   = "x@victim.example"
	soakUser     = "shin@example.test"
	soakSecret   = "192.168.0.77" // what a scrubbed message must not tell
)

// soakKind is a kind of client of milterd's own door.
type soakKind struct {
	name, addr string // addr is empty for any of those whose DNS is in order
	to, login  string
	// mayPass and mayRefuse: the recipient may be accepted, and refused for good. All may
	// be put off.
	mayPass, mayRefuse bool
}

var soakKinds = []soakKind{
	{name: "mail to a user", to: soakUser, mayPass: true},
	{name: "a login that relays", to: soakVictim, login: "shin", mayPass: true},
	{name: "a grant that relays", addr: soakGranted, to: soakVictim, mayPass: true, mayRefuse: true},
	{name: "a stranger that relays", to: soakVictim, mayRefuse: true},
	{name: "a client that the table rejects", addr: soakRejected, to: soakUser, mayRefuse: true},
	{name: "a client without a name", addr: soakUnnamed, to: soakUser},
}

// soakRecords are those of all clients, and of the server.
func soakRecords() []string {
	lines := []string{
		harness.Hostname + ". A " + harness.ServerAddr4, "25.113.0.203.in-addr.arpa. PTR " + harness.Hostname + ".",
		"good.example. MX 10 mx8.good.example.", "2.0.0.127.bl.example. A 127.0.0.2", "251.113.0.203.in-addr.arpa. PTR mx251.good.example.",
		"mx251.good.example. A " + soakRejected, "victim.example. A 198.51.100.80",
	}
	for n := 1; n <= soakNamed; n++ {
		if n != 25 {
			lines = append(lines, fmt.Sprintf("%d.113.0.203.in-addr.arpa. PTR mx%d.good.example.", n, n), fmt.Sprintf("mx%d.good.example. A 203.0.113.%d", n, n))
		}
	}
	return lines
}

// errLeft ends a session that the client has left, as it may.
var errLeft = errors.New("left")

// session is one at milterd's own door, with some messages. It is put off if milterd has
// no room.
func (s *soak) session(t *testing.T, random *rand.Rand) {
	t.Helper()
	kind := soakKinds[random.IntN(len(soakKinds))]
	if kind.addr == "" {
		kind.addr = fmt.Sprintf("203.0.113.%d", 26+random.IntN(30))
	}
	s.sessions.Add(1)
	f, err := dialFilter()
	if err != nil {
		s.putOff.Add(1)
		return
	}
	defer f.close()
	if random.IntN(50) == 0 {
		f.conn = inPieces{f.conn}
	}
	if err := f.connect(kind.addr); err != nil {
		t.Errorf("%s: %v", kind.name, err)
		return
	}
	for range 1 + random.IntN(3) {
		if err := s.frames(f, kind, random); errors.Is(err, errLeft) {
			return
		} else if err != nil {
			t.Errorf("%s, %s: %v", kind.name, kind.addr, err)
			return
		}
	}
	_ = f.send('Q', "")
}

// frames is one message.
func (s *soak) frames(f *filterConn, kind soakKind, random *rand.Rand) error {
	from, mailer := []string{"i", "queueid", "{mail_mailer}", "esmtp"}, "local"
	if kind.login != "" {
		from = append(from, "{auth_type}", "PLAIN", "{auth_authen}", kind.login)
	}
	if kind.to == soakVictim {
		mailer = "esmtp"
	}
	var edits string
	for i, step := range []func() (string, error){
		func() (string, error) { return f.ask('M', "<a@good.example>\x00", from...) },
		func() (string, error) {
			return f.ask('R', "<"+kind.to+">\x00", "{rcpt_mailer}", mailer, "{rcpt_host}", "victim.example.", "{rcpt_addr}", kind.to)
		},
		func() (string, error) {
			return f.ask('L', "Received\x00from laptop.lan (["+soakSecret+"])\n\tby inner.lan (8.11.1/8.11.2)\x00")
		},
		func() (answer string, err error) { answer, edits, err = f.endWithEdits(); return answer, err },
	} {
		switch random.IntN(60) {
		case 0:
			return errLeft
		case 1:
			_, _ = f.conn.Write([]byte{0, 0, 0, 9, 'M', '<'})
			return errLeft
		case 2:
			return f.send('A', "")
		}
		answer, err := step()
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		if done, err := s.answer(kind, i, answer); done || err != nil {
			return errors.Join(err, f.send('A', ""))
		}
	}
	s.count(kind.name, "accepted")
	if kind.login != "" && (edits == "" || strings.Contains(edits, soakSecret)) {
		return fmt.Errorf("accepted with the edits %q, expected that they scrub", edits)
	}
	return nil
}

// answer judges that of one step. The message is done if it is not accepted.
func (s *soak) answer(kind soakKind, step int, answer string) (done bool, err error) {
	const recipient = 1
	switch {
	case answer == "accept" && step == recipient && !kind.mayPass:
		return true, errors.New("the recipient is accepted")
	case answer == "accept":
		return false, nil
	case answer[0] == '4' || answer == `answer 't'`:
		s.putOff.Add(1)
		s.count(kind.name, "put off")
		return true, nil
	case answer[0] == '5' && kind.mayRefuse:
		s.count(kind.name, "refused")
		return true, nil
	}
	return true, fmt.Errorf("step %d: %q", step, answer)
}

// endWithEdits ends a message, and returns the edits before the answer.
func (f *filterConn) endWithEdits() (answer, edits string, err error) {
	if err := f.send('D', "Ei\x00queueid\x00"); err != nil {
		return "", "", err
	}
	code, text, err := f.exchange('E', "")
	for err == nil && strings.IndexByte("mih", code) >= 0 {
		edits += text
		var frame []byte
		if frame, err = readFrame(f.conn); err == nil {
			code, text = frame[4], string(frame[5:])
		}
	}
	return f.word(code, text), edits, err
}

// inPieces sends everything in two parts.
type inPieces struct{ net.Conn }

func (c inPieces) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p[:len(p)/2])
	if err != nil {
		return n, err
	}
	m, err := c.Conn.Write(p[n:])
	return n + m, err
}

// correspond has a client of sendmail come again and again. Each second one asks the map
// door as well.
func (s *soak) correspond(t *testing.T, random *rand.Rand, stop <-chan struct{}) {
	t.Helper()
	for {
		select {
		case <-stop:
			return
		default:
		}
		s.mails.Add(1)
		if err := errors.Join(s.visit(random), s.lookUp()); err != nil {
			t.Error(err)
			return
		}
	}
}

// visit is one session with sendmail.
func (s *soak) visit(random *rand.Rand) error {
	conn, err := harness.Dial("203.0.113.8", harness.ServerAddr4+":25")
	if err != nil {
		s.putOff.Add(1)
		return nil
	}
	defer conn.Close()
	reply, err := conn.ReadReply()
	if err == nil && reply.Code == 220 {
		reply, err = conn.Command("EHLO laptop.lan")
	}
	if err != nil || reply.Code/100 != 2 {
		s.putOff.Add(1)
		if reply.Code/100 == 5 {
			return fmt.Errorf("a client is refused: %s", reply.First())
		}
		return nil
	}
	for range 1 + random.IntN(3) {
		if err := s.mail(conn, random); errors.Is(err, errLeft) {
			return nil
		} else if err != nil {
			return err
		}
	}
	_, _ = conn.Command("QUIT")
	return nil
}

// mail is one message to a user or to the victim.
func (s *soak) mail(conn *harness.Conn, random *rand.Rand) error {
	to := soakUser
	if random.IntN(3) == 0 {
		forms := []string{soakVictim, "x%victim.example@example.test", "victim.example!x", "@example.test:x@victim.example", `"x@victim.example"@example.test`}
		to = forms[random.IntN(len(forms))]
	}
	lines := []string{"MAIL FROM:<a@good.example>", "RCPT TO:<" + to + ">", "DATA", "Subject: soak\r\n\r\nHello\r\n."}
	for i, line := range lines {
		switch n := random.IntN(40); {
		case n == 0:
			return errLeft
		case n == 1:
			_ = conn.Send(line)
			return errLeft
		case n == 2 && i < 3: // within the message it would be text
			_, _ = conn.Command("RSET")
			return nil
		}
		reply, err := conn.Command(line)
		switch {
		case err != nil:
			return fmt.Errorf("%q: %w", line, err)
		case reply.Code/100 == 4:
			s.putOff.Add(1)
			_, _ = conn.Command("RSET")
			return nil
		case reply.Code/100 == 5 && to == soakUser:
			return fmt.Errorf("%q is refused for good: %s", line, reply.First())
		case reply.Code/100 == 5:
			_, _ = conn.Command("RSET")
			return nil
		case i == 1 && to != soakUser:
			return fmt.Errorf("%q is accepted: %s", line, reply.First())
		case i == 3:
			s.mu.Lock()
			s.taken[strings.Fields(reply.First())[2]] = true
			s.mu.Unlock()
		}
	}
	return nil
}

// lookUp asks the map door of the client that the table rejects. There may be no room.
func (s *soak) lookUp() error {
	conn, err := dialSlowly(mapSocket)
	if err != nil {
		return nil
	}
	defer conn.Close()
	const request = "access connect:" + soakRejected
	if _, err := fmt.Fprintf(conn, "%d:%s,", len(request), request); err != nil {
		return nil
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if got := string(answer[:n]); err == nil && got != "9:OK REJECT," && !strings.Contains(got, ":TEMP ") {
		return fmt.Errorf("the map door answers %q", got)
	}
	return nil
}

// halfAFrame is what a client that stalls has sent to each door.
var halfAFrame = map[string]string{
	harness.Socket:              string(binary.BigEndian.AppendUint32(nil, 13)) + "O\x00",
	mapSocket:                   "40:access conn",
	"/run/milterd/control.sock": "PUT /grants/203.0.113.9 HTTP/1.1\r\nHost: a",
	"127.0.0.1:" + statusPort:   "GET /metrics HTTP/1.1\r\nX: ",
}
