package dnscheck

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the size of a datagram that passes everywhere unfragmented; a
	// longer answer comes over TCP (the value of the DNS flag day 2020).
	udpSize = 1232
	// readSize is what a datagram is read into: some servers exceed udpSize.
	readSize = 4096
	// headerBytes is the length of a message's header.
	headerBytes = 12
)

var errMalformed = errors.New("malformed answer")

// ask puts one question to one server: over UDP, and over TCP if the answer was
// truncated. Some firewalls drop queries with EDNS: a further attempt is without.
// Its error is a time-out or some other failure of the network.
func (c *Client) ask(ctx context.Context, s *server, q Question, edns bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.TryTimeout)
	defer cancel()
	reply, err := c.askUDP(ctx, s, q, edns)
	if err == nil && edns && dislikesEDNS(reply) {
		edns = false
		reply, err = c.askUDP(ctx, s, q, edns)
	}
	if err == nil && reply.Truncated {
		reply, err = c.askTCP(ctx, s, q, edns)
	}
	if err == nil {
		return reply, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
		c.stats.Timeouts.Add(1)
	} else {
		c.stats.Network.Add(1)
	}
	return nil, fmt.Errorf("ask dns server %s: %w", s.addr, err)
}

// dislikesEDNS says that a reply may be the error of a server that does not know EDNS,
// or not this version of it: such a server answers FORMERR, NOTIMP or SERVFAIL without
// an OPT record, or BADVERS (RFC 6891 sections 6.1.3 and 7, RFC 2671 section 5.3).
// REFUSED is seen as well.
func dislikesEDNS(reply *dns.Msg) bool {
	switch reply.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return false
	case dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers:
		return true
	}
	return reply.IsEdns0() == nil
}

// newQuery is the message that asks q, with a random id.
func newQuery(q Question, edns bool) *dns.Msg {
	query := new(dns.Msg).SetQuestion(q.Name, q.Type)
	if edns {
		query.SetEdns0(udpSize, false)
	}
	return query
}

func (c *Client) askUDP(ctx context.Context, s *server, q Question, edns bool) (*dns.Msg, error) {
	query := newQuery(q, edns)
	packet, err := query.Pack()
	if err != nil {
		return nil, err
	}
	conn := s.takeSocket()
	if conn == nil {
		if conn, err = new(net.Dialer).DialContext(ctx, "udp", s.addr.String()); err != nil {
			return nil, err
		}
	}
	release := interruptible(ctx, conn)
	c.stats.Queries.Add(1)
	var reply *dns.Msg
	if _, err = conn.Write(packet); err == nil {
		reply, err = c.awaitUDP(conn, query)
	}
	// A socket that an answer may still come to is not used again.
	if untouched := release(); untouched && err == nil {
		s.putSocket(conn)
	} else {
		_ = conn.Close()
	}
	return reply, err
}

// interruptible gives conn the deadline of ctx and interrupts it when ctx ends.
// The function it returns ends that, and says whether nothing has happened.
func interruptible(ctx context.Context, conn net.Conn) (release func() bool) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// awaitUDP reads datagrams until one answers the query. All others are passed
// over: a forger that guesses the port must not be able to end the wait.
func (c *Client) awaitUDP(conn net.Conn, query *dns.Msg) (*dns.Msg, error) {
	buffer := make([]byte, readSize)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if reply, ok := readReply(buffer[:n], query); ok {
			return reply, nil
		}
		c.stats.Ignored.Add(1)
	}
}

func (c *Client) askTCP(ctx context.Context, s *server, q Question, edns bool) (*dns.Msg, error) {
	query := newQuery(q, edns)
	packet, err := query.Pack()
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer interruptible(ctx, conn)()
	c.stats.Queries.Add(1)
	c.stats.TCP.Add(1)
	framed := dns.Conn{Conn: conn}
	if _, err := framed.Write(packet); err != nil {
		return nil, err
	}
	message, err := framed.ReadMsgHeader(nil)
	if err != nil {
		return nil, err
	}
	reply, ok := readReply(message, query)
	if !ok || reply.Truncated {
		c.stats.Ignored.Add(1)
		return nil, errMalformed
	}
	return reply, nil
}

// readReply takes a message apart if it answers the query: a response with the
// same id to the same question, whole or marked as truncated. An error may also come
// without the question: some servers answer so to what they cannot read.
func readReply(message []byte, query *dns.Msg) (*dns.Msg, bool) {
	const response = 0x80
	if len(message) < headerBytes || binary.BigEndian.Uint16(message) != query.Id || message[2]&response == 0 {
		return nil, false
	}
	reply := new(dns.Msg)
	err := reply.Unpack(message)
	if len(reply.Question) == 0 && len(reply.Answer) == 0 && err == nil {
		failed := reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError
		return reply, failed
	}
	if len(reply.Question) != 1 || reply.Opcode != dns.OpcodeQuery {
		return nil, false
	}
	got, want := reply.Question[0], query.Question[0]
	if got.Qtype != want.Qtype || got.Qclass != want.Qclass || !strings.EqualFold(got.Name, want.Name) {
		return nil, false
	}
	// Some servers cut an answer off in the middle of a record.
	return reply, err == nil || reply.Truncated
}
