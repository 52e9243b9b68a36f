package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"milterd/policy/grant"
)

// maxAnswer bounds what is read of an answer for people, in octets.
const maxAnswer = 4096

// Client asks a running milterd by its control socket.
type Client struct{ http http.Client }

// Refusal is the answer to a request that was not carried out.
type Refusal struct {
	// Text is what the server says of it.
	Text string
}

func (r *Refusal) Error() string { return r.Text }

// NewClient makes a client for the unix socket at path. It connects with each request.
func NewClient(path string) *Client {
	var dialer net.Dialer
	return &Client{http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
	}}}
}

// Grant makes or renews a grant for an address; user may be empty. It returns
// what the server says about it, such as "granted 203.0.113.8 until …".
func (c *Client) Grant(ctx context.Context, addr netip.Addr, user string) (string, error) {
	return c.change(ctx, http.MethodPut, "/"+addr.String(), user)
}

// Revoke ends the grant of an address. That it has none is a Refusal.
func (c *Client) Revoke(ctx context.Context, addr netip.Addr) (string, error) {
	return c.change(ctx, http.MethodDelete, "/"+addr.String(), "")
}

// RevokeUser ends all grants of a user. That there are none is a Refusal.
func (c *Client) RevokeUser(ctx context.Context, user string) (string, error) {
	return c.change(ctx, http.MethodDelete, "", user)
}

func (c *Client) change(ctx context.Context, method, path, user string) (string, error) {
	if user != "" {
		path += "?" + url.Values{"user": {user}}.Encode()
	}
	return c.line(ctx, method, "/grants"+path)
}

// line sends a request whose answer is a line for people.
func (c *Client) line(ctx context.Context, method, path string) (string, error) {
	body, err := c.do(ctx, method, path)
	if err != nil {
		return "", err
	}
	defer body.Close()
	return line(body)
}

// List calls fn for each grant, in no order, as they arrive. An error after that
// says that there may be more.
func (c *Client) List(ctx context.Context, fn func(grant.Grant)) error {
	return c.lines(ctx, "/grants", "relay grants", func(line []byte) error {
		var g grant.Grant
		// A list that breaks off ends with a part of a line, which is no grant.
		if err := json.Unmarshal(line, &g); err != nil || !g.Addr.IsValid() {
			return fmt.Errorf("%.64q is not a grant", line)
		}
		fn(g)
		return nil
	})
}

// lines asks for the list at a path, of what, and calls fn for each of its lines.
func (c *Client) lines(ctx context.Context, path, what string, fn func(line []byte) error) error {
	body, err := c.do(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	for lines.Scan() && lines.Err() == nil {
		if err := fn(lines.Bytes()); err != nil {
			return fmt.Errorf("list of %s: %w", what, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("list of %s: %w", what, err)
	}
	return nil
}

// do sends a request and returns the body of an answer that is none of an error.
func (c *Client) do(ctx context.Context, method, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://milterd"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if failed := new(net.OpError); errors.As(err, &failed) && failed.Op == "dial" {
		hint := "is milterd running?"
		if errors.Is(err, fs.ErrPermission) {
			hint = "run this as root"
		}
		return nil, fmt.Errorf("connect to the control socket: %w; %s", failed, hint)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	text, err := line(response.Body)
	if err != nil {
		return nil, err
	}
	return nil, &Refusal{Text: text}
}

// line reads an answer for people.
func line(body io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("answer of the control socket: %w", err)
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}
