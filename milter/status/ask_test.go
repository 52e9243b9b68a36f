package status

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"milterd/milter/socketmap"
)

func TestWhatCameOfADoor(t *testing.T) {
	none := errors.New("no such file")
	cases := []struct {
		name   string
		answer DoorState
		want   string
	}{
		{"a door that answers", DoorState{}, "answers"},
		{"one that does not", DoorState{Err: none}, "no such file"},
		{"one that need not", DoorState{Door{Optional: true}, none}, "shut, which does not count: listen.map has its default, and only a sendmail that includes milterd.m4 needs it: no such file"},
		{"one that need not and does", DoorState{Door: Door{Optional: true}}, "answers"},
		{"one that is silent", DoorState{Err: &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}}, "read: i/o timeout: milterd is not running or hangs: systemctl status milterd"},
		{"text for a terminal", DoorState{Err: errors.New("a\x1bb")}, "a?b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.answer.Name, c.answer.Address = Map, "local:/s"
			if got, want := c.answer.String(), "map door local:/s: "+c.want; got != want {
				t.Errorf("%q, expected %q", got, want)
			}
			if well := c.answer.Err == nil || c.answer.Optional; c.answer.Well() != well {
				t.Errorf("well: %v", !well)
			}
		})
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answering listens as a door does, but answers whatever it is asked.
func answering(t *testing.T, answer string) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		// The client sees what becomes of it.
		_, _ = conn.Read(make([]byte, 512))
		_, _ = io.WriteString(conn, answer)
		_ = conn.(*net.UnixConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln
}

func TestStrangersAreNoMapDoor(t *testing.T) {
	cases := []struct{ name, answer, want string }{
		{"found", "9:OK REJECT,", ""},
		{"not found", "9:NOTFOUND ,", ""},
		{"not found, without a blank", "8:NOTFOUND,", ""},
		{"an answer cut short", "29:TEMP the policy is not loaded", "read the answer of the map access: unexpected EOF"},
		{"a policy that is not loaded", "29:TEMP the policy is not loaded,", "the map access answers TEMP the policy is not loaded"},
		{"a word that there is not", "5:HELLO,", "the map access answers HELLO "},
		{"an end at once", "", "read the answer of the map access: EOF"},
		{"a greeting of another protocol", "220 mx.example.test ESMTP\r\n", "read the answer of the map access: EOF"},
		{"a length that is none", "x:OK ,", `"x:" is not the length of a netstring`},
		{"a negative length", "-1:OK ,", `"-1:" is not the length of a netstring`},
		{"a length beyond all bounds", "99999999999999:OK ,", `"99999999999999:" is not the length of a netstring`},
		{"a long answer", "65535:" + strings.Repeat("x", 1000), "unexpected EOF"},
		{"no comma", "3:OK xx", "a netstring of 3 octets without its comma"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := askMap("unix", answering(t, c.answer).Addr().String())
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.HasSuffix(err.Error(), c.want)):
				t.Errorf("error %v, expected %q", err, c.want)
			}
		})
	}
}

func TestStrangersAreNoFilterDoor(t *testing.T) {
	for name, answer := range map[string]string{
		"an end at once":          "",
		"a greeting":              "220 mx.example.test ESMTP\r\n",
		"a refusal":               "\x00\x00\x00\x01r",
		"a negotiation cut short": "\x00\x00\x00\x0dO\x00\x00\x00\x06",
		"a protocol to come":      "\x00\x00\x00\x0dO\x00\x00\x00\x63\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			if err := askFilter("unix", answering(t, answer).Addr().String()); err == nil {
				t.Error("taken for a filter")
			}
		})
	}
	if err := askFilter("unix", answering(t, "\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00").Addr().String()); err != nil {
		t.Errorf("a filter: %v", err)
	}
}

func FuzzReadAnswer(f *testing.F) {
	for _, seed := range []string{"9:NOTFOUND ,", "9:OK RELAY,", "0:,", ":", "3:OK x", "65535:x", "-1:,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		status, value, err := readAnswer(strings.NewReader(text))
		if err == nil && !strings.Contains(text, string(status)) || !strings.Contains(text, value) {
			t.Errorf("%q gives %q %q", text, status, value)
		}
		if err != nil && (status != socketmap.Status("") || value != "") {
			t.Errorf("%q gives %q %q and an error: %v", text, status, value, err)
		}
	})
}
