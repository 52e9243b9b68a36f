package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"time"

	"milterd/policy/printable"
)

// maxReply bounds the octets of one reply. RFC 5321 allows lines of 512.
const maxReply = 64 << 10

var (
	// errFlood says that a server would not stop talking.
	errFlood = fmt.Errorf("a reply of more than %d octets", maxReply)
	// errUnasked says that a server talks out of turn, so that its replies can no longer be
	// told apart.
	errUnasked = errors.New("more replies than commands")
)

// Reply is one SMTP reply.
type Reply struct {
	Code int
	// Text is the reply without its code, lines joined by LF.
	Text string
}

// String is the reply on one line, cut to what a table has room for.
func (r Reply) String() string {
	text := fmt.Sprintf("%03d %s", r.Code, strings.ReplaceAll(r.Text, "\n", " / "))
	return shown(text)
}

// conversation is one SMTP connection.
type conversation struct {
	conn    net.Conn
	text    *textproto.Conn
	budget  *io.LimitedReader
	timeout time.Duration
	// greeting is the reply to the connection itself, ehlo the one to EHLO.
	greeting, ehlo Reply
	// tls is nil before TLS.
	tls *tls.ConnectionState
	// release ends the watch over the time that the probe of the port may take.
	release func() bool
}

// dial connects and reads the greeting. The connection ends with the context, in whatever
// reply.
func dial(ctx context.Context, o Options, address string, implicit bool) (*conversation, error) {
	conn, err := o.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &conversation{timeout: o.Timeout, release: context.AfterFunc(ctx, func() { _ = conn.Close() })}
	c.use(conn)
	if implicit {
		err = c.beginTLS()
	}
	if err == nil {
		c.greeting, err = c.reply()
	}
	if err == nil && c.greeting.Code != 220 {
		err = unwelcome(c.greeting)
	}
	if err != nil {
		c.hangUp()
		return nil, err
	}
	return c, nil
}

func (c *conversation) use(conn net.Conn) {
	c.conn = conn
	c.budget = &io.LimitedReader{R: conn}
	c.text = textproto.NewConn(struct {
		io.Reader
		io.Writer
		io.Closer
	}{c.budget, conn, conn})
}

// reply reads one reply within the time and the size that one may have.
func (c *conversation) reply() (Reply, error) {
	c.budget.N = maxReply
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return Reply{}, err
	}
	code, text, err := c.text.ReadResponse(0)
	if protocol := new(textproto.Error); errors.As(err, &protocol) {
		return Reply{protocol.Code, protocol.Msg}, nil
	}
	switch {
	case err == nil:
		return Reply{code, text}, nil
	case c.budget.N <= 0:
		return Reply{}, errFlood
	}
	return Reply{}, fmt.Errorf("read reply: %w", err)
}

// unwelcome is the error of a greeting that is none. sendmail counts the connections of
// the last minute (FEATURE(`ratecontrol')), and those open (conncontrol).
func unwelcome(greeting Reply) error {
	cure := ""
	if limit := strings.ToLower(greeting.Text); greeting.Code == 421 && (strings.Contains(limit, "rate limit") || strings.Contains(limit, "too many open connections")) {
		cure = "; wait a minute, or have the server count no connections of this host (ClientRate:ADDRESS 0 and ClientConn:ADDRESS 0 in its access table)"
	}
	return fmt.Errorf("the greeting is %s%s", greeting, cure)
}

// command sends one line as it is and reads the reply.
func (c *conversation) command(line string) (Reply, error) {
	if c.text.R.Buffered() > 0 {
		return Reply{}, errUnasked
	}
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return Reply{}, err
	}
	if _, err := c.text.W.WriteString(line + "\r\n"); err != nil {
		return Reply{}, err
	}
	if err := c.text.W.Flush(); err != nil {
		return Reply{}, err
	}
	return c.reply()
}

// hello introduces the probe.
func (c *conversation) hello() error {
	var reply Reply
	for _, verb := range []string{"EHLO ", "HELO "} {
		var err error
		if reply, err = c.command(verb + ehloName); err != nil {
			return err
		}
		if reply.Code == 250 {
			c.ehlo = reply
			return nil
		}
	}
	return fmt.Errorf("HELO is answered by %s", reply)
}

// ehloName is what the probe calls itself. It is nobody's name (RFC 2606).
const ehloName = "relay-probe.example"

// extension is the line of the EHLO reply for a keyword, ok if there is one.
func (c *conversation) extension(keyword string) (args string, ok bool) {
	for i, line := range strings.Split(c.ehlo.Text, "\n") {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if i > 0 && strings.EqualFold(word, keyword) {
			return rest, true
		}
	}
	return "", false
}

// startTLS sends STARTTLS and begins TLS.
func (c *conversation) startTLS() error {
	reply, err := c.command("STARTTLS")
	if err != nil {
		return err
	}
	if reply.Code != 220 {
		return fmt.Errorf("STARTTLS is answered by %s", reply)
	}
	if err := c.beginTLS(); err != nil {
		return err
	}
	return c.hello()
}

// beginTLS takes any certificate and any version: what the server has is reported, and
// nothing secret is said to it that the administrator has not given.
func (c *conversation) beginTLS() error {
	secure := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10})
	if err := secure.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	if err := secure.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	state := secure.ConnectionState()
	c.use(secure)
	c.tls = &state
	return nil
}

// close says goodbye and hangs up.
func (c *conversation) close() {
	if c.conn.SetDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = c.conn.Write([]byte("QUIT\r\n"))
	}
	c.hangUp()
}

// hangUp closes the connection.
func (c *conversation) hangUp() {
	c.release()
	_ = c.conn.Close()
}

// shown is text of a server fit to be printed, shortened if it is long.
func shown(text string) string { return printable.Short(text, 300, "…") }
