package socketmap

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestRequestsAreReadWhole(t *testing.T) {
	long := strings.Repeat("k", maxRequest-len("access "))
	for _, c := range []struct {
		name, in  string
		want, key string
		n         int
		malformed string
	}{
		{name: "a look-up", in: "18:access from:a@b.ex,", want: "access", key: "from:a@b.ex", n: 22},
		{name: "only the first of two", in: "8:access a,8:access b,", want: "access", key: "a", n: 11},
		{name: "an empty key", in: "7:access ,", want: "access", n: 10},
		{name: "a key with spaces, commas and colons", in: "13:access a, b:c,", want: "access", key: "a, b:c", n: 17},
		{name: "a key of any octets", in: "11:access \x00\n\xff\t,", want: "access", key: "\x00\n\xff\t", n: 15},
		{name: "the longest", in: fmt.Sprintf("%d:access %s,", maxRequest, long), want: "access", key: long, n: maxRequest + 6},
		{name: "nothing yet", in: ""},
		{name: "half a length", in: "1"},
		{name: "a length alone", in: "8:"},
		{name: "half a text", in: "8:acce"},
		{name: "no comma yet", in: "8:access a"},

		{name: "no space", in: "6:access,", malformed: "no map name and space"},
		{name: "no map name", in: "2: a,", malformed: "no map name and space"},
		{name: "an empty text", in: "0:,", malformed: "no map name and space"},
		{name: "a text longer than its length", in: "8:access ab,", malformed: "no comma where its length says"},
		{name: "a length above the bound", in: fmt.Sprintf("%d:", maxRequest+1), malformed: "a length above 4096"},
		{name: "a length of many digits", in: strings.Repeat("9", 30), malformed: "a length above 4096"},
		{name: "a length that would wrap around", in: "18446744073709551624:access a,", malformed: "a length above 4096"},
		{name: "a leading zero", in: "08:access a,", malformed: "a length with a leading zero"},
		{name: "many zeros", in: "0000000", malformed: "a length with a leading zero"},
		{name: "a sign", in: "+8:access a,", malformed: "no length and colon"},
		{name: "a negative length", in: "-1:access a,", malformed: "no length and colon"},
		{name: "white space before the length", in: " 8:access a,", malformed: "no length and colon"},
		{name: "white space after the length", in: "8 :access a,", malformed: "no length and colon"},
		{name: "no length", in: ":access a,", malformed: "no length and colon"},
		{name: "a line end after the request before", in: "\r\n8:access a,", malformed: "no length and colon"},
		{name: "another protocol", in: "GET / HTTP/1.1\r\n", malformed: "no length and colon"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, n, err := parse([]byte(c.in))
			if n != c.n || string(r.name) != c.want || string(r.key) != c.key {
				t.Errorf("map %q, key %q, %d octets, expected %q, %q, %d", r.name, r.key, n, c.want, c.key, c.n)
			}
			malformed := ""
			if err != nil {
				malformed = err.Error()
			}
			if want := c.malformed; want != "" && malformed != "malformed request: "+want || want == "" && malformed != "" {
				t.Errorf("error %q, expected %q", malformed, want)
			}
		})
	}
}

// parse reads the first request of b, and counts its octets; 0 if b is only the beginning of one.
func parse(b []byte) (r request, n int, err error) {
	from := bytes.NewReader(b)
	in := bufio.NewReader(from)
	if err = r.read(in); err == nil {
		return r, len(b) - from.Len() - in.Buffered(), nil
	}
	if len(b) == 0 && err == io.EOF || err.Error() == fmt.Sprintf("malformed request: ends after %d octets", len(b)) {
		err = nil
	}
	return request{}, 0, err
}

// What a client sends is only ever read in one way, however it is cut up.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"18:access from:a@b.ex,", "8:access a,8:access b,", "7:access ,", "0:,", "08:access a,", "-1:a b,", "+3:a b,",
		"4096:", "4097:", "99999999999999999999:a b,", "3:a b", "3:a b;", "4:a b,,", "3:\x00 \xff,", "3: ab,", ":a b,", "3 :a b,",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := parse(b)
		if err != nil {
			if n != 0 {
				t.Fatalf("malformed, but %d octets are taken", n)
			}
			return
		}
		if n == 0 {
			if len(b) > maxRequest+len("4096:,") {
				t.Fatalf("%d octets are not a request yet", len(b))
			}
			return
		}
		text := fmt.Appendf(nil, "%s %s", r.name, r.key)
		if again := fmt.Appendf(nil, "%d:%s,", len(text), text); !bytes.Equal(again, b[:n]) {
			t.Fatalf("%q is read as the request %q", b[:n], again)
		}
		if len(r.name) == 0 || bytes.ContainsRune(r.name, ' ') {
			t.Fatalf("the map's name is %q", r.name)
		}
		for i := range n {
			if _, took, err := parse(b[:i]); took != 0 || err != nil {
				t.Fatalf("the first %d of %d octets: %d taken, error %v", i, n, took, err)
			}
		}
	})
}
