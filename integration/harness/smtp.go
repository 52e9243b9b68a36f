package harness

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// replyTimeout bounds how long a client waits for a reply.
const replyTimeout = 60 * time.Second

// Reply is an SMTP reply of one or more lines.
type Reply struct {
	Code  int
	Lines []string // without the code
}

// String is the reply as it stood on the wire, lines joined by LF.
func (r Reply) String() string {
	lines := make([]string, len(r.Lines))
	for i, line := range r.Lines {
		separator := "-"
		if i == len(r.Lines)-1 {
			separator = " "
		}
		lines[i] = fmt.Sprintf("%03d%s%s", r.Code, separator, line)
	}
	return strings.Join(lines, "\n")
}

// First is the first line of the reply, code included.
func (r Reply) First() string {
	if len(r.Lines) == 0 {
		return ""
	}
	return fmt.Sprintf("%03d %s", r.Code, r.Lines[0])
}

// Conn is one SMTP conversation, seen from the client. It sends what it is
// told and never anything else.
type Conn struct {
	conn net.Conn
	text *textproto.Conn
}

// Dial connects from a client address to a server's address and port. An
// address without port uses any.
func Dial(from, to string) (*Conn, error) {
	local, err := clientAddr(from)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), replyTimeout)
	defer cancel()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local)}
	conn, err := dialer.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: conn, text: textproto.NewConn(conn)}, nil
}

// clientAddr reads ADDR or ADDR:PORT.
func clientAddr(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(addr, 0), nil
	}
	return netip.ParseAddrPort(s)
}

// reverseName is the name that holds the PTR record of an address.
func reverseName(addr string) string {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return ""
	}
	return name
}

// ReadReply waits for a reply.
func (c *Conn) ReadReply() (Reply, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(replyTimeout)); err != nil {
		return Reply{}, err
	}
	code, message, err := c.text.ReadResponse(0)
	// The code is compared by the caller; textproto calls every one an error.
	if protocol := new(textproto.Error); errors.As(err, &protocol) {
		code, message, err = protocol.Code, protocol.Msg, nil
	}
	if err != nil {
		return Reply{}, fmt.Errorf("read reply: %w", err)
	}
	return Reply{Code: code, Lines: strings.Split(message, "\n")}, nil
}

// Send sends one line.
func (c *Conn) Send(line string) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	if _, err := c.text.W.WriteString(line + "\r\n"); err != nil {
		return err
	}
	return c.text.W.Flush()
}

// Command sends one line and waits for the reply.
func (c *Conn) Command(line string) (Reply, error) {
	if err := c.Send(line); err != nil {
		return Reply{}, err
	}
	return c.ReadReply()
}

// StartTLS sends STARTTLS and, if the server is ready, begins TLS. The
// server's certificate is not checked: its name is not tested here.
func (c *Conn) StartTLS() (Reply, error) {
	reply, err := c.Command("STARTTLS")
	if err != nil || reply.Code != 220 {
		return reply, err
	}
	secure := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
	if err := secure.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return reply, err
	}
	if err := secure.Handshake(); err != nil {
		return reply, fmt.Errorf("TLS handshake: %w", err)
	}
	c.conn, c.text = secure, textproto.NewConn(secure)
	return reply, nil
}

// Close hangs up without QUIT.
func (c *Conn) Close() error { return c.conn.Close() }
