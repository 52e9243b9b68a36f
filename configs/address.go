package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// maxSocketPath is the longest path that a unix socket can have on Linux.
const maxSocketPath = 107

// checkAddress says what is wrong with an address in sendmail's notation.
func checkAddress(s string) error {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		scheme = ""
	}
	switch scheme {
	case "local", "unix":
		switch {
		case !strings.HasPrefix(rest, "/"):
			return fmt.Errorf("%s: expected an absolute path after %q", quote(s), scheme+":")
		case strings.HasSuffix(rest, "/"):
			return fmt.Errorf("%s is a directory, expected the path of a socket", quote(s))
		case len(rest) > maxSocketPath:
			return fmt.Errorf("%s: a path of %d octets, expected %d at most", quote(s), len(rest), maxSocketPath)
		case strings.ContainsAny(rest, "\r\n\t\x00"):
			return fmt.Errorf("%s: expected a path without control characters", quote(s))
		}
		return nil
	case "inet", "inet6":
		port, host, hasHost := strings.Cut(rest, "@")
		if !isPort(port) {
			return fmt.Errorf("%s: expected a port from 1 to 65535 after %q", quote(s), scheme+":")
		}
		if hasHost {
			return checkHost(s, scheme, host)
		}
		return nil
	}
	return fmt.Errorf("%s is not an address, expected local:/path, inet:port@host or inet6:port@host", quote(s))
}

// checkLocal takes the address of a unix socket only.
func checkLocal(s string) error {
	if scheme, _, _ := strings.Cut(s, ":"); scheme != "local" && scheme != "unix" {
		return fmt.Errorf("%s, expected local:/path: whoever can connect can grant", quote(s))
	}
	return checkAddress(s)
}

// checkLoopback takes an address that only this machine's programs can reach.
func checkLoopback(s string) error {
	if err := checkAddress(s); err != nil {
		return err
	}
	if !isLoopback(s) {
		return fmt.Errorf("%s can be reached from other machines, expected a loopback address such as inet:4001@127.0.0.1, or local:/path", quote(s))
	}
	return nil
}

// isLoopback reports whether only this machine's programs can reach an address in
// sendmail's notation. milterd listens on the loopback address where there is no
// host.
func isLoopback(s string) bool {
	scheme, rest := splitScheme(s)
	_, host, hasHost := strings.Cut(rest, "@")
	if scheme == "local" || !hasHost || strings.EqualFold(host, "localhost") {
		return true
	}
	addr, ok := hostAddr(host)
	return ok && addr.IsLoopback()
}

// checkDatagram takes the address of a UDP socket; port 0 stands for any port.
func checkDatagram(s string) error {
	scheme, rest, _ := strings.Cut(s, ":")
	if scheme != "inet" && scheme != "inet6" {
		return fmt.Errorf("%s is not a UDP address, expected inet:port@host or inet6:port@host, port 0 for any port", quote(s))
	}
	if host, any := strings.CutPrefix(rest, "0@"); any {
		return checkHost(s, scheme, host)
	}
	if rest == "0" {
		return nil
	}
	return checkAddress(s)
}

// sameListener reports whether two sockets cannot both be opened, as far as the
// addresses tell without asking the DNS.
func sameListener(a, b string) bool {
	schemeA, restA := splitScheme(a)
	schemeB, restB := splitScheme(b)
	if schemeA != schemeB {
		return false
	}
	if schemeA == "local" {
		return filepath.Clean(restA) == filepath.Clean(restB)
	}
	portA, hostA := listenHost(schemeA, restA)
	portB, hostB := listenHost(schemeB, restB)
	if portA != portB {
		return false
	}
	addrA, isAddrA := hostAddr(hostA)
	addrB, isAddrB := hostAddr(hostB)
	return strings.EqualFold(hostA, hostB) || isAddrA && isAddrB && addrA == addrB ||
		isAddrA && addrA.IsUnspecified() || isAddrB && addrB.IsUnspecified()
}

// listenHost cuts port@host, with the loopback address for a host that is missing.
func listenHost(scheme, rest string) (port, host string) {
	port, host, ok := strings.Cut(rest, "@")
	switch {
	case ok && !strings.EqualFold(host, "localhost"):
		return port, host
	case scheme == "inet6":
		return port, "::1"
	}
	return port, "127.0.0.1"
}

// checkHost says what is wrong with the host of an inet or inet6 address.
func checkHost(s, scheme, host string) error {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && scheme == "inet" && !addr.Is4():
		return fmt.Errorf("%s: an IPv6 address, which inet6: is for (inet: takes IPv4)", quote(s))
	case err == nil && scheme == "inet6" && !addr.Is6():
		return fmt.Errorf("%s: an IPv4 address, which inet: is for (inet6: takes IPv6)", quote(s))
	case err == nil:
		return nil
	case strings.ContainsAny(host, ":/") || !isName(host):
		return fmt.Errorf("%s: expected a host name or an address after @", quote(s))
	}
	return nil
}

// isPort reports whether s is a port number in decimal without leading zeros.
func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 1 && n <= 65535 && strconv.Itoa(n) == s
}

// isName reports whether s can be a host or domain name, or a part of one.
func isName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			c == '.', c == '-', c == '_', c >= 0x80:
		default:
			return false
		}
	}
	return true
}

// checkHostname says what is wrong with our own host name; it may be empty.
func checkHostname(s string) error {
	if s == "" {
		return nil
	}
	if !isName(s) || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
		return fmt.Errorf("%s, expected a host name such as mx.example.test", quote(s))
	}
	return nil
}

// checkClassEntry says what is wrong with an entry of class w or R.
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
	case !isName(strings.ReplaceAll(inside, ":", ".")):
		return fmt.Errorf("%s, expected a name, a network or /FILE", quote(s))
	}
	return nil
}
