package main

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/milter/socketmap"
)

// health runs -health on the configuration in a directory, whose name it replaces
// in what is printed.
func health(dir string) (status int, stdout, stderr string) {
	var out, complaints strings.Builder
	status = run([]string{"-health", "-config", filepath.Join(dir, "milterd.yaml")}, &out, &complaints)
	return status, strings.ReplaceAll(out.String(), dir, "DIR"), strings.ReplaceAll(complaints.String(), dir, "DIR")
}

func TestHealthIsWhetherTheDoorsAnswer(t *testing.T) {
	p := serving(t, grantsConfig, "")
	p.waitLog(t, "listening", "door=map")
	const well = "filter door local:DIR/milter.sock: answers\nmap door local:DIR/map.sock: answers\n"
	if status, out, complaints := health(p.dir); status != exitOK || out != well || complaints != "" {
		t.Errorf("while milterd runs: status %d\n%s%s", status, out, complaints)
	}
	if status := p.end(t, syscall.SIGTERM); status != exitOK {
		t.Errorf("milterd's exit status %d", status)
	}
	if strings.Contains(p.log.String(), "level=WARN") {
		t.Errorf("what -health asked is a warning in milterd's log:\n%s", p.log)
	}
	status, out, _ := health(p.dir)
	const gone = "filter door local:DIR/milter.sock: milter: session create: dial unix DIR/milter.sock: connect: no such file or directory\n" +
		"map door local:DIR/map.sock: dial unix DIR/map.sock: connect: no such file or directory\n"
	if diff := cmp.Diff(gone, out); status != exitFailure || diff != "" {
		t.Errorf("after its end: status %d (-want +got):\n%s", status, diff)
	}
}

func TestADoorWithoutRoomIsNotWell(t *testing.T) {
	p := serving(t, strings.ReplaceAll(grantsConfig, "map.sock}", "map.sock, max_connections: 1}"), "")
	session, err := connect(p.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, session)
	status, out, _ := health(p.dir)
	if want := "map door local:DIR/map.sock: answers\n"; status != exitFailure || !strings.HasSuffix(out, want) || strings.Count(out, "answers") != 1 {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestADoorThatNobodyAskedForMayBeShut(t *testing.T) {
	none := errors.New("no such file")
	cases := []struct {
		name string
		door askedDoor
		want string
	}{
		{"a door that answers", askedDoor{}, "answers"},
		{"one that does not", askedDoor{err: none}, "no such file"},
		{"one that need not", askedDoor{err: none, optional: true}, "shut, which does not count: listen.map has its default, and only a sendmail that includes milterd.m4 needs it: no such file"},
		{"one that need not and does", askedDoor{optional: true}, "answers"},
		{"text for a terminal", askedDoor{err: errors.New("a\x1bb")}, "a?b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.door.result(); got != c.want {
				t.Errorf("%q, expected %q", got, c.want)
			}
		})
	}
	// baseConfig leaves the map door to its default, where another milterd may be.
	p := serving(t, baseConfig, "")
	if status, out, _ := health(p.dir); status != exitOK || !strings.HasPrefix(out, "filter door local:DIR/milter.sock: answers\nmap door local:/run/milterd/map.sock: ") {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestHealthOfAConfigurationThatCannotBeRead(t *testing.T) {
	dir := newDir(t, "mode: shadoww\n", "")
	status, out, complaints := health(dir)
	if want := "milterd: DIR/milterd.yaml:1: mode: \"shadoww\", did you mean shadow?\n"; status != exitFailure || out != "" || complaints != want {
		t.Errorf("status %d, %q, %q", status, out, complaints)
	}
}

// answering listens as a door does, but answers whatever it is asked.
func answering(t *testing.T, answer string) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(newDir(t, "", ""), "s"))
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
