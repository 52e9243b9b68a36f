// Package drac is a server of the Dynamic Relay Authorization Control protocol,
// in the place of rpc.dracd: POP and IMAP servers that were built for DRAC (by a
// plugin of Dovecot, a patch or an option of Cyrus, UW and Qpopper) report each
// login to it, and keep reporting while the client stays connected, so that a
// grant lasts as long as the client reads mail and a while longer.
//
// # Protocol
//
// DRAC is an ONC RPC program (RFC 5531) over UDP, number 900101. Procedure 1 of
// version 1, ADD, takes an IPv4 address, an XDR unsigned integer, and answers an
// enumeration:
//
//	0  success
//	1  permission denied: this server may not ask, or the address may not relay
//	2  system error: the grant could not be stored
//	3  unknown error (never answered here)
//
// Procedure 0, NULL, does nothing, as in every program; `rpcinfo -u HOST 900101`
// calls it. A client finds the port by asking the host's rpcbind: [Rpcbind]
// registers it there.
//
// The address is a number in host byte order. (The interface definition of DRAC
// says network order, but its client applies ntohl before it encodes, and its
// server htonl after it decodes.) XDR is big-endian, so 203.0.113.8 is
// 0xCB007108 and its octets stand on the wire in the order in which they are
// written. A client that leaves out the conversion on a little-endian machine
// asks for 8.113.0.203, and nothing tells that from a request for that address:
// it grants to a stranger, and not to its user.
//
// A patched DRAC has a version 2 for IPv6, whose ADD takes the 16 octets of the
// address. Depending on how the array is declared, rpcgen encodes them as they
// are or each in four bytes; both forms are understood.
//
// # Trust
//
// The protocol knows no user and proves nothing: who can get a datagram here can
// open the relay for any address for half an hour. Credentials of RPC (AUTH_SYS)
// are what the client says of itself and are not looked at. What decides is the
// address that the datagram comes from, which has to be one of Config.Servers,
// the loopback addresses by default. UDP lets every sender write any source address,
// so a firewall has to keep datagrams away that come from outside with an inside
// address. Linux itself drops those that come from outside with a loopback one.
//
// Config.ReservedPort asks in addition for a source port below 1024, which only
// root can bind: the RPC library takes one when it can. It keeps the other users
// of a listed server out, and without it every user of this machine can open the
// relay as long as the loopback addresses are listed. milterd asks for it unless
// it is told not to (grants.drac.reserved_port), which is needed where Dovecot's
// or Cyrus' plugin reports from processes that run as the mail user, and cannot
// bind such a port.
//
// An answer is never longer than the call, so this server cannot be used to flood another
// host; and only calls are answered, so two servers cannot be made to answer
// each other for ever.
package drac
