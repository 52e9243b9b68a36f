package socketmap

import (
	"bytes"
	"fmt"
)

// maxRequest bounds a request. The longest that sendmail makes is a map's name, a
// space and a key of 1023 octets.
const maxRequest = 4096

// maxAround is what is around the longest request.
const maxAround = len("4096:") + len(",")

// request is one look-up. Its parts are only good until the next one is read.
type request struct {
	name, key []byte
}

// malformedError says what is wrong with what a client sent.
type malformedError string

func (e malformedError) Error() string { return "malformed request: " + string(e) }

// parseRequest takes the first request off b, and n is the number of octets it
// took; 0 says that b is only its beginning.
func parseRequest(b []byte) (r request, n int, err error) {
	length, start, err := parseLength(b)
	if err != nil || start == 0 {
		return request{}, 0, err
	}
	end := start + length
	if len(b) <= end {
		return request{}, 0, nil
	}
	if b[end] != ',' {
		return request{}, 0, malformedError("no comma where its length says")
	}
	name, key, found := bytes.Cut(b[start:end], []byte(" "))
	if !found || len(name) == 0 {
		return request{}, 0, malformedError("no map name and space")
	}
	return request{name, key}, end + 1, nil
}

// parseLength reads the length and its colon, and start is where the text begins; 0
// says that b ends before that. It refuses every spelling but the shortest, so that
// a client that means something else is found out early.
func parseLength(b []byte) (length, start int, err error) {
	for i, c := range b {
		switch {
		case c == ':' && i > 0:
			return length, i + 1, nil
		case c < '0' || c > '9':
			return 0, 0, malformedError("no length and colon")
		case i > 0 && length == 0:
			return 0, 0, malformedError("a length with a leading zero")
		}
		length = 10*length + int(c-'0')
		if length > maxRequest {
			return 0, 0, malformedError(fmt.Sprintf("a length above %d", maxRequest))
		}
	}
	return 0, 0, nil
}
