package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"milterd/policy/grant"
)

// maxAnswer is the longest line of an answer that a Client takes.
const maxAnswer = 4096

// Client is a connection to the control socket of a running milterd. It is for
// one goroutine. After an error that is not a Refusal it is of no more use.
type Client struct {
	conn net.Conn
	in   *bufio.Reader
}

// Refusal is the answer to a command that was not carried out.
type Refusal struct {
	// Text is what the server says of it.
	Text string
}

// Error is the text.
func (r *Refusal) Error() string { return r.Text }

// Dial connects to the unix socket at path.
func Dial(ctx context.Context, path string) (*Client, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to the control socket: %w", err)
	}
	return &Client{conn: conn, in: bufio.NewReaderSize(conn, maxAnswer)}, nil
}

// Close hangs up.
func (c *Client) Close() error { return c.conn.Close() }

// Grant makes or renews a grant for an address; user may be empty. It returns
// what the server says about it, such as "granted 203.0.113.8 until …".
func (c *Client) Grant(ctx context.Context, addr netip.Addr, user string) (string, error) {
	if !addr.IsValid() {
		return "", errors.New("grant: no address")
	}
	return c.do(ctx, command{verb: verbGrant, addr: addr.Unmap(), user: user}, nil)
}

// Revoke ends the grant of an address. That it has none is a Refusal.
func (c *Client) Revoke(ctx context.Context, addr netip.Addr) (string, error) {
	if !addr.IsValid() {
		return "", errors.New("revoke: no address")
	}
	return c.do(ctx, command{verb: verbRevoke, addr: addr.Unmap()}, nil)
}

// RevokeUser ends all grants of a user. That he has none is a Refusal.
func (c *Client) RevokeUser(ctx context.Context, user string) (string, error) {
	if user == "" {
		return "", errors.New("revoke-user: no name")
	}
	return c.do(ctx, command{verb: verbRevokeUser, user: user}, nil)
}

// List calls fn for each grant, in no order, as they arrive. An error after that
// says that there may be more.
func (c *Client) List(ctx context.Context, fn func(grant.Grant)) error {
	n := 0
	answer, err := c.do(ctx, command{verb: verbList}, func(line string) error {
		g, err := parseGrantLine(line)
		if err == nil {
			n++
			fn(g)
		}
		return err
	})
	if err == nil && answer != grants(n) {
		return fmt.Errorf("list: the answer ends with %q after %s", answer, grants(n))
	}
	return err
}

// do sends a command and reads its answer, up to the end of ctx. data gets the
// lines before the last.
func (c *Client) do(ctx context.Context, command command, data func(line string) error) (string, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer, err := c.exchange(command, data)
	if refusal := new(Refusal); err != nil && !errors.As(err, &refusal) {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return "", fmt.Errorf("%s: %w", command.verb, err)
	}
	return answer, err
}

func (c *Client) exchange(command command, data func(line string) error) (string, error) {
	line := command.String() + "\n"
	if len(line) > maxLine {
		return "", fmt.Errorf("the command has %d bytes, the limit is %d", len(line), maxLine)
	}
	// Where the server hangs up at once, it says why: that can still be read.
	_, writeErr := io.WriteString(c.conn, line)
	for {
		raw, err := c.in.ReadSlice('\n')
		switch {
		case err != nil && writeErr != nil:
			return "", writeErr
		case errors.Is(err, io.EOF):
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
		line := strings.TrimSuffix(string(raw), "\n")
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "ok":
			return rest, nil
		case word == "error":
			return "", &Refusal{Text: rest}
		case data == nil:
			return "", fmt.Errorf("%s is not an answer", shorten(line))
		}
		if err := data(line); err != nil {
			return "", err
		}
	}
}
