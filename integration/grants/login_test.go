package grants_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// login logs in at Dovecot and demands that it may.
func login(t *testing.T, protocol, client, user string) {
	t.Helper()
	if err := tryLogin(t.Context(), protocol, client, user, users[user]); err != nil {
		t.Fatal(err)
	}
}

// errDenied: the server did not take the password.
var errDenied = errors.New("login denied")

// tryLogin logs in from an address over POP3 or IMAP, and out again.
func tryLogin(ctx context.Context, protocol, client, user, password string) error {
	port, speak := "110", speakPOP3
	if protocol == "imap" {
		port, speak = "143", speakIMAP
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(client), 0))}
	conn, err := dialer.DialContext(ctx, "tcp", serverAddr(client, port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := speak(textproto.NewConn(conn), user, password); err != nil {
		return fmt.Errorf("%s: %s from %s: %w", protocol, user, client, err)
	}
	return nil
}

// speakPOP3 speaks RFC 1939.
func speakPOP3(conn *textproto.Conn, user, password string) error {
	for _, command := range []string{"", "USER " + user, "PASS " + password, "QUIT"} {
		if command != "" {
			if err := conn.PrintfLine("%s", command); err != nil {
				return err
			}
		}
		answer, err := conn.ReadLine()
		if err != nil {
			return err
		}
		if !strings.HasPrefix(answer, "+OK") {
			return fmt.Errorf("%w: %s", errDenied, answer)
		}
	}
	return nil
}

// speakIMAP speaks RFC 3501.
func speakIMAP(conn *textproto.Conn, user, password string) error {
	for tag, command := range []string{"", `LOGIN "` + user + `" "` + password + `"`, "LOGOUT"} {
		done := "* "
		if command != "" {
			done = fmt.Sprintf("a%d ", tag)
			if err := conn.PrintfLine("%s%s", done, command); err != nil {
				return err
			}
		}
		answer, err := "", error(nil)
		for !strings.HasPrefix(answer, done) {
			if answer, err = conn.ReadLine(); err != nil {
				return err
			}
		}
		if !strings.HasPrefix(answer, done+"OK") {
			return fmt.Errorf("%w: %s", errDenied, answer)
		}
	}
	return nil
}
