package testkit

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// SMTP is a server that has one answer to each recipient; it ends with the test.
func SMTP(t *testing.T, rcpt string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			talk(conn, rcpt)
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

func talk(conn net.Conn, rcpt string) {
	defer conn.Close()
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
