package socketmap

import (
	"context"
	"strconv"
	"strings"
)

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
