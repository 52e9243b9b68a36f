package milter

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

func TestFrameCheck(t *testing.T) {
	limits := Limits{Macros: 2, Arguments: 2, Headers: 3, HeaderBytes: 30}.withDefaults()
	tests := []struct {
		name    string
		command byte
		data    string
		want    string // reason; empty for a good frame
	}{
		{"sendmail's CONNECT", 'C', "mx.example\x004\x9c\xb0203.0.113.8\x00", ""},
		{"CONNECT over IPv6", 'C', "mx.example\x006\x9c\xb02001:db8::8\x00", ""},
		{"CONNECT over IPv6 with sendmail's prefix", 'C', "mx.example\x006\x9c\xb0IPv6:2001:db8:0:0:0:0:0:8\x00", ""},
		{"CONNECT over IPv6 in brackets", 'C', "mx.example\x006\x9c\xb0[2001:db8::8]\x00", ""},
		{"CONNECT of a local submission", 'C', "localhost\x00U", ""},
		{"CONNECT through a unix socket", 'C', "localhost\x00L\x00\x00/run/x\x00", ""},
		{"CONNECT without data", 'C', "", "host name without NUL"},
		{"CONNECT without NUL", 'C', "mx.example", "host name without NUL"},
		{"CONNECT without family", 'C', "mx.example\x00", "no address family"},
		{"CONNECT of an unknown family", 'C', "mx.example\x00X", "address family 'X', expected U, L, 4 or 6"},
		{"CONNECT with half a port", 'C', "mx.example\x004\x9c", "no port"},
		{"CONNECT without address", 'C', "mx.example\x004\x9c\xb0", "address without NUL"},
		{"CONNECT with an open address", 'C', "mx.example\x004\x9c\xb0203.0.113.8", "address without NUL"},
		{"CONNECT with IPv6 called IPv4", 'C', "mx.example\x004\x9c\xb02001:db8::8\x00", `"2001:db8::8" is not an IPv4 address`},
		{"CONNECT with IPv4 in brackets", 'C', "mx.example\x004\x9c\xb0[203.0.113.8]\x00", `"[203.0.113.8]" is not an IPv4 address`},
		{"CONNECT with an address that is none", 'C', "mx.example\x006\x9c\xb0hello\x00", `"hello" is not an IPv6 address`},
		{"CONNECT beyond the size of a line", 'C', strings.Repeat("x", maxLineFrame) + "\x00U", "65538 bytes, expected 65536 at most"},
		{"HELO", 'H', "mx.example\x00", ""},
		{"HELO without a name", 'H', "\x00", ""},
		{"HELO without NUL", 'H', "mx.example", "text without NUL"},
		{"HELO without data", 'H', "", "text without NUL"},
		{"HELO with two names", 'H', "a\x00b\x00", "2 strings, expected 1 at most"},
		{"MAIL", 'M', "<a@good.example>\x00SIZE=1\x00BODY=8BITMIME\x00", ""},
		{"MAIL without NUL", 'M', "<a@good.example>", "text without NUL"},
		{"MAIL with an open parameter", 'M', "<a@good.example>\x00SIZE=1", "text without NUL"},
		{"MAIL without data", 'M', "", "text without NUL"},
		{"MAIL with too many parameters", 'M', "<a@good.example>\x00A\x00B\x00C\x00", "4 strings, expected 3 at most"},
		{"RCPT", 'R', "<b@our.example>\x00", ""},
		{"RCPT without NUL", 'R', "<b@our.example>", "text without NUL"},
		{"RCPT without data", 'R', "", "text without NUL"},
		{"macros", 'D', "Mi\x00abc\x00{auth_type}\x00PLAIN\x00", ""},
		{"an empty list of macros", 'D', "M", ""},
		{"macros without command", 'D', "", "macros for no command"},
		{"macros for an unknown command", 'D', "Xi\x00abc\x00", "macros for the unknown command 'X'"},
		{"a macro without value", 'D', "Mi\x00", "macro without a value"},
		{"a macro without NUL", 'D', "Mi\x00abc", "macro without NUL"},
		{"too many macros", 'D', "Ma\x001\x00b\x002\x00c\x003\x00", "3 macros, expected 2 at most"},
		{"a header field", 'L', "Subject\x00hi\x00", ""},
		{"a header field without value", 'L', "Subject\x00\x00", ""},
		{"a header field without name", 'L', "\x00hi\x00", "expected the name and the value of a header field"},
		{"a header field without data", 'L', "", "expected the name and the value of a header field"},
		{"a header field without a second NUL", 'L', "Subject\x00hi", "expected the name and the value of a header field"},
		{"a header field of three parts", 'L', "a\x00b\x00c\x00", "expected the name and the value of a header field"},
		{"header fields beyond their total size", 'L', "Subject\x00" + strings.Repeat("x", 30) + "\x00", "more than 30 bytes of header fields in a message"},
		{"DATA", 'T', "", ""},
		{"end of header", 'N', "", ""},
		{"body", 'B', "anything\x00at all", ""},
		{"end of message", 'E', "", ""},
		{"ABORT", 'A', "", ""},
		{"QUIT", 'Q', "", ""},
		{"QUIT_NC", 'K', "", ""},
		{"unknown SMTP command", 'U', "FOO\x00", ""},
		{"a second OPTNEG", 'O', strings.Repeat("\x00", 12), "a second OPTNEG"},
		{"a command that does not exist", 'x', "", "unknown command"},
		{"a command byte of zero", 0, "", "unknown command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := frameChecker{limits: limits, negotiated: true}
			if got := c.problem(tt.command, []byte(tt.data)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFrameCheckSequence(t *testing.T) {
	c := frameChecker{limits: Limits{Headers: 2}.withDefaults()}
	steps := []struct {
		name    string
		command byte
		data    string
		want    string
	}{
		{"nothing comes before OPTNEG", 'Q', "", "expected OPTNEG first"},
		{"OPTNEG needs all three numbers", 'O', "\x00\x00\x00\x06", "4 bytes, expected 12 at least"},
		{"a short OPTNEG does not count", 'H', "x\x00", "expected OPTNEG first"},
		{"OPTNEG", 'O', strings.Repeat("\x00", 12), ""},
		{"MAIL begins to count header fields", 'M', "<>\x00", ""},
		{"the first field", 'L', "a\x00b\x00", ""},
		{"the last field", 'L', "a\x00b\x00", ""},
		{"the field above the limit", 'L', "a\x00b\x00", "more than 2 header fields in a message"},
		{"the next message counts from zero", 'M', "<>\x00", ""},
		{"its first field", 'L', "a\x00b\x00", ""},
	}
	for _, step := range steps {
		if got := c.problem(step.command, []byte(step.data)); got != step.want {
			t.Fatalf("%s: got %q, want %q", step.name, got, step.want)
		}
	}
}

// memoryConn is the socket of a peer that has sent its data and gone.
type memoryConn struct {
	io.Reader
	net.Conn
}

func (c memoryConn) Read(p []byte) (int, error)       { return c.Reader.Read(p) }
func (c memoryConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c memoryConn) Close() error                     { return nil }
func (c memoryConn) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }
func (c memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c memoryConn) SetWriteDeadline(time.Time) error { return nil }

func testGuard(limits Limits) *guard {
	return &guard{
		limits: limits.withDefaults(), max: 1, logger: slog.New(slog.DiscardHandler),
		counter: newCounters(), conns: make(map[uint32]*guardedConn),
	}
}

// forLibrary is what the guard makes of the well-formed frames that sent begins with: the
// number of the connection is in OPTNEG, and MACRO frames are taken out. What follows them
// is as it was.
func forLibrary(sent []byte, limits Limits, number uint32) []byte {
	check := frameChecker{limits: limits}
	var out []byte
	for len(sent) > lengthBytes {
		end := lengthBytes + int(frameLength(sent))
		if end == lengthBytes || end > min(len(sent), lengthBytes+limits.FrameBytes) || check.check(sent[lengthBytes], sent[lengthBytes+1:end]) != nil {
			break
		}
		f := bytes.Clone(sent[:end])
		switch f[lengthBytes] {
		case cmdNegotiate:
			numberOffer(f[lengthBytes+1:], number)
			out = append(out, f...)
		case cmdMacro:
		default:
			out = append(out, f...)
		}
		sent = sent[end:]
	}
	return append(out, sent...)
}

// FuzzFrame is guardHolds for arbitrary bytes.
func FuzzFrame(f *testing.F) {
	full := bytes.Join([][]byte{
		optneg(6, allActions, allProtocol), frame('D', "Cj\x00mx.example\x00"), connectFrame("203.0.113.8"),
		frame('H', "x\x00"), frame('M', "<>\x00"), frame('R', "<b@our.example>\x00"), frame('L', "a\x00b\x00"), frame('E'), frame('Q'),
	}, nil)
	f.Add(full, false)
	f.Add(full[:len(full)-3], true)
	f.Add([]byte("\x00\x00\x00\x00"), false)
	f.Add([]byte("\x7f\xff\xff\xffB"), false)
	f.Add(append(optneg(2, 0, 0), frame('C', "mx")...), false)
	f.Add(append(optneg(2, 0, 0), frame('D', "M\x00")...), true)
	f.Fuzz(func(t *testing.T, sent []byte, oneByOne bool) {
		if err := guardHolds(testGuard(Limits{FrameBytes: 1 << 16, Headers: 4}), sent, oneByOne); err != nil {
			t.Fatal(err)
		}
	})
}

func TestGuardBuffer(t *testing.T) {
	t.Run("a length prefix alone reserves no memory", func(t *testing.T) {
		c := testGuard(Limits{}).admit(memoryConn{Reader: bytes.NewReader(binary.BigEndian.AppendUint32(nil, 1<<20))})
		if _, err := io.ReadAll(c); err == nil {
			t.Error("half a frame ended without an error")
		}
		if len(c.in) > firstBuffer {
			t.Errorf("a buffer of %d bytes for 4 bytes received, want %d at most", len(c.in), firstBuffer)
		}
	})
	t.Run("the largest frame passes", func(t *testing.T) {
		sent := append(optneg(6, 0, 0), frame('B', strings.Repeat("x", 1<<20-1))...)
		c := testGuard(Limits{}).admit(memoryConn{Reader: bytes.NewReader(sent)})
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, forLibrary(sent, c.guard.limits, c.number)) {
			t.Errorf("got %d bytes of %d, %v", len(got), len(sent), err)
		}
	})
	t.Run("one byte more does not", func(t *testing.T) {
		sent := append(optneg(6, 0, 0), frame('B', strings.Repeat("x", 1<<20))...)
		c := testGuard(Limits{}).admit(memoryConn{Reader: bytes.NewReader(sent)})
		_, err := io.ReadAll(c)
		const want = "malformed milter frame: 1048577 bytes, expected 1048576 at most"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
	t.Run("a large buffer is given back", func(t *testing.T) {
		sent := append(optneg(6, 0, 0), frame('B', strings.Repeat("x", 1<<19))...)
		c := testGuard(Limits{}).admit(memoryConn{Reader: bytes.NewReader(sent)})
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		if len(c.in) > keptBuffer {
			t.Errorf("%d bytes are kept while the connection idles", len(c.in))
		}
	})
}
