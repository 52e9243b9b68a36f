package integration_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"time"

	"milterd/integration/harness"
)

// frameTimeout bounds one exchange with milterd.
const frameTimeout = 30 * time.Second

// filterConn speaks the milter protocol as sendmail does, frame by frame, so
// that thousands of sessions fit into one process.
type filterConn struct {
	conn net.Conn
	// silent holds the commands that milterd asked not to answer, or not to get.
	silent map[byte]bool
}

// What an MTA can do and offers: every action and every protocol step of
// version 6.
const (
	milterVersion = 6
	allActions    = 0x1ff
	allSteps      = 0x1fffff
)

// The protocol bits by which a filter says that it does not answer a command,
// or does not want it.
var silentBits = map[byte]uint32{'C': 1<<12 | 1<<0, 'H': 1<<13 | 1<<1, 'M': 1<<14 | 1<<2, 'R': 1<<15 | 1<<3, 'L': 1<<7 | 1<<5}

// dialFilter connects to milterd and negotiates.
func dialFilter() (*filterConn, error) {
	conn, err := net.Dial("unix", harness.Socket)
	if err != nil {
		return nil, err
	}
	f := &filterConn{conn: conn, silent: make(map[byte]bool)}
	offer := binary.BigEndian.AppendUint32(nil, milterVersion)
	offer = binary.BigEndian.AppendUint32(offer, allActions)
	offer = binary.BigEndian.AppendUint32(offer, allSteps)
	code, data, err := f.exchange('O', string(offer))
	if err == nil && (code != 'O' || len(data) < 12) {
		err = fmt.Errorf("negotiate: got %q", code)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	steps := binary.BigEndian.Uint32([]byte(data[8:]))
	for command, bits := range silentBits {
		f.silent[command] = steps&bits != 0
	}
	return f, nil
}

func (f *filterConn) close() { _ = f.conn.Close() }

// send writes one frame.
func (f *filterConn) send(code byte, data string) error {
	if err := f.conn.SetDeadline(time.Now().Add(frameTimeout)); err != nil {
		return err
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(1+len(data)))
	_, err := f.conn.Write(append(append(frame, code), data...))
	return err
}

// exchange writes one frame and reads the answer.
func (f *filterConn) exchange(code byte, data string) (byte, string, error) {
	if err := f.send(code, data); err != nil {
		return 0, "", err
	}
	frame, err := readFrame(f.conn)
	if err != nil {
		return 0, "", fmt.Errorf("answer to %q: %w", code, err)
	}
	return frame[4], string(frame[5:]), nil
}

// ask sends a command with its macros, and returns the answer as a word: accept,
// the text of a reply, or the code.
func (f *filterConn) ask(command byte, data string, macros ...string) (string, error) {
	if err := f.send('D', string(command)+strings.Join(append(macros, ""), "\x00")); err != nil {
		return "", err
	}
	if f.silent[command] {
		return "accept", f.send(command, data)
	}
	code, text, err := f.exchange(command, data)
	if err != nil {
		return "", err
	}
	return f.word(code, text), nil
}

// word is an answer as a word.
func (f *filterConn) word(code byte, text string) string {
	switch code {
	case 'c', 'a':
		return "accept"
	case 'y':
		return strings.TrimSuffix(text, "\x00")
	}
	return fmt.Sprintf("answer %q", code)
}

// connect reports a client with a confirmed name.
func (f *filterConn) connect(addr string) error {
	const name = "host.good.example"
	answer, err := f.ask('C', name+"\x004\x00\x19"+addr+"\x00",
		"{client_resolve}", "OK", "{client_name}", name, "{client_ptr}", name, "{daemon_name}", "MTA", "{daemon_port}", "25")
	if err == nil && answer == "accept" {
		answer, err = f.ask('H', name+"\x00")
	}
	if err == nil && answer != "accept" {
		err = fmt.Errorf("connection of %s: %s", addr, answer)
	}
	return err
}

// mail, rcpt and end report the steps of a message.
func (f *filterConn) mail(from string) (string, error) {
	return f.ask('M', "<"+from+">\x00", "i", "queueid", "{mail_mailer}", "esmtp", "{mail_addr}", from)
}

func (f *filterConn) rcpt(to string) (string, error) {
	return f.ask('R', "<"+to+">\x00", "{rcpt_mailer}", "local", "{rcpt_addr}", to)
}

func (f *filterConn) end() (string, error) { return f.ask('E', "", "i", "queueid") }

// message goes through one message to a local recipient; the answer is the
// first that does not accept.
func (f *filterConn) message() (string, error) {
	for _, step := range []func() (string, error){
		func() (string, error) { return f.mail("a@good.example") },
		func() (string, error) { return f.rcpt("shin@example.test") },
		f.end,
	} {
		answer, err := step()
		if err != nil || answer != "accept" {
			return answer, err
		}
	}
	return "accept", nil
}

// session is a whole session of one client with one message.
func session(addr string) (string, error) {
	f, err := dialFilter()
	if err != nil {
		return "", err
	}
	defer f.close()
	if err := f.connect(addr); err != nil {
		return "", err
	}
	answer, err := f.message()
	if err != nil {
		return "", err
	}
	return answer, f.send('Q', "")
}
