// Package control lets an administrator make, end and list relay grants by hand:
// a line-oriented protocol over a unix socket, which `milterd -grant`, `-revoke`
// and `-grants` speak, and so does a terminal with socat.
//
// # Protocol
//
// The client sends commands, one a line; the server answers each, in order:
//
//	grant ADDR [USER]    grant, or renew, a relay grant for ADDR in the name of USER
//	revoke ADDR          end the grant of ADDR
//	revoke-user USER     end all grants of USER
//	list                 tell all grants, in no order
//	help                 tell the commands
//	quit                 hang up
//
// An answer ends with one line that begins with "ok" or "error" and goes on with
// words for people. Before it there may be lines of data: the answer to list has
// one for each grant, and says at the end how many they were, so that a listing
// that was cut short is not taken for a whole one. An error can follow data.
//
//	C: grant 203.0.113.8 shin
//	S: ok granted 203.0.113.8 until 2026-03-01T12:30:00Z
//	C: list
//	S: grant 203.0.113.8 shin control 2026-03-01T12:00:00Z 2026-03-01T12:30:00Z
//	S: grant 2001:db8::8 "Shin Oka" maillog:imapd 2026-03-01T11:00:00Z 2026-03-01T12:10:00Z
//	S: ok 2 grants
//	C: grant 127.0.0.1
//	S: error excluded: loopback network 127.0.0.0/8
//
// A line about a grant has five words after its name: the address, the user, the
// source, when the grant began and when it ends (RFC 3339, UTC).
//
// A line is words between blanks, and ends with LF or CR LF. A word that is
// empty or holds anything but visible ASCII characters, or a quotation mark or a
// backslash, stands between quotation marks, with the escapes of Go string
// literals: "", "Shin Oka", "\"". In commands, UTF-8 need not be quoted. A line
// of a command has at most 1024 bytes; longer ones end the connection.
//
// # Trust
//
// Who can connect can open the relay, for every address that a login could open
// it for: the rules of package grant hold here as well. So the mode of the socket
// decides. milterd gives it 0600, whatever the mode of its other sockets, and 0660
// with a group only where that is named for this socket (grants.control_group). The
// kernel tells who has connected; the log names user and process with each change.
package control
