package redis

import "net"

// Parse is for the fuzz test.
var Parse = parse

// Checked is a connection as go-redis gets it.
func Checked(conn net.Conn) net.Conn { return &replies{Conn: conn} }

// ErrReply is how it ends for a server that is none.
var ErrReply = errReply
