package testkit

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// SMTP is a server that has one answer to each recipient; it ends with the test.
func SMTP(t *testing.T, rcpt string) string {
	t.Helper()
	return Serve(t, "tcp", "127.0.0.1:0", func(conn net.Conn) { talk(conn, rcpt) })
}

// Serve listens at an address and has talk serve each connection, which is closed after it.
// It returns the address that it got. The server ends with the test, which waits for its
// connections.
func Serve(t testing.TB, network, address string, talk func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				talk(conn)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	return ln.Addr().String()
}

func talk(conn net.Conn, rcpt string) {
	fmt.Fprint(conn, "220 mx.example.test ESMTP\r\n")
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		verb, _, _ := strings.Cut(strings.TrimSpace(string(buffer[:n])), " ")
		reply := map[string]string{"EHLO": "250 mx.example.test", "MAIL": "250 ok", "RSET": "250 ok", "RCPT": rcpt}[verb]
		if reply == "" {
			reply = "502 5.5.1 unknown"
		}
		if err != nil || verb == "QUIT" {
			return
		}
		fmt.Fprint(conn, reply+"\r\n")
	}
}
