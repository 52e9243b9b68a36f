package milter

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"time"
)

// Command bytes of the frames that an MTA sends (SMFIC_* in sendmail's
// mfdef.h).
const (
	cmdAbort     = 'A'
	cmdBody      = 'B'
	cmdConnect   = 'C'
	cmdMacro     = 'D'
	cmdEndOfMsg  = 'E'
	cmdHelo      = 'H'
	cmdNewConn   = 'K' // QUIT_NC
	cmdHeader    = 'L'
	cmdMail      = 'M'
	cmdEndOfHdr  = 'N'
	cmdNegotiate = 'O'
	cmdQuit      = 'Q'
	cmdRcpt      = 'R'
	cmdData      = 'T'
	cmdUnknown   = 'U'
)

// Answer bytes (SMFIR_*) that end a message at some stage.
const (
	answerAccept    = 'a'
	answerContinue  = 'c'
	answerDiscard   = 'd'
	answerReject    = 'r'
	answerTempfail  = 't'
	answerReplyCode = 'y'
)

// lengthBytes is the size of a frame's length prefix, which counts the command
// byte and the data.
const lengthBytes = 4

// negotiateBytes is the least data of OPTNEG: version, actions, protocol.
const negotiateBytes = 12

// maxLineFrame bounds the frames that carry one SMTP command or one list of
// macros. It is libmilter's own limit for a frame (MILTER_CHUNK_SIZE); only
// header and body frames can be larger, and only if that was negotiated.
const maxLineFrame = 64 << 10

// mayBeLong says whether a frame with this command may be longer than that.
func mayBeLong(command byte) bool { return command == cmdHeader || command == cmdBody }

// frameError says what the milter protocol does not allow about a frame. The connection it
// came from is closed.
type frameError string

func (e frameError) Error() string { return string(e) }

// malformedFrame is about the frame of a command; 0 if it ended before that.
func malformedFrame(command byte, reason string) error {
	if command == 0 {
		return frameError("malformed milter frame: " + reason)
	}
	return frameError(fmt.Sprintf("malformed milter frame %q: %s", command, reason))
}

// Limits bounds what one MTA connection may send. A zero field takes its
// default.
type Limits struct {
	// FrameBytes is the largest frame, command byte included. Default (and
	// largest size the protocol can negotiate): 1 MiB.
	FrameBytes int
	// FrameTime is how long the rest of a frame may take once its first byte
	// is there. Default: 10 s, sendmail's own time for one write.
	FrameTime time.Duration
	// Macros is the number of macros in one MACRO frame. Default: 128; sendmail
	// sends 50 at most (MAXFILTERMACROS).
	Macros int
	// Arguments is the number of ESMTP parameters of one MAIL or RCPT.
	// Default: 64; sendmail takes 20 at most (MAXSMTPARGS).
	Arguments int
	// Headers and HeaderBytes are the number and the total size of the header
	// fields of one message. Defaults: 10,000 and 4 MiB.
	Headers     int
	HeaderBytes int
	// Recipients is the number of RCPT commands of one message. The ones above
	// it are answered 452, so that the client sends the rest in another
	// message (RFC 5321 section 4.5.3.1.10). Default: 10,000.
	Recipients int
}

func (l Limits) withDefaults() Limits {
	const maxFrame = 1 << 20
	l.FrameBytes = min(cmp.Or(l.FrameBytes, maxFrame), maxFrame)
	l.FrameTime = cmp.Or(l.FrameTime, 10*time.Second)
	l.Macros, l.Arguments = cmp.Or(l.Macros, 128), cmp.Or(l.Arguments, 64)
	l.Headers, l.HeaderBytes = cmp.Or(l.Headers, 10_000), cmp.Or(l.HeaderBytes, 4<<20)
	l.Recipients = cmp.Or(l.Recipients, 10_000)
	return l
}

// frameChecker checks the frames of one connection, in order. It is at least
// as strict as libmilter, so that no frame it passes makes go-milter's parser
// panic or end the connection by itself.
type frameChecker struct {
	limits     Limits
	negotiated bool
	// headers and headerBytes count what the current message has sent.
	headers     int
	headerBytes int
}

func (c *frameChecker) check(command byte, data []byte) error {
	if reason := c.problem(command, data); reason != "" {
		return malformedFrame(command, reason)
	}
	return nil
}

func (c *frameChecker) problem(command byte, data []byte) string {
	if command == cmdNegotiate {
		return c.negotiate(data)
	}
	if !c.negotiated {
		return "expected OPTNEG first"
	}
	switch command {
	case cmdConnect:
		return checkConnect(data)
	case cmdHelo:
		return checkStrings(data, 1)
	case cmdMail:
		c.headers, c.headerBytes = 0, 0
		return checkStrings(data, 1+c.limits.Arguments)
	case cmdRcpt:
		return checkStrings(data, 1+c.limits.Arguments)
	case cmdMacro:
		return c.macros(data)
	case cmdHeader:
		return c.header(data)
	case cmdData, cmdEndOfHdr, cmdBody, cmdEndOfMsg, cmdAbort, cmdQuit, cmdNewConn, cmdUnknown:
		return ""
	}
	return "unknown command"
}

func (c *frameChecker) negotiate(data []byte) string {
	if c.negotiated {
		return "a second OPTNEG"
	}
	if len(data) < negotiateBytes {
		return fmt.Sprintf("%d bytes, expected %d at least", len(data), negotiateBytes)
	}
	c.negotiated = true
	return ""
}

// checkConnect checks "host NUL family [port address NUL]".
func checkConnect(data []byte) string {
	if len(data) > maxLineFrame {
		return tooLong(data)
	}
	_, rest, found := bytes.Cut(data, []byte{0})
	if !found {
		return "host name without NUL"
	}
	if len(rest) == 0 {
		return "no address family"
	}
	family, rest := rest[0], rest[1:]
	if family == 'U' {
		return ""
	}
	if family != 'L' && family != '4' && family != '6' {
		return fmt.Sprintf("address family %q, expected U, L, 4 or 6", family)
	}
	if len(rest) < 2 {
		return "no port"
	}
	text, _, found := bytes.Cut(rest[2:], []byte{0})
	if !found {
		return "address without NUL"
	}
	address := string(text)
	// The library gives up on an address that net.ParseIP does not take.
	if family == '4' {
		if ip := net.ParseIP(address); ip == nil || ip.To4() == nil {
			return fmt.Sprintf("%q is not an IPv4 address", address)
		}
	}
	if family == '6' && parseIPv6(address) == nil {
		return fmt.Sprintf("%q is not an IPv6 address", address)
	}
	return ""
}

// parseIPv6 takes the forms that go-milter takes: bare, with sendmail's IPv6:
// prefix, in brackets.
func parseIPv6(address string) net.IP {
	address = strings.TrimPrefix(address, "IPv6:")
	if n := len(address); n > 2 && address[0] == '[' && address[n-1] == ']' {
		address = address[1 : n-1]
	}
	return net.ParseIP(address)
}

// checkStrings checks that data is one to limit strings, each ended by NUL.
func checkStrings(data []byte, limit int) string {
	if len(data) > maxLineFrame {
		return tooLong(data)
	}
	if !isTerminated(data) {
		return "text without NUL"
	}
	if n := bytes.Count(data, []byte{0}); n > limit {
		return fmt.Sprintf("%d strings, expected %d at most", n, limit)
	}
	return ""
}

// macros checks "command byte, then pairs of name NUL value NUL".
func (c *frameChecker) macros(data []byte) string {
	if len(data) > maxLineFrame {
		return tooLong(data)
	}
	if len(data) == 0 {
		return "macros for no command"
	}
	if strings.IndexByte("CHMRTNELBAU", data[0]) < 0 {
		return fmt.Sprintf("macros for the unknown command %q", data[0])
	}
	list := data[1:]
	if len(list) == 0 {
		return ""
	}
	if !isTerminated(list) {
		return "macro without NUL"
	}
	n := bytes.Count(list, []byte{0})
	if n%2 != 0 {
		return "macro without a value"
	}
	if n/2 > c.limits.Macros {
		return fmt.Sprintf("%d macros, expected %d at most", n/2, c.limits.Macros)
	}
	return ""
}

// header checks "name NUL value NUL" and what the fields of a message add up to.
func (c *frameChecker) header(data []byte) string {
	if !isTerminated(data) || bytes.Count(data, []byte{0}) != 2 || data[0] == 0 {
		return "expected the name and the value of a header field"
	}
	c.headers++
	c.headerBytes += len(data)
	if c.headers > c.limits.Headers {
		return fmt.Sprintf("more than %d header fields in a message", c.limits.Headers)
	}
	if c.headerBytes > c.limits.HeaderBytes {
		return fmt.Sprintf("more than %d bytes of header fields in a message", c.limits.HeaderBytes)
	}
	return ""
}

func isTerminated(data []byte) bool { return bytes.HasSuffix(data, []byte{0}) }

func tooLong(data []byte) string {
	return fmt.Sprintf("%d bytes, expected %d at most", len(data), maxLineFrame)
}

func frameLength(prefix []byte) uint32 { return binary.BigEndian.Uint32(prefix) }
