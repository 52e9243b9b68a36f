package door

import (
	"errors"
	"os"
	"strings"
	"testing"

	"milterd/policy/printable"
)

func TestParseAddress(t *testing.T) {
	const notAHost = ": expected a host name or an address after @"
	tests := []struct {
		name, spec       string
		network, address string
		err              string // behind the quoted address
	}{
		{"a unix socket", "local:/run/milterd/milter.sock", "unix", "/run/milterd/milter.sock", ""},
		{"its other spelling", "unix:/run/milterd/milter.sock", "unix", "/run/milterd/milter.sock", ""},
		{"a path is tidied", "local:/run//milterd/./milter.sock", "unix", "/run/milterd/milter.sock", ""},
		{"a port without host is loopback only", "inet:8891", "tcp4", "127.0.0.1:8891", ""},
		{"a port and an address", "inet:8891@192.0.2.1", "tcp4", "192.0.2.1:8891", ""},
		{"an address in brackets", "inet:8891@[192.0.2.1]", "tcp4", "192.0.2.1:8891", ""},
		{"a port and a host name", "inet:8891@localhost", "tcp4", "localhost:8891", ""},
		{"every address, said so", "inet:8891@0.0.0.0", "tcp4", "0.0.0.0:8891", ""},
		{"an IPv6 port without host is loopback only", "inet6:8891", "tcp6", "[::1]:8891", ""},
		{"an IPv6 address", "inet6:8891@2001:db8::1", "tcp6", "[2001:db8::1]:8891", ""},
		{"an IPv6 address in brackets", "inet6:8891@[2001:db8::1]", "tcp6", "[2001:db8::1]:8891", ""},
		{"an IPv6 address as sendmail writes it", "inet6:8891@IPv6:2001:db8::1", "tcp6", "[2001:db8::1]:8891", ""},
		{"an IPv6 address as sendmail.cf has it", "inet6:8891@[IPv6:2001:db8::1]", "tcp6", "[2001:db8::1]:8891", ""},
		{"a link-local address", "inet6:8891@fe80::1%eth0", "tcp6", "[fe80::1%eth0]:8891", ""},

		{"nothing", "", "", "", ` is not an address, expected local:/path, inet:port@host or inet6:port@host`},
		{"a bare path", "/run/x", "", "", ` is not an address, expected local:/path, inet:port@host or inet6:port@host`},
		{"an unknown kind", "tcp:8891", "", "", ` is not an address, expected local:/path, inet:port@host or inet6:port@host`},
		{"a kind alone", "local", "", "", ` is not an address, expected local:/path, inet:port@host or inet6:port@host`},
		{"a relative path", "local:milter.sock", "", "", `: expected an absolute path after "local:"`},
		{"no path", "unix:", "", "", `: expected an absolute path after "unix:"`},
		{"a directory", "unix:/run/milterd/", "", "", ` is a directory, expected the path of a socket`},
		{"a path with NUL", "unix:/run/\x00", "", "", `: expected a path without control characters`},
		{"a path with an escape", "unix:/run/\x1b[m", "", "", `: expected a path without control characters`},
		{"a path beyond the kernel's limit", "local:/" + strings.Repeat("x", 107), "", "", `: a path of 108 octets, expected 107 at most`},
		{"no port", "inet:", "", "", `: expected a port from 1 to 65535 after "inet:"`},
		{"port 0", "inet:0", "", "", `: expected a port from 1 to 65535 after "inet:"`},
		{"a port too high", "inet:65536", "", "", `: expected a port from 1 to 65535 after "inet:"`},
		{"a port that reads as octal", "inet6:025", "", "", `: expected a port from 1 to 65535 after "inet6:"`},
		{"host and port the wrong way round", "inet:localhost@8891", "", "", `: expected a port from 1 to 65535 after "inet:"`},
		{"an empty host", "inet:8891@", "", "", notAHost},
		{"empty brackets", "inet:8891@[]", "", "", notAHost},
		{"half a bracket", "inet:8891@[127.0.0.1", "", "", notAHost},
		{"a host that is none", "inet:8891@a b", "", "", notAHost},
		{"two hosts", "inet:8891@a@b", "", "", notAHost},
		{"an address with an octet too many", "inet:8891@192.0.2.1.1", "", "", notAHost},
		{"an address that the resolver would complete", "inet:8891@127.1", "", "", notAHost},
		{"a number", "inet:8891@0x7f000001", "", "", notAHost},
		{"a link-local address on nothing", "inet6:8891@fe80::1%eth 0", "", "", notAHost},
		{"IPv6 as inet", "inet:8891@::1", "", "", `: an IPv6 address, which inet6: is for (inet: takes IPv4)`},
		{"IPv4 as inet6", "inet6:8891@127.0.0.1", "", "", `: an IPv4 address, which inet: is for (inet6: takes IPv6)`},
		{"mapped IPv4 as inet6", "inet6:8891@::ffff:127.0.0.1", "", "", `: an IPv4 address, which inet: is for (inet6: takes IPv6)`},
		{"mapped IPv4 as inet", "inet:8891@::ffff:127.0.0.1", "", "", notAHost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseAddress(tt.spec)
			if tt.err != "" {
				if want := printable.Quote(tt.spec) + tt.err; err == nil || err.Error() != want {
					t.Errorf("got  %v\nwant %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if network, address := got.Dial(); network != tt.network || address != tt.address {
				t.Errorf("got %q %q, want %q %q", network, address, tt.network, tt.address)
			}
			if got.String() != tt.spec {
				t.Errorf("prints as %s, want %s", got, tt.spec)
			}
		})
	}
}

func TestParsePacketAddress(t *testing.T) {
	const notUDP = " is not a UDP address, expected inet:port@host or inet6:port@host, port 0 for any port"
	for spec, want := range map[string]string{
		"inet:0":             "127.0.0.1:0",
		"inet:0@192.0.2.1":   "192.0.2.1:0",
		"inet6:0":            "[::1]:0",
		"inet:900@localhost": "localhost:900",
		"":                   printable.Quote("") + notUDP,
		"local:/run/x":       printable.Quote("local:/run/x") + notUDP,
		"inet:0@[":           printable.Quote("inet:0@[") + ": expected a host name or an address after @",
	} {
		a, err := ParsePacketAddress(spec)
		_, got := a.Dial()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", spec, got, want)
		}
	}
}

func TestLoopbackAddresses(t *testing.T) {
	for spec, want := range map[string]bool{
		"local:/run/x": true, "inet:25": true, "inet:25@127.9.8.7": true, "inet:25@LocalHost": true,
		"inet6:25": true, "inet6:25@[::1]": true, "inet6:25@localhost": true, "inet6:25@IPv6:::1": true,
		"inet:25@0.0.0.0": false, "inet6:25@::": false, "inet:25@203.0.113.5": false, "inet:25@mx.example.test": false,
		"inet:25@localhost.example.test": false,
	} {
		a, err := ParseAddress(spec)
		if err != nil || a.Loopback() != want {
			t.Errorf("%s: %v, %v; want %v", spec, a.Loopback(), err, want)
		}
	}
}

func TestSameAddresses(t *testing.T) {
	tests := []struct {
		own, other  string // other in the notation of sendmail.cf
		same, maybe bool
	}{
		{"local:/run/m", "unix:/run/./m", true, true},
		{"local:/run/m", "/run//m", true, true},
		{"local:/run/m", "LOCAL:/run/m", true, true},
		{"local:/run/m", ":/run/m", true, true},
		{"local:/run/m", "local:/run/n", false, false},
		{"inet:25", "local:/run/m", false, false},
		{"inet:25", "INET:25@localhost", true, true},
		{"inet:25", "inet:25@[127.0.0.1]", true, true},
		{"inet:25", "inet:26", false, false},
		{"inet:25", "inet6:25", false, false},
		{"inet:25", "inet:25@203.0.113.5", false, false},
		{"inet:25@0.0.0.0", "inet:25@203.0.113.5", true, true},
		{"inet:25@203.0.113.5", "inet:25@mx.example.test", false, true},
		{"inet:25@MX.example.test", "inet:25@mx.Example.test", true, true},
		{"inet:25@mx.example.test", "inet:25@mail.example.test", false, true},
		{"inet6:25@::", "inet6:25@mx.example.test", true, true},
		{"inet6:25@2001:db8:0::1", "inet6:25@[IPv6:2001:db8::1]", true, true},
	}
	for _, tt := range tests {
		a, err := ParseAddress(tt.own)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ParseSendmail(tt.other)
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][2]Address{{a, b}, {b, a}} {
			if got := pair[0].Same(pair[1]); got != tt.same {
				t.Errorf("%s is %s: %v, want %v", pair[0], pair[1], got, tt.same)
			}
			if got := pair[0].MayBeSame(pair[1]); got != tt.maybe {
				t.Errorf("%s may be %s: %v, want %v", pair[0], pair[1], got, tt.maybe)
			}
		}
	}
}

func TestASocketInALinkedDirectoryMayBeTheSame(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/run", 0o755), os.Symlink("run", dir+"/var")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		own, other string
		maybe      bool
	}{
		{"/run/s", "/var/s", true},
		{"/run/not/there/s", "/var/not/there/s", true},
		{"/run/s", "/var/t", false},
		{"/run/s", "/var/run/s", false},
	} {
		a, errA := ParseAddress("local:" + dir + c.own)
		b, errB := ParseSendmail("local:" + dir + c.other)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if a.MayBeSame(b) != c.maybe || b.MayBeSame(a) != c.maybe {
			t.Errorf("%s may be %s: expected %v", a, b, c.maybe)
		}
	}
}

func TestListenPacket(t *testing.T) {
	conn, err := ListenPacket("inet:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	used := strings.TrimPrefix(conn.LocalAddr().String(), "127.0.0.1:")
	if second, err := ListenPacket("inet:" + used); err == nil {
		second.Close()
		t.Error("listens on a port in use")
	} else if !strings.HasPrefix(err.Error(), "listen on inet:"+used+": ") {
		t.Errorf("the error does not say where: %v", err)
	}
}
