package attack

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"milterd/integration/testkit"
)

// delivery is one recipient that sendmail has sent a message for.
type delivery struct {
	host string // address of the mail host
	rcpt string // the argument of RCPT
	mark string // the message's field X-Attack, empty for what sendmail itself has written
	text string // the message
}

// sinks are mail hosts that take everything, as sendmail writes it.
type sinks struct {
	mu      sync.Mutex
	arrived []delivery
}

// startSinks starts a mail host at each address. They end with the test; sendmail closes the
// connections when it is done.
func startSinks(t *testing.T, hosts ...string) *sinks {
	t.Helper()
	s := new(sinks)
	for _, host := range hosts {
		testkit.Serve(t, "tcp", net.JoinHostPort(host, "25"), func(conn net.Conn) { s.talk(conn, host) })
	}
	return s
}

func (s *sinks) taken() []delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]delivery(nil), s.arrived...)
}

// talk serves one connection.
func (s *sinks) talk(conn net.Conn, host string) {
	in := bufio.NewReader(conn)
	var rcpts []string
	answer := "220 sink ESMTP"
	for {
		if _, err := fmt.Fprintf(conn, "%s\r\n", answer); err != nil {
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		answer = "250 2.0.0 OK"
		switch verb, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " "); strings.ToUpper(verb) {
		case "MAIL", "RSET", "EHLO", "HELO":
			rcpts = nil
		case "RCPT":
			rcpts = append(rcpts, rest)
		case "DATA":
			if _, err := fmt.Fprint(conn, "354 go on\r\n"); err != nil {
				return
			}
			mark, text, err := readMessage(in)
			if err != nil {
				return
			}
			s.mu.Lock()
			for _, rcpt := range rcpts {
				s.arrived = append(s.arrived, delivery{host, rcpt, mark, text})
			}
			s.mu.Unlock()
		case "QUIT":
			_, _ = fmt.Fprint(conn, "221 2.0.0 bye\r\n")
			return
		}
	}
}

// readMessage reads a message to its end, and finds the field X-Attack of its header.
func readMessage(in *bufio.Reader) (mark, text string, err error) {
	body := false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "." {
			return mark, text, nil
		}
		text += line + "\n"
		body = body || line == ""
		if value, ok := strings.CutPrefix(line, "X-Attack: "); ok && !body {
			mark = value
		}
	}
}
