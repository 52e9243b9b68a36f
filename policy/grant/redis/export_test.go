package redis

import "net"

// Parse is for the fuzz test.
var Parse = parse

// Checked is a connection as go-redis gets it.
func Checked(conn net.Conn) net.Conn { return &replies{Conn: conn} }

// ErrReply is how it ends for a server that is none.
var ErrReply = errReply

// New makes a store of relay grants with a client of its own.
func New(c Config) (*Store, error) {
	client, err := Open(c)
	if err != nil {
		return nil, err
	}
	return client.Grants(), nil
}
