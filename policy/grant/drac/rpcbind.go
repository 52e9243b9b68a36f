package drac

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"
)

// DefaultRpcbindSocket is where rpcbind takes registrations from programs on its
// host.
const DefaultRpcbindSocket = "/run/rpcbind.sock"

// The rpcbind protocol, version 4 (RFC 1833, section 2.2.1).
const (
	rpcbindProgram = 100000
	rpcbindVersion = 4
	rpcbindSet     = 1
	rpcbindUnset   = 2
)

// The bounds of one call to rpcbind. Its longest answer has 28 bytes and a
// verifier.
const (
	rpcbindTimeout  = 5 * time.Second
	maxRpcbindReply = 1024
)

// Rpcbind keeps a Server registered with the rpcbind of its host, where clients
// ask for its port. A host may have no rpcbind, or get one later, or start it
// again with an empty table: all that changes is whether clients find the server.
//
// It uses rpcbind's unix socket, which takes registrations from every user of the
// host and notes whose they are, so that no other user but root can remove them.
// (Over UDP rpcbind knows root by the source port, and all who come from the network
// by their address alone.)
type Rpcbind struct {
	// Addr is where the Server listens: conn.LocalAddr().
	Addr netip.AddrPort
	// Socket is rpcbind's. Default: DefaultRpcbindSocket.
	Socket string
	// Interval is how often the registration is looked after. Default: 30 s.
	Interval time.Duration
	// Logger gets a line when the registration comes or goes. Default: none.
	Logger *slog.Logger
}

// registration is what rpcbind knows of a program.
type registration int

const (
	unknown    registration = iota
	unreached               // there is no rpcbind, or it does not answer
	taken                   // the program is registered, by another user or program
	registered              // the program is registered, as ours
)

// Run registers the server and looks after the registration until ctx ends. Then
// it removes the registration, a successor's as well: that one registers again
// when it next looks.
func (r Rpcbind) Run(ctx context.Context) {
	r.Socket, r.Interval = cmp.Or(r.Socket, DefaultRpcbindSocket), cmp.Or(r.Interval, 30*time.Second)
	r.Logger = cmp.Or(r.Logger, slog.New(slog.DiscardHandler))
	entries := r.entries()
	ours := make(map[entry]bool)
	tick := time.NewTicker(r.Interval)
	defer tick.Stop()
	state, cleared := unknown, false
	for ctx.Err() == nil {
		var err error
		// A line that an earlier process of ours left behind names a port on which nothing
		// listens any more. Later another program may have it.
		if !cleared {
			err = r.clear(ctx, entries)
			cleared = err == nil
		}
		now := unreached
		if err == nil {
			now, err = r.register(ctx, entries, ours)
		}
		if now != state && ctx.Err() == nil {
			r.report(now, err)
			state = now
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	entries = slices.DeleteFunc(entries, func(e entry) bool { return !ours[e] })
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), rpcbindTimeout)
	defer cancel()
	if err := r.clear(last, entries); err != nil {
		r.Logger.Info("drac not removed from rpcbind", "error", err)
	}
}

func (r Rpcbind) report(now registration, err error) {
	switch now {
	case registered:
		r.Logger.Info("drac registered with rpcbind", "addr", r.Addr)
	case taken:
		r.Logger.Warn("drac is registered with rpcbind by another program or user, whom clients will ask; stop that one, or let root run rpcinfo -d", "program", Program)
	default:
		r.Logger.Info("drac not registered: rpcbind does not answer; trying again", "error", err)
	}
}

// register enters the lines and notes those that are ours. Entering them again
// changes nothing.
func (r Rpcbind) register(ctx context.Context, entries []entry, ours map[entry]bool) (registration, error) {
	state := registered
	for _, e := range entries {
		done, err := r.call(ctx, rpcbindSet, e)
		if err != nil {
			return unreached, err
		}
		ours[e] = done
		if !done {
			state = taken
		}
	}
	return state, nil
}

// clear removes the lines of our user or, as root, those of every user.
func (r Rpcbind) clear(ctx context.Context, entries []entry) error {
	for _, e := range entries {
		if _, err := r.call(ctx, rpcbindUnset, e); err != nil {
			return err
		}
	}
	return nil
}

// entry is one line of rpcbind's table.
type entry struct {
	version uint32
	netid   string // the transport (RFC 5665)
	address string // the universal address
}

// entries are the lines for this server. A wildcard IPv6 socket takes datagrams
// of both families.
func (r Rpcbind) entries() []entry {
	addr, port := r.Addr.Addr().Unmap().WithZone(""), r.Addr.Port()
	var entries []entry
	add := func(netid string, addr netip.Addr) {
		// RFC 5665 sections 5.2.3.3 and 5.2.3.4: the port's two octets follow.
		universal := fmt.Sprintf("%s.%d.%d", addr, port>>8, port&0xff)
		entries = append(entries, entry{version4, netid, universal}, entry{version6, netid, universal})
	}
	if addr.Is6() {
		add("udp6", addr)
	}
	switch {
	case addr.Is4():
		add("udp", addr)
	case addr.IsUnspecified():
		add("udp", netip.IPv4Unspecified())
	}
	return entries
}

// call asks rpcbind for one thing.
func (r Rpcbind) call(ctx context.Context, procedure uint32, e entry) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, rpcbindTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", r.Socket)
	if err != nil {
		return false, fmt.Errorf("connect to rpcbind: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	const xid = 1 // there is one call on this connection
	if _, err := conn.Write(rpcbindCall(xid, procedure, e)); err != nil {
		return false, fmt.Errorf("call rpcbind: %w", err)
	}
	reply, err := readRecord(conn)
	if err != nil {
		return false, fmt.Errorf("read the answer of rpcbind: %w", err)
	}
	done, err := parseBoolReply(xid, reply)
	if err != nil {
		return false, fmt.Errorf("answer of rpcbind: %w", err)
	}
	return done, nil
}

// lastFragment marks the last fragment of a record; the other 31 bits are its
// length (RFC 5531, section 11).
const lastFragment = 1 << 31

// rpcbindCall is a call as a record of one fragment. rpcbind enters the owner by
// itself, it knows who is at the other end of the socket.
func rpcbindCall(xid, procedure uint32, e entry) []byte {
	b := make([]byte, 4, 128)
	for _, number := range []uint32{
		xid, messageCall, rpcVersion, rpcbindProgram, rpcbindVersion, procedure,
		authNone, 0, authNone, 0,
		Program, e.version,
	} {
		b = binary.BigEndian.AppendUint32(b, number)
	}
	for _, text := range []string{e.netid, e.address, ""} {
		b = appendString(b, text)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4)|lastFragment)
	return b
}

// appendString adds an XDR string (RFC 4506, section 4.11).
func appendString(b []byte, text string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = append(b, text...)
	return append(b, make([]byte, -len(text)&3)...)
}

// readRecord reads a record, which may come in several fragments.
func readRecord(r io.Reader) ([]byte, error) {
	var record []byte
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		mark := binary.BigEndian.Uint32(head[:])
		length := int(mark &^ lastFragment)
		if length == 0 || len(record)+length > maxRpcbindReply {
			return nil, fmt.Errorf("fragment of %d bytes, expected 1 to %d in all", length, maxRpcbindReply)
		}
		fragment := make([]byte, length)
		if _, err := io.ReadFull(r, fragment); err != nil {
			return nil, err
		}
		record = append(record, fragment...)
		if mark&lastFragment != 0 {
			return record, nil
		}
	}
}

// parseBoolReply reads the reply to a call whose result is a boolean.
func parseBoolReply(xid uint32, reply []byte) (bool, error) {
	d := decoder{rest: reply}
	if got := d.uint32(); got != xid {
		return false, fmt.Errorf("it is for call %d, not %d", got, xid)
	}
	if d.uint32() != messageReply {
		return false, errors.New("it is not a reply")
	}
	if state := d.uint32(); state != replyAccepted {
		return false, errors.New("the call was denied")
	}
	d.uint32()
	d.opaque(maxAuthBytes)
	if state := d.uint32(); state != acceptSuccess {
		return false, fmt.Errorf("the call was not carried out, status %d", state)
	}
	result := d.uint32()
	if d.failed || len(d.rest) != 0 || result > 1 {
		return false, errors.New("the result is not a boolean")
	}
	return result == 1, nil
}
