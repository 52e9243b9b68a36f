package drac

import (
	"encoding/binary"
	"net/netip"
)

// Program is DRAC's ONC RPC program number.
const Program = 900101

// The versions and procedures of the program.
const (
	version4 = 1 // IPv4 addresses
	version6 = 2 // IPv6 addresses

	procedureNull = 0
	procedureAdd  = 1
)

// The constants of RFC 5531, section 9.
const (
	rpcVersion = 2

	messageCall  = 0
	messageReply = 1

	replyAccepted = 0
	replyDenied   = 1

	acceptSuccess          = 0
	acceptProgUnavailable  = 1
	acceptProgMismatch     = 2
	acceptProcUnavailable  = 3
	acceptGarbageArguments = 4

	rejectRPCMismatch = 0
	rejectAuthError   = 1

	authNone = 0
	authSys  = 1

	authBadCredential      = 1
	authRejectedCredential = 2

	maxAuthBytes = 400 // of a credential or verifier (section 8.2)
)

// minCall is the shortest call: six numbers, and a credential and a verifier
// without a body. It is longer than every reply.
const minCall = 40

// status is what ADD answers.
type status uint32

const (
	statusSuccess     status = 0
	statusDenied      status = 1
	statusSystemError status = 2
)

// call is what a datagram asks for.
type call struct {
	// xid is the client's number for the call, the same in each retransmission
	// and in the reply.
	xid uint32
	// add is the address to grant. It is valid for an ADD only; for everything
	// else reply says all there is to say.
	add   netip.Addr
	reply []byte
	// broken: the reply tells the client that its call was of no use.
	broken bool
}

// parseCall reads a datagram. It reports false for one that deserves no answer:
// it is no call, or shorter than the answer would be.
func parseCall(datagram []byte) (call, bool) {
	if len(datagram) < minCall {
		return call{}, false
	}
	d := decoder{rest: datagram}
	c := call{xid: d.uint32()}
	if d.uint32() != messageCall {
		return call{}, false
	}
	if d.uint32() != rpcVersion {
		return c.deny(rejectRPCMismatch, rpcVersion, rpcVersion), true
	}
	program, version, procedure := d.uint32(), d.uint32(), d.uint32()
	flavor, credential := d.uint32(), d.opaque(maxAuthBytes)
	d.uint32() // the verifier proves nothing to us, of whatever flavor
	d.opaque(maxAuthBytes)
	switch {
	case d.failed:
		return c.deny(rejectAuthError, authBadCredential), true
	case flavor == authSys && !validAuthSys(credential):
		return c.deny(rejectAuthError, authBadCredential), true
	case flavor != authSys && flavor != authNone:
		return c.deny(rejectAuthError, authRejectedCredential), true
	case program != Program:
		return c.refuse(acceptProgUnavailable), true
	case version != version4 && version != version6:
		return c.refuse(acceptProgMismatch, version4, version6), true
	}

	switch procedure {
	case procedureNull:
		if len(d.rest) != 0 {
			return c.refuse(acceptGarbageArguments), true
		}
		c.reply = c.accept(acceptSuccess)
	case procedureAdd:
		addr, ok := address(version, d.rest)
		if !ok {
			return c.refuse(acceptGarbageArguments), true
		}
		c.add = addr
	default:
		return c.refuse(acceptProcUnavailable), true
	}
	return c, true
}

// address reads the argument of ADD.
func address(version uint32, argument []byte) (netip.Addr, bool) {
	const octets = 16
	switch {
	case version == version4 && len(argument) == 4:
		return netip.AddrFrom4([4]byte(argument)), true
	case version == version6 && len(argument) == octets:
		return netip.AddrFrom16([octets]byte(argument)).Unmap(), true
	case version == version6 && len(argument) == 4*octets:
		var a [octets]byte
		for i := range a {
			number := binary.BigEndian.Uint32(argument[4*i:])
			if number > 0xff {
				return netip.Addr{}, false
			}
			a[i] = byte(number)
		}
		return netip.AddrFrom16(a).Unmap(), true
	}
	return netip.Addr{}, false
}

// validAuthSys reports whether a credential has the form of AUTH_SYS (RFC 5531,
// appendix A): a stamp, the name of the machine, user, group and more groups.
func validAuthSys(credential []byte) bool {
	const maxName, maxGroups = 255, 16
	d := decoder{rest: credential}
	d.uint32()
	d.opaque(maxName)
	d.uint32()
	d.uint32()
	groups := d.uint32()
	if d.failed || groups > maxGroups {
		return false
	}
	return len(d.rest) == 4*int(groups)
}

// accept is the reply to a call that was understood: how it went, and results.
func (c call) accept(state uint32, results ...uint32) []byte {
	// The verifier is AUTH_NONE: two zeros.
	return c.encode(append([]uint32{replyAccepted, authNone, 0, state}, results...))
}

// added is the reply to an ADD.
func (c call) added(s status) []byte { return c.accept(acceptSuccess, uint32(s)) }

// refuse completes a call whose reply says why it is of no use.
func (c call) refuse(state uint32, details ...uint32) call {
	c.reply, c.broken = c.accept(state, details...), true
	return c
}

// deny completes a call that was rejected before its program was looked at.
func (c call) deny(state uint32, details ...uint32) call {
	c.reply, c.broken = c.encode(append([]uint32{replyDenied, state}, details...)), true
	return c
}

func (c call) encode(body []uint32) []byte {
	reply := make([]byte, 0, minCall)
	reply = binary.BigEndian.AppendUint32(reply, c.xid)
	reply = binary.BigEndian.AppendUint32(reply, messageReply)
	for _, number := range body {
		reply = binary.BigEndian.AppendUint32(reply, number)
	}
	return reply
}

// decoder reads XDR (RFC 4506). After a failure everything is zero.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) fail() {
	d.rest, d.failed = nil, true
}

// uint32 reads an unsigned integer (section 4.2).
func (d *decoder) uint32() uint32 {
	if len(d.rest) < 4 {
		d.fail()
		return 0
	}
	number := binary.BigEndian.Uint32(d.rest)
	d.rest = d.rest[4:]
	return number
}

// opaque reads variable-length opaque data, or a string, of at most limit bytes
// (sections 4.10, 4.11): a length, the bytes, and padding to a multiple of four.
func (d *decoder) opaque(limit uint32) []byte {
	length := d.uint32()
	if length > limit {
		d.fail()
		return nil
	}
	padded := (int(length) + 3) &^ 3
	if padded > len(d.rest) {
		d.fail()
		return nil
	}
	data := d.rest[:length]
	d.rest = d.rest[padded:]
	return data
}
