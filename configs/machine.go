package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"milterd/configs/sendmail"
	"milterd/policy/access"
	"milterd/policy/grant"
)

// machine is what sendmail finds out about the machine it runs on when it
// starts. The DNS is never asked: a configuration means the same whether there
// is a network or not.
type machine struct {
	name       func() string // the full host name, empty if there is none
	interfaces func() ([]interfaceAddr, error)
	hosts      func() ([]byte, error) // the text of /etc/hosts
}

// interfaceAddr is an address of a network interface that is up.
type interfaceAddr struct {
	netip.Addr
	// loopback: the interface is one that leads nowhere else; its address need
	// not be a loopback address.
	loopback bool
}

// hostsFile is where names and addresses stand that need no DNS, and maxHosts is
// the longest that is read.
const (
	hostsFile = "/etc/hosts"
	maxHosts  = 16 << 20
)

func thisMachine() machine {
	return machine{
		name:       machineName,
		interfaces: interfaceAddrs,
		hosts:      func() ([]byte, error) { return readFile(hostsFile, maxHosts) },
	}
}

// classW lists what sendmail adds to class w at its start beside the host name:
// the addresses and other names that /etc/hosts gives the host name; then, unless
// the probing is off, the IPv4 addresses of the interfaces and the names that
// /etc/hosts gives them. An IPv6 address of an interface is not among them: on
// Linux, sendmail's way to ask for the interfaces (SIOCGIFCONF) tells IPv4 only.
func (m machine) classW(probe sendmail.Probe) ([]string, error) {
	text, err := m.hosts()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	hosts := parseHosts(text)
	names := hosts.ofMachine(m.name())
	if probe == sendmail.ProbeNone {
		return names, nil
	}
	addrs, err := m.interfaces()
	if err != nil {
		return names, fmt.Errorf("list the network interfaces: %w", err)
	}
	for _, a := range addrs {
		if !a.Is4() {
			continue
		}
		names = append(names, literal(a.Addr))
		if a.loopback && probe == sendmail.ProbeNoLoopbackNames {
			continue
		}
		for _, name := range hosts.names(a.Addr) {
			names = append(names, name, "["+name+"]")
		}
	}
	return names, nil
}

// networks are the addresses that this machine sends from to itself. Without a list
// of its interfaces they are the loopback ones.
func (m machine) networks() []netip.Prefix {
	own, _ := grant.Networks("loopback")
	addrs, err := m.interfaces()
	if err != nil {
		return own
	}
	for _, a := range addrs {
		own = append(own, netip.PrefixFrom(a.WithZone(""), a.BitLen()))
	}
	return own
}

// literal is an address as class w holds it.
func literal(a netip.Addr) string { return "[" + access.FormatAddr(a) + "]" }

func interfaceAddrs() ([]interfaceAddr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []interfaceAddr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				list = append(list, interfaceAddr{Addr: prefix.Addr().Unmap(), loopback: i.Flags&net.FlagLoopback != 0})
			}
		}
	}
	return list, nil
}

// hostsTable is /etc/hosts, line by line; see hosts(5).
type hostsTable []hostsLine

type hostsLine struct {
	addr  netip.Addr
	names []string
}

func parseHosts(text []byte) hostsTable {
	var table hostsTable
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		if addr, err := netip.ParseAddr(words[0]); err == nil {
			table = append(table, hostsLine{addr: addr.Unmap().WithZone(""), names: words[1:]})
		}
	}
	return table
}

// names are the names of an address, from the first line that has it.
func (t hostsTable) names(addr netip.Addr) []string {
	if i := slices.IndexFunc(t, func(l hostsLine) bool { return l.addr == addr }); i >= 0 {
		return t[i].names
	}
	return nil
}

// ofMachine lists the addresses and names of the lines that hold the machine's
// name. If there are IPv6 addresses sendmail takes them alone, as the C library
// gives them to a program that prefers IPv6.
func (t hostsTable) ofMachine(full string) []string {
	if full == "" {
		return nil
	}
	short, _, _ := strings.Cut(full, ".")
	lines := t.with(short)
	if len(lines) == 0 {
		lines = t.with(full)
	}
	is6 := slices.ContainsFunc(lines, func(l hostsLine) bool { return l.addr.Is6() })
	var list []string
	for _, line := range lines {
		if line.addr.Is6() == is6 {
			list = append(append(list, literal(line.addr)), line.names...)
		}
	}
	return list
}

// with are the lines that hold a name.
func (t hostsTable) with(name string) hostsTable {
	return slices.DeleteFunc(slices.Clone(t), func(l hostsLine) bool {
		return !slices.ContainsFunc(l.names, func(n string) bool { return strings.EqualFold(n, name) })
	})
}

// machineName is this machine's full host name as far as its own files tell,
// which is where sendmail looks first; empty if the machine has none.
func machineName() string {
	short, err := os.Hostname()
	if err != nil || strings.Contains(short, ".") {
		return short
	}
	text, err := readFile(hostsFile, maxHosts)
	if lines := parseHosts(text).with(short); err == nil && len(lines) > 0 {
		return lines[0].names[0]
	}
	return short
}
