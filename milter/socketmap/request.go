package socketmap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
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
