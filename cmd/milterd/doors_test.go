package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/integration/testkit"
)

// doorsConfig has both doors in the test's directory.
const doorsConfig = `listen: {milter: local:DIR/milter.sock, map: local:DIR/map.sock}
access: {file: access, features: []}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
checks: {rdns: {mode: off}}
received: {whose: [authenticated]}
`

// mapClient asks at a map door, as sendmail does.
type mapClient struct {
	net.Conn
	in *bufio.Reader
}

func (p *process) mapSocket() string { return filepath.Join(p.dir, "map.sock") }

// dialMap connects to the map door.
func dialMap(t *testing.T, socket string) *mapClient {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	return &mapClient{conn, bufio.NewReader(conn)}
}

// lookup asks for "MAP KEY" and returns the answer, STATUS VALUE.
func (c *mapClient) lookup(request string) (string, error) {
	if _, err := fmt.Fprintf(c, "%d:%s,", len(request), request); err != nil {
		return "", err
	}
	length, err := c.in.ReadString(':')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		return "", err
	}
	answer := make([]byte, n+1)
	if _, err := io.ReadFull(c.in, answer); err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(answer), ","), nil
}

func (c *mapClient) expect(t *testing.T, request, want string) {
	t.Helper()
	if got, err := c.lookup(request); got != want || err != nil {
		t.Errorf("%s: answer %q, %v, expected %q", request, got, err, want)
	}
}

func TestTheMapDoorAnswersFromWhatIsInForce(t *testing.T) {
	p := serving(t, doorsConfig, "Connect:203.0.113.5\tREJECT\n")
	p.waitLog(t, "listening", "door=map", "map.sock")
	c := dialMap(t, p.mapSocket())
	c.expect(t, "access connect:203.0.113.5", "OK REJECT")
	c.expect(t, "access connect:203.0.113.8", "NOTFOUND ")
	c.expect(t, "received 203.0.113.8/587/MSA/PLAIN/OK/esmtp/x.example/<x@other.example>", "OK SCRUB")
	c.expect(t, "received 203.0.113.8/25/MTA//OK/local/x.example/<shin@example.test>", "NOTFOUND ")

	// The connection stays, and so may the policy of a message in progress; a look-up
	// is about this moment.
	write(t, p.dir, "access", "Connect:203.0.113.8\tRELAY\n")
	var got string
	testkit.Eventually(t, "the new table answers; last ", func() bool {
		var err error
		if got, err = c.lookup("access connect:203.0.113.8"); err != nil {
			t.Fatal(err)
		}
		return got == "OK RELAY"
	})
	c.expect(t, "access connect:203.0.113.5", "NOTFOUND ")

	write(t, p.dir, "milterd.yaml", strings.ReplaceAll(strings.Replace(doorsConfig, "whose: [authenticated]", "whose: [203.0.113.0/24]", 1), "DIR", p.dir))
	testkit.Eventually(t, "the new rules answer; last ", func() bool {
		var err error
		if got, err = c.lookup("received 203.0.113.8/25/MTA//OK/local/x.example/<shin@example.test>"); err != nil {
			t.Fatal(err)
		}
		return got == "OK SCRUB"
	})
}

func TestTheMapDoorStaysOpenForTheMessagesInProgress(t *testing.T) {
	p := serving(t, doorsConfig, "Connect:203.0.113.5\tREJECT\n")
	p.waitLog(t, "listening", "door=map")
	before := dialMap(t, p.mapSocket())
	before.expect(t, "access connect:203.0.113.5", "OK REJECT")
	session := p.holding(t)
	defer closing(t, session)
	p.signal(t, syscall.SIGTERM)
	testkit.Eventually(t, "the filter door takes nobody any more", func() bool {
		conn, err := net.Dial("unix", p.socket())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	before.expect(t, "access connect:203.0.113.5", "OK REJECT")
	// The process of another SMTP session, which connects at its first look-up.
	late := dialMap(t, p.mapSocket())
	late.expect(t, "access connect:203.0.113.5", "OK REJECT")
	if action, err := session.Rcpt("shin@example.test", ""); err != nil || action.StopProcessing() {
		t.Errorf("RCPT while milterd shuts down: %+v, %v", action, err)
	}
	if _, err := session.DataStart(); err != nil {
		t.Fatal(err)
	}
	if _, err := session.HeaderEnd(); err != nil {
		t.Fatal(err)
	}
	if _, action, err := session.BodyReadFrom(strings.NewReader("Hello\r\n")); err != nil || action.StopProcessing() {
		t.Errorf("end of message while milterd shuts down: %+v, %v", action, err)
	}
	if status := p.waitEnd(t); status != exitOK {
		t.Errorf("exit status %d; log:\n%s", status, p.log)
	}
	if answer, err := before.lookup("access connect:203.0.113.5"); err == nil {
		t.Errorf("after the end: answer %q", answer)
	}
	if _, err := os.Stat(p.mapSocket()); err == nil {
		t.Error("the map door's socket is still there")
	}
	p.waitLog(t, "stopped", "map_connections=2")
}

// TestSocketsOfTheServiceManagerAreToldByTheirNames: FileDescriptorName=map is the map
// door, any other name the filter door.
func TestSocketsOfTheServiceManagerAreToldByTheirNames(t *testing.T) {
	for _, c := range []struct {
		name, names string // of the descriptors
		order       []string
	}{
		{"the filter first", "milter:map", []string{"milter.sock", "map.sock"}},
		{"the map first", "map:anything", []string{"map.sock", "milter.sock"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Were the configured addresses opened, milterd would not start.
			config := strings.ReplaceAll(doorsConfig, "local:DIR/", "local:/no/such/directory/")
			dir := newDir(t, config, "Connect:203.0.113.5\tREJECT\nFrom:bad.example\tREJECT\n")
			p := activated(t, dir, c.names, c.order...)
			dialMap(t, p.mapSocket()).expect(t, "access connect:203.0.113.5", "OK REJECT")
			if got := p.ask(t, "a@bad.example"); got != denied {
				t.Errorf("filter door: reply %q", got)
			}
			if status := p.end(t, syscall.SIGTERM); status != exitOK {
				t.Errorf("exit status %d; log:\n%s", status, p.log)
			}
			for _, socket := range []string{p.socket(), p.mapSocket()} {
				if _, err := os.Stat(socket); err != nil {
					t.Errorf("the service manager's socket: %v", err)
				}
			}
		})
	}
}

func TestEachDoorHasRoomOfItsOwn(t *testing.T) {
	p := serving(t, strings.ReplaceAll(doorsConfig, "map.sock}", "map.sock, max_connections: 1}"), "Connect:203.0.113.5\tREJECT\nFrom:bad.example\tREJECT\n")
	p.waitLog(t, "listening", "door=map")
	first := dialMap(t, p.mapSocket())
	first.expect(t, "access connect:203.0.113.5", "OK REJECT")
	if answer, err := dialMap(t, p.mapSocket()).lookup("access connect:203.0.113.5"); err == nil {
		t.Errorf("a second map connection: answer %q", answer)
	}
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("the filter door beside a full map door: %q", got)
	}
	first.expect(t, "access connect:203.0.113.5", "OK REJECT")
	closing(t, first)
	testkit.Eventually(t, "there is room again; log:\n", func() bool {
		answer, err := dialMap(t, p.mapSocket()).lookup("access connect:203.0.113.5")
		return err == nil && answer == "OK REJECT"
	})
}
