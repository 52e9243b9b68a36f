package drac

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// numbers is XDR of unsigned integers.
func numbers(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// wire reads what a packet dump shows.
func wire(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// xid is the number of the calls below.
const xid = 0x6b8b4567

// callOf is a call without credentials.
func callOf(program, version, procedure uint32, argument []byte) []byte {
	return append(numbers(xid, 0, 2, program, version, procedure, 0, 0, 0, 0), argument...)
}

// withCredential is a valid ADD with a credential of a flavor.
func withCredential(flavor uint32, body []byte) []byte {
	b := numbers(xid, 0, 2, 900101, 1, 1, flavor, uint32(len(body)))
	b = append(b, body...)
	b = append(b, make([]byte, -len(body)&3)...)
	return append(b, numbers(0, 0, 0xcb007108)...)
}

func TestParseCall(t *testing.T) {
	sys := append(append(numbers(1700000000, 4), "mail"...), numbers(0, 0, 2, 8, 12)...)
	dropped := call{}
	add := func(addr string) call { return call{xid: xid, add: netip.MustParseAddr(addr)} }
	answered := func(results ...uint32) call {
		return call{xid: xid, reply: numbers(append([]uint32{xid, 1}, results...)...)}
	}
	useless := func(results ...uint32) call {
		c := answered(results...)
		c.broken = true
		return c
	}
	mapped := netip.MustParseAddr("::ffff:203.0.113.8").As16()
	six := netip.MustParseAddr("2001:db8::8").As16()
	var each []byte
	for _, octet := range six {
		each = append(each, numbers(uint32(octet))...)
	}
	for _, test := range []struct {
		name     string
		datagram []byte
		want     call
	}{
		{"an ADD", callOf(900101, 1, 1, numbers(0xcb007108)), add("203.0.113.8")},
		{"an ADD of an IPv6 address", callOf(900101, 2, 1, six[:]), add("2001:db8::8")},
		{"an ADD of an IPv6 address, octet by octet", callOf(900101, 2, 1, each), add("2001:db8::8")},
		{"an ADD of a mapped IPv4 address", callOf(900101, 2, 1, mapped[:]), add("203.0.113.8")},
		{"a NULL", callOf(900101, 1, 0, nil), answered(0, 0, 0, 0)},
		{"a NULL of version 2", callOf(900101, 2, 0, nil), answered(0, 0, 0, 0)},
		{"a credential of AUTH_SYS", withCredential(1, sys), add("203.0.113.8")},
		{"a verifier", append(append(numbers(xid, 0, 2, 900101, 1, 1, 0, 0, 2, 4), "sign"...), numbers(0xcb007108)...), add("203.0.113.8")},

		{"nothing", nil, dropped},
		{"less than the answer would be", numbers(xid, 0, 2, 900101, 1, 0, 0, 0, 0), dropped},
		{"a reply", append(numbers(xid, 1, 0, 0, 0, 0, 0), make([]byte, 20)...), dropped},
		{"a message that is neither", append(numbers(xid, 7, 2), make([]byte, 40)...), dropped},
		{"another version of RPC", append(numbers(xid, 0, 3), make([]byte, 40)...), useless(1, 0, 2, 2)},
		{"another program", callOf(100003, 3, 0, nil), useless(0, 0, 0, 1)},
		{"another version", callOf(900101, 3, 1, six[:]), useless(0, 0, 0, 2, 1, 2)},
		{"version zero, with which clients ask for the versions", callOf(900101, 0, 0, nil), useless(0, 0, 0, 2, 1, 2)},
		{"another procedure", callOf(900101, 1, 2, numbers(1)), useless(0, 0, 0, 3)},
		{"an ADD without an address", callOf(900101, 1, 1, nil), useless(0, 0, 0, 4)},
		{"an ADD of an address of three bytes", callOf(900101, 1, 1, []byte{203, 0, 113}), useless(0, 0, 0, 4)},
		{"an ADD of a 64-bit number", callOf(900101, 1, 1, numbers(0, 0xcb007108)), useless(0, 0, 0, 4)},
		{"an ADD of an IPv4 address in version 2", callOf(900101, 2, 1, numbers(0xcb007108)), useless(0, 0, 0, 4)},
		{"an ADD of numbers that are no octets", callOf(900101, 2, 1, append(numbers(0x100), each[4:]...)), useless(0, 0, 0, 4)},
		{"a NULL with an argument", callOf(900101, 1, 0, numbers(1)), useless(0, 0, 0, 4)},
		{"a credential that is too long", withCredential(0, make([]byte, 404)), useless(1, 1, 1)},
		{"a credential that is longer than the datagram", numbers(xid, 0, 2, 900101, 1, 1, 0, 400, 0, 0, 0xcb007108), useless(1, 1, 1)},
		{"a credential of 4 GiB", numbers(xid, 0, 2, 900101, 1, 1, 0, 0xffffffff, 0, 0, 0xcb007108), useless(1, 1, 1)},
		{"a verifier that is cut off", numbers(xid, 0, 2, 900101, 1, 1, 0, 0, 0, 8, 1), useless(1, 1, 1)},
		{"an unknown flavor", withCredential(6, sys), useless(1, 1, 2)},
		{"AUTH_SYS that is none", withCredential(1, numbers(1)), useless(1, 1, 1)},
		{"AUTH_SYS with more groups than it has", withCredential(1, numbers(1, 0, 0, 0, 16, 1)), useless(1, 1, 1)},
		{"AUTH_SYS with a thousand million groups", withCredential(1, numbers(1, 0, 0, 0, 1<<30)), useless(1, 1, 1)},
		{"AUTH_SYS with a long name", withCredential(1, append(numbers(1, 256), make([]byte, 100)...)), useless(1, 1, 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseCall(test.datagram)
			if wantOK := test.want.xid != 0; ok != wantOK {
				t.Fatalf("answered: %t, expected %t", ok, wantOK)
			}
			if !ok {
				return
			}
			if diff := cmp.Diff(test.want, got, asCalls); diff != "" {
				t.Errorf("call (-want +got):\n%s", diff)
			}
		})
	}
}

var asCalls = cmp.Options{cmp.AllowUnexported(call{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}

// What libtirpc 1.3.3 sends: with the conversions of DRAC's own library, from a
// client that leaves them out, and for the two ways to declare an IPv6 address.
func TestWhatTheRPCLibrarySends(t *testing.T) {
	for _, test := range []struct{ name, call, want string }{
		{"the number that the library of DRAC makes of 203.0.113.8", `
			6b080552 00000000 00000002 000dbc05 00000001 00000001
			00000000 00000000 00000000 00000000 cb007108`, "203.0.113.8"},
		{"that of a client on a little-endian machine that does not convert", `
			6b080f70 00000000 00000002 000dbc05 00000001 00000001
			00000000 00000000 00000000 00000000 087100cb`, "8.113.0.203"},
		{"sixteen octets", `
			6b08f06d 00000000 00000002 000dbc05 00000002 00000001
			00000000 00000000 00000000 00000000 20010db8 00000000 00000000 00000008`, "2001:db8::8"},
		{"sixteen numbers", `
			6b08f8b1 00000000 00000002 000dbc05 00000002 00000001
			00000000 00000000 00000000 00000000
			00000020 00000001 0000000d 000000b8 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000008`, "2001:db8::8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseCall(wire(t, test.call))
			if !ok || got.add.String() != test.want {
				t.Errorf("parsed: %t, address %s, expected %s", ok, got.add, test.want)
			}
		})
	}
}

func TestAddReplies(t *testing.T) {
	for s, want := range map[status]string{
		statusSuccess:     "6b8b4567 00000001 00000000 00000000 00000000 00000000 00000000",
		statusDenied:      "6b8b4567 00000001 00000000 00000000 00000000 00000000 00000001",
		statusSystemError: "6b8b4567 00000001 00000000 00000000 00000000 00000000 00000002",
	} {
		if got := (call{xid: xid}).added(s); !bytes.Equal(got, wire(t, want)) {
			t.Errorf("status %d: %x, expected %s", s, got, want)
		}
	}
}

func FuzzCall(f *testing.F) {
	f.Add(callOf(900101, 1, 1, numbers(0xcb007108)))
	f.Add(callOf(900101, 2, 1, make([]byte, 64)))
	f.Add(withCredential(1, append(append(numbers(1, 3), "mx\x00\x00"...), numbers(0, 0, 1, 8)...)))
	f.Add(callOf(100000, 2, 3, nil))
	f.Add(numbers(xid, 1, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		c, ok := parseCall(datagram)
		if !ok {
			if c.reply != nil || c.add.IsValid() {
				t.Fatalf("not answered, but %+v", c)
			}
			return
		}
		reply := c.reply
		if c.add.IsValid() == (reply != nil) {
			t.Fatalf("expected either an address or a reply: %+v", c)
		}
		if c.add.IsValid() {
			if c.broken || c.add.Is4In6() {
				t.Fatalf("a call to carry out: %+v", c)
			}
			reply = c.added(statusDenied)
		}
		if len(reply) > len(datagram) {
			t.Fatalf("a reply of %d bytes to a call of %d", len(reply), len(datagram))
		}
		if !bytes.Equal(reply[:4], datagram[:4]) {
			t.Fatalf("call %x was answered as call %x", datagram[:4], reply[:4])
		}
		// A reply must never be taken for a call.
		if _, ok := parseCall(append(reply, make([]byte, minCall)...)); ok {
			t.Fatalf("the reply %x is a call", reply)
		}
	})
}
