package drac

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
)

// fakeRpcbind answers each connection with what answer gives for the call, and
// keeps the calls. integration/drac has the real one.
type fakeRpcbind struct {
	socket string

	mu    sync.Mutex
	calls []string
}

func (f *fakeRpcbind) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fakeRpcbind) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

// record puts a message into one fragment.
func record(message []byte) []byte {
	return append(numbers(uint32(len(message))|lastFragment), message...)
}

// boolean is the reply to the call of a Rpcbind.
func boolean(result uint32) []byte { return record(numbers(1, 1, 0, 0, 0, 0, result)) }

func startFake(t *testing.T, answer func(procedure uint32) []byte) *fakeRpcbind {
	t.Helper()
	f := &fakeRpcbind{socket: filepath.Join(t.TempDir(), "rpcbind.sock")}
	testkit.Serve(t, "unix", f.socket, func(conn net.Conn) { f.serve(conn, answer) })
	return f
}

func (f *fakeRpcbind) serve(conn net.Conn, answer func(uint32) []byte) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	message := make([]byte, binary.BigEndian.Uint32(head)&^lastFragment)
	if _, err := io.ReadFull(conn, message); err != nil {
		return
	}
	d := decoder{rest: message[5*4:]}
	procedure := d.uint32()
	d.rest = d.rest[4*4:]
	program, version := d.uint32(), d.uint32()
	netid, address, owner := d.opaque(10), d.opaque(100), d.opaque(10)
	name := map[uint32]string{rpcbindSet: "set", rpcbindUnset: "unset"}[procedure]
	if program != Program || len(owner) != 0 || len(d.rest) != 0 {
		name = "malformed " + name
	}
	f.note(strings.Join([]string{name, string(rune('0' + version)), string(netid), string(address)}, " "))
	if reply := answer(procedure); reply != nil {
		_, _ = conn.Write(reply)
		return
	}
	_, _ = conn.Read(head) // until the caller has enough
}

// keep runs a registration and returns what ends it.
func keep(t *testing.T, f *fakeRpcbind, addr string, interval time.Duration) (log *testkit.Log, end func()) {
	t.Helper()
	log = new(testkit.Log)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		Rpcbind{Addr: netip.MustParseAddrPort(addr), Socket: f.socket, Interval: interval, Logger: log.Logger()}.Run(ctx)
	})
	end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(end)
	return log, end
}

func TestRegistrationOfEachKindOfSocket(t *testing.T) {
	for _, test := range []struct {
		name, addr string
		want       []string
	}{
		{"an IPv4 address", "127.0.0.1:51210", []string{
			"set 1 udp 127.0.0.1.200.10", "set 2 udp 127.0.0.1.200.10"}},
		{"an IPv6 address", "[::1]:255", []string{
			"set 1 udp6 ::1.0.255", "set 2 udp6 ::1.0.255"}},
		{"every address of both families", "[::]:51210", []string{
			"set 1 udp 0.0.0.0.200.10", "set 1 udp6 ::.200.10", "set 2 udp 0.0.0.0.200.10", "set 2 udp6 ::.200.10"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := startFake(t, func(uint32) []byte { return boolean(1) })
			log, end := keep(t, f, test.addr, time.Hour)
			testkit.Eventually(t, "the registration", func() bool { return strings.Count(log.String(), "drac registered with rpcbind") == 1 })
			end()
			// Each line is cleared before it is entered, and again at the end.
			var want []string
			for _, set := range test.want {
				unset := "un" + set
				want = append(want, set, unset, unset)
			}
			got := f.seen()
			sort.Strings(got)
			sort.Strings(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARegistrationOfSomebodyElseIsLeftAlone(t *testing.T) {
	f := startFake(t, func(procedure uint32) []byte { return boolean(0) })
	log, end := keep(t, f, "127.0.0.1:51210", time.Millisecond)
	testkit.Eventually(t, "it is tried again", func() bool { return len(f.seen()) >= 10 })
	end()
	if n := strings.Count(log.String(), "by another program or user"); n != 1 {
		t.Errorf("%d lines about it, expected one:\n%s", n, log)
	}
	for i, call := range f.seen() {
		if strings.HasPrefix(call, "unset") != (i < 2) {
			t.Errorf("call %d is %s", i+1, call)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for _, test := range []struct {
		name  string
		reply []byte
		want  string
	}{
		{"the end", []byte{}, "EOF"},
		{"the end within a fragment", numbers(100|lastFragment, 1), "unexpected EOF"},
		{"a fragment of 2 GiB", numbers(0xffffffff), "fragment of 2147483647 bytes, expected 1 to 1024 in all"},
		{"fragments without end", bytes.Repeat(append(numbers(512), make([]byte, 512)...), 4), "fragment of 512 bytes, expected 1 to 1024 in all"},
		{"an empty fragment", numbers(0), "fragment of 0 bytes, expected 1 to 1024 in all"},
		{"the reply to another call", record(numbers(2, 1, 0, 0, 0, 0, 1)), "it is for call 2, not 1"},
		{"a call", record(numbers(1, 0, 2, 900101, 1, 0, 0, 0, 0, 0)), "it is not a reply"},
		{"a denial", record(numbers(1, 1, 1, 1, 5)), "the call was denied"},
		{"an unknown program", record(numbers(1, 1, 0, 0, 0, 1)), "the call was not carried out, status 1"},
		{"no result", record(numbers(1, 1, 0, 0, 0, 0)), "the result is not a boolean"},
		{"a number", record(numbers(1, 1, 0, 0, 0, 0, 2)), "the result is not a boolean"},
		{"more than a result", record(numbers(1, 1, 0, 0, 0, 0, 1, 1)), "the result is not a boolean"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := startFake(t, func(uint32) []byte { return test.reply })
			log, end := keep(t, f, "127.0.0.1:51210", time.Millisecond)
			testkit.Eventually(t, "it is tried again", func() bool { return len(f.seen()) >= 5 })
			end()
			if n := strings.Count(log.String(), "drac not registered"); n != 1 || !strings.Contains(log.String(), test.want) {
				t.Errorf("log, expected one line with %q:\n%s", test.want, log)
			}
		})
	}
}

func TestASilentRpcbindDoesNotHoldUpTheEnd(t *testing.T) {
	f := startFake(t, func(uint32) []byte { return nil })
	_, end := keep(t, f, "127.0.0.1:51210", time.Millisecond)
	testkit.Eventually(t, "the call", func() bool { return len(f.seen()) == 1 })
	end()
	if diff := cmp.Diff([]string{"unset 1 udp 127.0.0.1.200.10"}, f.seen()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestAReplyInFragments(t *testing.T) {
	message := numbers(1, 1, 0, 0, 0, 0, 1)
	split := append(append(numbers(9), message[:9]...), append(numbers(19|lastFragment), message[9:]...)...)
	got, err := readRecord(bytes.NewReader(split))
	if err != nil || !bytes.Equal(got, message) {
		t.Errorf("record %x, %v, expected %x", got, err, message)
	}
}

func FuzzRpcbindReply(f *testing.F) {
	f.Add(boolean(1))
	f.Add(numbers(0xffffffff))
	f.Add(append(numbers(4, 1), record(numbers(1, 0, 0, 0, 0, 1))...))
	f.Fuzz(func(t *testing.T, stream []byte) {
		message, err := readRecord(bytes.NewReader(stream))
		if err != nil {
			return
		}
		if len(message) == 0 || len(message) > maxRpcbindReply {
			t.Fatalf("a record of %d bytes", len(message))
		}
		if done, err := parseBoolReply(1, message); done && err != nil {
			t.Fatalf("both done and %v", err)
		}
	})
}
