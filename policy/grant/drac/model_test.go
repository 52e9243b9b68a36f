package drac

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

// datagram is one that the model sends.
type datagram struct {
	data []byte
	// answered: it must have an answer; the others must have none.
	answered bool
	// grants is the address that it opens, if any.
	grants netip.Addr
}

// drawDatagram makes one with a number of its own.
func drawDatagram(rt *rapid.T, number uint32) datagram {
	host := rapid.IntRange(1, 250).Draw(rt, "address")
	good := add(0xcb007100 | uint32(host))
	binary.BigEndian.PutUint32(good, number)
	d := datagram{data: good, answered: true}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(good[4*i:]) }
	switch rapid.IntRange(0, 7).Draw(rt, "kind") {
	case 0, 1, 2:
		d.grants = netip.AddrFrom4([4]byte{203, 0, 113, byte(host)})
	case 3: // cut off: without an argument it is an answer, shorter than a call it is none
		n := rapid.IntRange(1, len(good)-1).Draw(rt, "length")
		d.data, d.answered = good[:n], n >= minCall
	case 4: // more than a call
		d.data = append(good, rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(rt, "more")...)
	case 5: // one that is too long for a call
		d.data, d.answered = append(good, make([]byte, 1100)...), false
	case 6: // a word of the header: kind, RPC version, program, version, procedure
		i := rapid.IntRange(1, 5).Draw(rt, "word")
		value := rapid.Uint32().Filter(func(v uint32) bool { return v != word(i) }).Draw(rt, "value")
		binary.BigEndian.PutUint32(good[4*i:], value)
		d.answered = i != 1
	case 7: // bytes
		d.data, d.answered = rapid.SliceOfN(rapid.Byte(), 0, minCall-1).Draw(rt, "bytes"), false
	}
	return d
}

// TestAnyDatagrams sends calls, broken calls and bytes, from a server that may grant and
// from one that may not. Each call is answered, once and by its number, what is none is
// not; and the grants are those that were asked for by the first, and no others.
func TestAnyDatagrams(t *testing.T) {
	testkit.Rounds(t, 200)
	keeper := newKeeper(t, grant.Config{})
	_, to := serve(t, "udp4", "127.0.0.1", Config{Keeper: keeper, Servers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	trusted, stranger := dial(t, "127.0.0.1", to), dial(t, "127.0.0.2", to)
	number := uint32(0)
	rapid.Check(t, func(rt *rapid.T) {
		var want []string
		for i := range rapid.IntRange(1, 12).Draw(rt, "datagrams") {
			number++
			d := drawDatagram(rt, number)
			conn := trusted
			if rapid.IntRange(0, 3).Draw(rt, "stranger") == 0 {
				conn = stranger
			} else if d.grants.IsValid() {
				want = append(want, d.grants.String())
			}
			if err := exchange(conn, d, number); err != nil {
				rt.Errorf("datagram %d, %x: %v", i, d.data, err)
			}
		}
		var got []string
		for _, g := range granted(t, keeper) {
			var addr string
			if _, err := fmt.Sscan(g, &addr); err != nil {
				rt.Fatal(err)
			}
			got = append(got, addr)
			if _, err := keeper.Revoke(t.Context(), netip.MustParseAddr(addr)); err != nil {
				rt.Fatal(err)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			rt.Errorf("grants %q, expected %q", got, want)
		}
	})
}

// exchange sends a datagram, and behind one that wants no answer a call that does: then no
// other answer may come before.
func exchange(conn *net.UDPConn, d datagram, number uint32) error {
	expected := number
	if _, err := conn.Write(d.data); err != nil {
		return err
	}
	if !d.answered {
		null := callOf(900101, 1, 0, nil)
		expected = number | 1<<31
		binary.BigEndian.PutUint32(null, expected)
		if _, err := conn.Write(null); err != nil {
			return err
		}
	}
	reply := make([]byte, 2048)
	n, err := conn.Read(reply)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("no answer")
	case err != nil:
		return err
	case n < 4 || binary.BigEndian.Uint32(reply) != expected:
		return fmt.Errorf("the answer %x is not that of call %d", reply[:n], expected)
	case d.answered && n > len(d.data):
		return fmt.Errorf("the answer has %d octets, the call %d", n, len(d.data))
	}
	return nil
}
