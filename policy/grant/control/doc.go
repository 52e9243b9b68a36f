// Package control lets an administrator make, end and list relay grants by hand: HTTP
// over a unix socket, which `milterd -grant`, `-revoke` and `-grants` speak, and so does
// curl:
//
//	curl --unix-socket /run/milterd/control.sock http://milterd/grants
//
// # Requests
//
//	GET    /grants                   tell all grants, in no order
//	PUT    /grants/ADDR[?user=USER]  grant, or renew, a relay grant for ADDR in the name of USER
//	DELETE /grants/ADDR              end the grant of ADDR
//	DELETE /grants?user=USER         end all grants of USER
//
// The answer to a change is a line of text for people, such as "granted 203.0.113.8 until
// 2026-03-01T12:30:00Z". The status is 200 if the change was made, 403 if ADDR can have no
// grant, 404 if there is no such grant, 400 if the request is not understood, 503 if the
// grants cannot be changed now.
//
// The answer to a list has a JSON object a line for each grant:
//
//	{"addr":"203.0.113.8","user":"shin","source":"control","since":"2026-03-01T12:00:00Z","expires":"2026-03-01T12:30:00Z"}
//
// A list that cannot be told to its end breaks off in the middle of HTTP's encoding, so
// that no client takes it for a whole one.
//
// # Trust
//
// Who can connect can open the relay, for every address that a login could open
// it for: the rules of package grant hold here as well. So the mode of the socket
// decides. milterd gives it 0600, whatever the mode of its other sockets, and 0660
// with a group only if that is named for this socket (grants.control_group). The
// kernel tells who has connected; the log names user and process with each change.
package control
