package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// What sendmail 8.17 offers in OPTNEG: SMFI_CURR_ACTS and SMFI_CURR_PROT.
const (
	offeredActions = 0x1ff
	offeredSteps   = 0x1fffff
)

// stepNoHeaders is the bit of OPTNEG that waives the header fields (SMFIP_NOHDRS).
const stepNoHeaders = 0x20

// clients is how many addresses sessions come from.
const clients = 200

// patience is how long an answer may take.
const patience = 20 * time.Second

// options are the bits of a filter's answer to OPTNEG.
type options struct{ actions, steps uint32 }

// script is one SMTP session as the frames that sendmail sends: groups of frames, and an
// answer is awaited after each group.
type script [][][]byte

// frame makes a frame; the strings are ended by NUL.
func frame(command byte, data string, texts ...string) []byte {
	f := append(make([]byte, 4, 64), command)
	f = append(f, data...)
	for _, text := range texts {
		f = append(append(f, text...), 0)
	}
	binary.BigEndian.PutUint32(f, uint32(len(f)-4))
	return f
}

func negotiation() []byte {
	f := binary.BigEndian.AppendUint32(frame('O', ""), 6)
	f = binary.BigEndian.AppendUint32(f, offeredActions)
	f = binary.BigEndian.AppendUint32(f, offeredSteps)
	binary.BigEndian.PutUint32(f, uint32(len(f)-4))
	return f
}

// fields are the header of the message.
var fields = [12][2]string{
	{"Received", "from mx.good.example (mx.good.example [203.0.113.5])\n\tby relay.good.example (8.17.1.9/8.17.1.9) with ESMTPS id 5AME0000012345\n\tfor <shin@our.example>; Fri, 27 Nov 2026 23:40:18 +0100"},
	{"Received", "from laptop.lan ([192.168.0.77])\n\tby mx.good.example (8.17.1.9/8.17.1.9) with ESMTPSA id 5AME0000054321;\n\tFri, 27 Nov 2026 23:40:17 +0100"},
	{"Date", "Fri, 27 Nov 2026 23:40:16 +0100"}, {"From", "A <a@good.example>"}, {"To", "shin@our.example"},
	{"Cc", "info@our.example"}, {"Subject", "a message with twelve fields"}, {"Message-ID", "<5AME.12345@good.example>"},
	{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "8bit"}, {"X-Mailer", "none"},
}

// client is the address and the name of a client.
func client(n int) (addr, name string) {
	return fmt.Sprintf("203.0.113.%d", n%clients+1), fmt.Sprintf("mx%d.good.example", n%clients+1)
}

// newScript is a session of the n-th client with a filter that has chosen options.
func newScript(n int, o options) script {
	addr, name := client(n)
	queue := fmt.Sprintf("5AME%010d", n)
	rcpt := func(user string) [][]byte {
		return [][]byte{frame('D', "R", "{rcpt_mailer}", "local", "{rcpt_addr}", user), frame('R', "", "<"+user+"@our.example>")}
	}
	end := [][]byte{}
	if o.steps&stepNoHeaders == 0 {
		for _, f := range fields {
			end = append(end, frame('L', "", f[0], f[1]))
		}
	}
	return script{
		{negotiation()},
		{
			frame('D', "C", "i", queue, "{client_addr}", addr, "{client_name}", name, "{client_ptr}", name, "{client_resolve}", "OK",
				"{daemon_name}", "MTA-v4", "{daemon_port}", "25", "{daemon_addr}", "203.0.113.250", "{daemon_flags}", ""),
			frame('C', "", name, "4\x9c\x40"+addr),
			frame('D', "H", "{verify}", "NONE"), frame('H', "", name),
			frame('D', "M", "i", queue, "{mail_mailer}", "esmtp", "{mail_host}", "good.example.", "{mail_addr}", "a@good.example"),
			frame('M', "", "<a@good.example>", "SIZE=1000", "BODY=8BITMIME"),
		},
		rcpt("shin"), rcpt("info"),
		append(end, frame('D', "E", "i", queue), frame('E', "")),
	}
}

// conn is a connection of the MTA to a filter.
type conn struct {
	net.Conn
	in *bufio.Reader
}

func dial(socket string) (*conn, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &conn{c, bufio.NewReaderSize(c, 1024)}, nil
}

// send sends each frame by itself, as sendmail does.
func (c *conn) send(frames [][]byte) error {
	for _, f := range frames {
		if _, err := c.Write(f); err != nil {
			return err
		}
	}
	return nil
}

// answer reads a frame. Its data is valid until the next.
func (c *conn) answer() (command byte, data []byte, err error) {
	head, err := c.in.Peek(4)
	if err != nil {
		return 0, nil, err
	}
	n := 4 + int(binary.BigEndian.Uint32(head))
	f, err := c.in.Peek(n)
	if err != nil {
		return 0, nil, err
	}
	_, err = c.in.Discard(n)
	return f[4], f[5:], err
}

// errRefused is what a session ends with that a filter does not accept.
var errRefused = errors.New("expected that it accepts")

// play sends a session, and checks that all of it is accepted.
func (c *conn) play(s script) error {
	for i, frames := range s {
		if err := c.send(frames); err != nil {
			return err
		}
		command, data, err := c.answer()
		if err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		if i > 0 && command != 'c' && command != 'a' {
			return fmt.Errorf("answer %d is %q, %w", i, append([]byte{command}, data...), errRefused)
		}
	}
	return nil
}

// negotiated asks a filter for its options.
func negotiated(socket string) (options, error) {
	c, err := dial(socket)
	if err != nil {
		return options{}, err
	}
	defer c.Close()
	if err := c.send([][]byte{negotiation()}); err != nil {
		return options{}, err
	}
	command, data, err := c.answer()
	if err != nil {
		return options{}, err
	}
	if command != 'O' || len(data) < 12 {
		return options{}, fmt.Errorf("answer to OPTNEG: %q", append([]byte{command}, data...))
	}
	return options{binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])}, nil
}

var quit = [][]byte{frame('Q', "")}

// session is one SMTP session on a filter connection of its own, as sendmail has it.
func session(socket string, s script) error {
	c, err := dial(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.play(s); err != nil {
		return err
	}
	if err := c.send(quit); err != nil {
		return err
	}
	// What a filter does at the end of a session belongs to its cost.
	if _, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after QUIT: %v, expected that the filter closes", err)
	}
	return nil
}

// load runs sessions, so many at a time, and returns how long they took.
func load(socket string, scripts []script, sessions, atOnce int) (time.Duration, error) {
	var next atomic.Int64
	var working sync.WaitGroup
	errs := make([]error, atOnce)
	began := time.Now()
	for i := range atOnce {
		working.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= sessions {
					return
				}
				errs[i] = session(socket, scripts[n%len(scripts)])
			}
		})
	}
	working.Wait()
	return time.Since(began), errors.Join(errs...)
}

// idle opens connections as far as an SMTP client that has said HELO, and nothing more.
func idle(socket string, scripts []script, n int) (closeAll func(), err error) {
	var open []*conn
	closeAll = func() {
		for _, c := range open {
			c.Close()
		}
	}
	for i := range n {
		c, err := dial(socket)
		if err == nil {
			open = append(open, c)
			s := scripts[i%len(scripts)]
			if err = c.play(s[:1]); err == nil {
				err = c.send(s[1][:4])
			}
		}
		if err != nil {
			closeAll()
			return nil, err
		}
	}
	return closeAll, nil
}
