package configs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"milterd/milter/door"
)

func checkAddress(s string) error {
	_, err := door.ParseAddress(s)
	return err
}

func checkLocal(s string) error {
	if !strings.HasPrefix(s, "local:") && !strings.HasPrefix(s, "unix:") {
		return fmt.Errorf("%s, expected local:/path: whoever can connect can grant", quote(s))
	}
	return checkAddress(s)
}

func checkLoopback(s string) error {
	address, err := door.ParseAddress(s)
	if err == nil && !address.Loopback() {
		return fmt.Errorf("%s can be reached from other machines, expected a loopback address such as inet:4001@127.0.0.1, or local:/path", quote(s))
	}
	return err
}

// checkDatagram takes the address of a UDP socket; port 0 stands for any port.
func checkDatagram(s string) error {
	_, err := door.ParsePacketAddress(s)
	return err
}

// LeadsTo reports whether one of milterd's addresses may be what sendmail connects
// to.
func LeadsTo(own []string, socket string) bool {
	theirs, err := door.ParseSendmail(socket)
	return err == nil && slices.ContainsFunc(own, func(s string) bool {
		address, err := door.ParseAddress(s)
		return err == nil && address.MayBeSame(theirs)
	})
}

// isPort reports whether s is a port number in decimal without leading zeros.
func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 1 && n <= 65535 && strconv.Itoa(n) == s
}

func checkHostname(s string) error {
	if !door.IsHostName(s) || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
		return fmt.Errorf("%s, expected a host name such as mx.example.test", quote(s))
	}
	return nil
}

func checkClassEntry(s string) error {
	if strings.HasPrefix(s, "/") {
		return nil
	}
	inside := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		inside = s[1 : len(s)-1]
	}
	switch {
	case s == "":
		return errors.New("an empty entry, expected a name or /FILE")
	case strings.Contains(s, "/"):
		return fmt.Errorf("%s: a class holds no prefix lengths; write the whole octets (203.0.113), or Connect:%s RELAY in the access table", quote(s), s)
	case strings.Contains(s, "@"):
		return fmt.Errorf("%s is an address, expected a name", quote(s))
	case !door.IsHostName(strings.ReplaceAll(inside, ":", ".")):
		return fmt.Errorf("%s, expected a name, a network or /FILE", quote(s))
	}
	return nil
}
