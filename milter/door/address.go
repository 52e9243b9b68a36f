// Package door has what the two doors into sendmail, the filter door and the map
// door, share: socket addresses and the sockets opened there (address.go,
// listen.go), a listener that outlives temporary errors (accept.go), the snapshot
// of policy and grants that both answer from (snapshot.go), the guard against clients
// that hide behind one address (nat.go), a log of panics that a
// peer cannot flood (panics.go), and counters (stats.go).
package door

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"milterd/policy/printable"
)

// maxSocketPath is the longest path of a unix socket (sun_path on Linux,
// without its NUL).
const maxSocketPath = 107

// Address is a socket address. Its zero value is none.
type Address struct {
	text    string
	network string // unix, tcp4 or tcp6
	path    string // of a unix socket
	host    string // as it is resolved: a name in lower case, or an address
	port    uint16
	// addr is the address of the host. It is not valid if the host is a name that
	// only the DNS knows.
	addr netip.Addr
}

// ParseAddress reads a socket address in sendmail's notation:
//
//	local:/run/milterd/milter.sock   unix socket, also written unix:/path
//	inet:8891@192.0.2.1              port and IPv4 address or host name
//	inet:8891                        port on the IPv4 loopback address
//	inet6:8891@2001:db8::1           port and IPv6 address or host name
//	inet6:8891                       port on the IPv6 loopback address
//
// A literal address may stand in brackets and, for inet6, behind IPv6:, as in
// sendmail.cf. An address without a host means the loopback address only. (For
// libmilter it means every address, which puts a filter without any authentication
// on the network.) To listen on every address say so: inet:8891@0.0.0.0.
func ParseAddress(s string) (Address, error) { return parse(s, 1) }

// ParsePacketAddress reads the address of a UDP socket: one of inet or inet6, and
// port 0 stands for any port.
func ParsePacketAddress(s string) (Address, error) {
	if !strings.HasPrefix(s, "inet:") && !strings.HasPrefix(s, "inet6:") {
		return Address{}, fmt.Errorf("%s is not a UDP address, expected inet:port@host or inet6:port@host, port 0 for any port", printable.Quote(s))
	}
	return parse(s, 0)
}

// ParseSendmail reads an address of sendmail.cf. There the kind may be in capital
// letters, and a path alone means a unix socket (milter_open in sendmail's
// milter.c).
func ParseSendmail(s string) (Address, error) {
	kind, rest, ok := strings.Cut(s, ":")
	switch {
	case !ok:
		return parse("local:"+s, 1)
	case kind == "":
		return parse("local:"+rest, 1)
	}
	return parse(strings.ToLower(kind)+":"+rest, 1)
}

func parse(s string, lowestPort int) (Address, error) {
	kind, rest, found := strings.Cut(s, ":")
	switch {
	case found && (kind == "local" || kind == "unix"):
		return parseLocal(s, kind, rest)
	case found && (kind == "inet" || kind == "inet6"):
		return parseInet(s, kind, rest, lowestPort)
	}
	return Address{}, fmt.Errorf("%s is not an address, expected local:/path, inet:port@host or inet6:port@host", printable.Quote(s))
}

func parseLocal(s, kind, path string) (Address, error) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return Address{}, fmt.Errorf("%s: expected an absolute path after %q", printable.Quote(s), kind+":")
	case strings.HasSuffix(path, "/"):
		return Address{}, fmt.Errorf("%s is a directory, expected the path of a socket", printable.Quote(s))
	case len(path) > maxSocketPath:
		return Address{}, fmt.Errorf("%s: a path of %d octets, expected %d at most", printable.Quote(s), len(path), maxSocketPath)
	case strings.ContainsFunc(path, unicode.IsControl):
		return Address{}, fmt.Errorf("%s: expected a path without control characters", printable.Quote(s))
	}
	return Address{text: s, network: "unix", path: filepath.Clean(path)}, nil
}

func parseInet(s, kind, rest string, lowestPort int) (Address, error) {
	a := Address{text: s, network: "tcp4", addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if kind == "inet6" {
		a.network, a.addr = "tcp6", netip.IPv6Loopback()
	}
	portText, host, hasHost := strings.Cut(rest, "@")
	port, err := strconv.Atoi(portText)
	if err != nil || port < lowestPort || port > 65535 || strconv.Itoa(port) != portText {
		return Address{}, fmt.Errorf("%s: expected a port from 1 to 65535 after %q", printable.Quote(s), kind+":")
	}
	a.port = uint16(port)
	if !hasHost {
		a.host = a.addr.String()
		return a, nil
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	if kind == "inet6" {
		host = strings.TrimPrefix(host, "IPv6:")
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return a.named(host)
	}
	switch is4 := addr.Unmap().Is4(); {
	case is4 && kind == "inet6":
		return Address{}, fmt.Errorf("%s: an IPv4 address, which inet: is for (inet6: takes IPv6)", printable.Quote(s))
	case !is4 && kind == "inet":
		return Address{}, fmt.Errorf("%s: an IPv6 address, which inet6: is for (inet: takes IPv4)", printable.Quote(s))
	case addr.Is4In6() || addr.Zone() != "" && !IsHostName(addr.Zone()):
		return Address{}, a.notAHost()
	}
	a.addr, a.host = addr, addr.String()
	return a, nil
}

// named is the address with the host name in place of the loopback address. No
// name ends in a number (RFC 1123 section 2.1): that is an address mistyped, which
// some resolvers would complete.
func (a Address) named(name string) (Address, error) {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || !IsHostName(name) {
		return Address{}, a.notAHost()
	}
	a.host = strings.ToLower(name)
	// RFC 6761 section 6.3: localhost is a loopback address wherever it is asked for.
	if a.host != "localhost" {
		a.addr = netip.Addr{}
	}
	return a, nil
}

func (a Address) notAHost() error {
	return fmt.Errorf("%s: expected a host name or an address after @", printable.Quote(a.text))
}

// IsHostName reports whether s can be a host or domain name, or a part of one.
func IsHostName(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= unicode.MaxASCII && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_", r)
	})
}

// String is the address in sendmail's notation, as it was written.
func (a Address) String() string { return a.text }

// Dial returns what net.Dial and net.Listen take.
func (a Address) Dial() (network, address string) {
	if a.network == "unix" {
		return a.network, a.path
	}
	return a.network, net.JoinHostPort(a.host, strconv.Itoa(int(a.port)))
}

// Port is the port, 0 for a unix socket and for any port.
func (a Address) Port() uint16 { return a.port }

// Loopback reports whether only programs of this machine can reach the address.
func (a Address) Loopback() bool { return a.network == "unix" || a.addr.IsLoopback() }

// Same reports whether two sockets cannot both be opened, as far as the addresses
// tell without asking the DNS.
func (a Address) Same(b Address) bool {
	if a.network != b.network || a.port != b.port || a.path != b.path {
		return false
	}
	return a.host == b.host || a.addr.IsValid() && a.addr == b.addr ||
		a.addr.IsUnspecified() || b.addr.IsUnspecified()
}

// MayBeSame reports whether a connection to b may reach a. A host name may stand
// for any address, and a directory may be a symbolic link, as /var/run is one to /run.
func (a Address) MayBeSame(b Address) bool {
	return a.Same(b) || a.network == "unix" && b.network == "unix" && withoutLinks(a.path) == withoutLinks(b.path) ||
		a.network == b.network && a.port == b.port && a.path == b.path && !(a.addr.IsValid() && b.addr.IsValid())
}

// withoutLinks is a path in whose directories, as far as they exist, symbolic links are
// resolved.
func withoutLinks(path string) string {
	dir := filepath.Dir(path)
	if dir == path {
		return path
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		real = withoutLinks(dir)
	}
	return filepath.Join(real, filepath.Base(path))
}
