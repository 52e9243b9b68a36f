package attack

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"milterd/integration/harness"
)

// caller is a way to come to the server.
type caller struct {
	name, addr, port string
	auth             string // mechanism
	from             string
	// mayRelay: the plain address of the victim is accepted from this caller.
	mayRelay bool
	// inShadow: it may relay as well if sendmail alone decides.
	inShadow bool
	// hasGrant: it may relay if the server knows of grants.
	hasGrant bool
	// tries: it names random recipients as well.
	tries bool
}

const granted = "203.0.113.60"

// callers are those of the matrix. sendmail trusts every mechanism, milterd PLAIN alone.
var callers = []caller{
	{name: "stranger", addr: "203.0.113.8", from: "a@good.example", tries: true},
	{name: "stranger by IPv6", addr: "2001:db8::8", from: "a@good.example"},
	{name: "port 587 without AUTH", addr: "203.0.113.8", port: "587", from: "a@good.example"},
	{name: "authenticated, untrusted mechanism", addr: "203.0.113.8", port: "587", auth: "CRAM-MD5", from: "shin@example.test", inShadow: true, tries: true},
	{name: "name that is not confirmed", addr: "203.0.113.9", from: "a@good.example"},
	{name: "own domain as sender", addr: "203.0.113.8", from: "postmaster@example.test"},
	{name: "null sender", addr: "203.0.113.8", from: ""},
	{name: "authenticated, trusted mechanism", addr: "203.0.113.8", port: "587", auth: "PLAIN", from: "shin@example.test", mayRelay: true},
	{name: "network that may relay", addr: "198.51.100.33", from: "a@good.example", mayRelay: true},
	{name: "address with a grant", addr: granted, from: "a@good.example", hasGrant: true},
}

// attempt is one recipient that was tried, as the argument of RCPT TO. Those of the same
// message that were refused before it may be to blame for where the message goes.
type attempt struct {
	mark, rcpt, reply string
	refused           []string
}

// perConnection is how many recipients one connection tries.
const perConnection = 40

// try names every recipient to the server, and sends a message to each that it accepts.
func (c caller) try(door string, rcpts []string) ([]attempt, error) {
	var all []attempt
	for i := 0; i < len(rcpts); i += perConnection {
		tried, err := c.connection(fmt.Sprintf("%s/%s/%d", door, c.name, i), rcpts[i:min(i+perConnection, len(rcpts))])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		all = append(all, tried...)
	}
	return all, nil
}

func (c caller) connection(mark string, rcpts []string) ([]attempt, error) {
	conn, err := c.open()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var tried []attempt
	var refused []string
	inMessage := false
	for i, rcpt := range rcpts {
		a := attempt{mark: fmt.Sprintf("%s.%d", mark, i), rcpt: rcpt}
		if !inMessage {
			reply, err := conn.Command("MAIL FROM:<" + c.from + ">")
			if err != nil {
				return nil, err
			}
			if inMessage = reply.Code == 250; !inMessage {
				a.reply = reply.First()
				tried = append(tried, a)
				continue
			}
		}
		reply, err := conn.Command("RCPT TO:" + rcpt)
		if err != nil {
			return nil, fmt.Errorf("RCPT TO:%q: %w", rcpt, err)
		}
		a.reply = reply.First()
		if !a.accepted() {
			refused = append(refused, rcpt)
		} else {
			a.refused, refused = refused, nil
			if err := message(conn, a.mark); err != nil {
				return nil, fmt.Errorf("message to %q: %w", rcpt, err)
			}
			inMessage = false
		}
		tried = append(tried, a)
	}
	_, err = conn.Command("QUIT")
	return tried, err
}

// open connects, and authenticates if the caller does.
func (c caller) open() (*harness.Conn, error) {
	server, port := harness.ServerAddr4, c.port
	if netip.MustParseAddr(c.addr).Is6() {
		server = harness.ServerAddr6
	}
	if port == "" {
		port = "25"
	}
	conn, err := harness.Dial(c.addr, net.JoinHostPort(server, port))
	if err != nil {
		return nil, err
	}
	reply, err := conn.ReadReply()
	if err == nil {
		reply, err = conn.Command("EHLO laptop.lan")
	}
	if err == nil && c.auth != "" {
		reply, err = conn.Auth(c.auth, "shin", "secret")
	}
	if err == nil && reply.Code/100 != 2 {
		err = fmt.Errorf("not let in: %s", reply.First())
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// message sends one with a mark. It may be refused at its end.
func message(conn *harness.Conn, mark string) error {
	reply, err := conn.Command("DATA")
	if err == nil && reply.Code == 354 {
		_, err = conn.Command("X-Attack: " + mark + "\r\nFrom: a@good.example\r\nSubject: attack\r\n\r\nHello\r\n.")
	}
	return err
}

// accepted reports whether the recipient was.
func (a attempt) accepted() bool { return strings.HasPrefix(a.reply, "25") }
