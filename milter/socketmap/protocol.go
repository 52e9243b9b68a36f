package socketmap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxRequest bounds a request. The longest that sendmail makes is a map's name, a
// space and a key of 1023 octets.
const maxRequest = 4096

// request is one look-up. Its parts are only good until the next one is read.
type request struct {
	name, key []byte
	// text has both, in memory that is used again.
	text []byte
}

type malformedError string

func (e malformedError) Error() string { return "malformed request: " + string(e) }

func (r *request) read(in *bufio.Reader) error {
	length, octets, err := readLength(in)
	if err != nil {
		return cutShort(err, octets)
	}
	if cap(r.text) <= length {
		r.text = make([]byte, length+len(","))
	}
	r.text = r.text[:length+len(",")]
	if n, err := io.ReadFull(in, r.text); err != nil {
		return cutShort(err, octets+n)
	}
	if r.text[length] != ',' {
		return malformedError("no comma where its length says")
	}
	var found bool
	if r.name, r.key, found = bytes.Cut(r.text[:length], []byte(" ")); !found || len(r.name) == 0 {
		return malformedError("no map name and space")
	}
	return nil
}

// readLength reads the length and its colon, and counts their octets. It refuses every
// spelling but the shortest, so that a client that means something else is found out early.
func readLength(in *bufio.Reader) (length, octets int, err error) {
	for ; ; octets++ {
		c, err := in.ReadByte()
		switch {
		case err != nil:
			return 0, octets, err
		case c == ':' && octets > 0:
			return length, octets + 1, nil
		case c < '0' || c > '9':
			return 0, octets, malformedError("no length and colon")
		case octets > 0 && length == 0:
			return 0, octets, malformedError("a length with a leading zero")
		}
		length = 10*length + int(c-'0')
		if length > maxRequest {
			return 0, octets, malformedError(fmt.Sprintf("a length above %d", maxRequest))
		}
	}
}

// cutShort judges an error behind so many octets of a request.
func cutShort(err error, octets int) error {
	switch {
	case octets == 0:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return malformedError(fmt.Sprintf("ends after %d octets", octets))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return malformedError(fmt.Sprintf("stops after %d octets", octets))
	}
	return err
}

// Status is the first word of an answer.
type Status string

// The statuses. PERM and TIMEOUT, which sendmail knows as well, are left out: it
// takes the first for NotFound, and the second for Temp.
const (
	// OK: the key was found, and the value follows.
	OK Status = "OK"
	// NotFound: the key is not in the map.
	NotFound Status = "NOTFOUND"
	// Temp: there is no answer for now; the reason follows. sendmail answers 451.
	Temp Status = "TEMP"
)

// Answer is what a map says about a key.
type Answer struct {
	Status Status
	// Value is what was found, and with Temp the reason, which sendmail shows only
	// when it is debugged (-d38.5).
	Value string
}

// Map answers the look-ups of one map, of a key as the client sent it: any octets at all, of
// a bounded length. It must be safe for concurrent use and must answer in good time, as an
// SMTP client waits. ctx ends when the server does.
type Map func(ctx context.Context, key string) Answer

// maxValue bounds the value in an answer. A line of an access table fits in, and
// sendmail has room for less.
const maxValue = 2048

// problem says why an answer cannot be given as it is; empty if it can.
func (a Answer) problem() string {
	switch a.Status {
	case OK, NotFound, Temp:
	default:
		return "its status is unknown"
	}
	switch {
	case len(a.Value) > maxValue:
		return "its value is too long"
	case strings.ContainsAny(a.Value, "\x00\r\n"):
		// The value may become part of an SMTP reply.
		return "its value holds a control character"
	}
	return ""
}

// append adds the answer to b as a netstring.
func (a Answer) append(b []byte) []byte {
	b = strconv.AppendInt(b, int64(len(a.Status)+1+len(a.Value)), 10)
	b = append(b, ':')
	b = append(b, a.Status...)
	b = append(b, ' ')
	b = append(b, a.Value...)
	return append(b, ',')
}
