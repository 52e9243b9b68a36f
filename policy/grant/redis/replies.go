package redis

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The bounds of one reply of the server. A page of keys has some hundreds of elements,
// the addresses of a user are ten thousand at most.
const (
	maxReply    = 4 << 20 // octets in all
	maxString   = 64 << 10
	maxElements = 64 << 10
	maxDepth    = 4
	maxLine     = 1024
)

// errReply: the server sent what no Redis does.
var errReply = errors.New("the server does not speak RESP2, or a reply is too long")

// replies checks what the server says (RESP2, the serialization protocol of Redis) before
// go-redis sees it: the library makes room for whatever length it reads, and follows
// nested replies without a bound, which ends the process. It does so on goroutines of its
// own, too, where no panic can be recovered.
type replies struct {
	net.Conn
	// line is the beginning of a line whose end has not come.
	line []byte
	// rest is what has yet to come of a string, its line end included.
	rest int
	// open are the elements that have yet to come of each array, the outermost first.
	open []int
	// size is what has come of the reply.
	size int
	// sentinel: it speaks RESP3, as go-redis asks Sentinels to, and so has maps and pushes.
	sentinel bool
}

var _ syscall.Conn = (*replies)(nil)

// SyscallConn lets go-redis see that an idle connection has been closed.
func (r *replies) SyscallConn() (syscall.RawConn, error) {
	if conn, ok := r.Conn.(syscall.Conn); ok {
		return conn.SyscallConn()
	}
	return nil, errors.New("a TLS connection") // of which go-redis does not ask more
}

// Read reads what has been checked. After an error go-redis closes the connection.
func (r *replies) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if bad := r.check(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// check goes on with the replies where it was.
func (r *replies) check(p []byte) error {
	for len(p) > 0 {
		if r.rest > 0 {
			n := min(r.rest, len(p))
			r.rest, p = r.rest-n, p[n:]
			if r.rest == 0 {
				r.finish()
			}
			continue
		}
		head, tail, whole := bytes.Cut(p, []byte{'\n'})
		if len(r.line)+len(head) > maxLine {
			return fmt.Errorf("%w: a line of more than %d octets", errReply, maxLine)
		}
		r.line = append(r.line, head...)
		if !whole {
			return nil
		}
		if err := r.begin(); err != nil {
			return err
		}
		r.line, p = r.line[:0], tail
	}
	return nil
}

// begin takes the first line of an element.
func (r *replies) begin() error {
	line, ok := bytes.CutSuffix(r.line, []byte{'\r'})
	if !ok || len(line) == 0 {
		return fmt.Errorf("%w: a line that does not end", errReply)
	}
	kind, n := line[0], int64(0)
	if kind != '+' && kind != '-' {
		var err error
		if n, err = strconv.ParseInt(string(line[1:]), 10, 64); err != nil {
			return fmt.Errorf("%w: %.20q", errReply, line)
		}
	}
	r.size += len(r.line) + 1
	if r.sentinel && (kind == '%' || kind == '>') {
		if kind == '%' {
			n = min(2*n, maxElements+1)
		}
		kind = '*'
	}
	switch {
	case kind == '+' || kind == '-' || kind == ':', (kind == '$' || kind == '*') && n == -1, kind == '*' && n == 0:
		r.finish()
	case kind == '$' && n >= 0 && n <= maxString:
		r.rest = int(n) + len("\r\n")
		r.size += r.rest
	case kind == '*' && n > 0 && n <= maxElements && len(r.open) < maxDepth:
		r.open = append(r.open, int(n))
	default:
		return fmt.Errorf("%w: %.20q", errReply, line)
	}
	if r.size > maxReply {
		return fmt.Errorf("%w: more than %d octets", errReply, maxReply)
	}
	return nil
}

// finish ends an element, and the arrays of which it is the last.
func (r *replies) finish() {
	for last := len(r.open) - 1; last >= 0; last-- {
		if r.open[last]--; r.open[last] > 0 {
			return
		}
		r.open = r.open[:last]
	}
	r.size = 0
}

// dialer connects to an address: a path is that of a unix socket. With a configuration of
// TLS connections are encrypted. sentinels are the addresses of Sentinels.
func dialer(config *tls.Config, sentinels []string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var plain net.Dialer
		if strings.HasPrefix(address, "/") {
			network = "unix"
		}
		conn, err := plain.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if config == nil {
			return &replies{Conn: conn, sentinel: slices.Contains(sentinels, address)}, nil
		}
		own := config.Clone()
		if own.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		secure := tls.Client(conn, own)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return &replies{Conn: secure, sentinel: slices.Contains(sentinels, address)}, nil
	}
}
