package harness

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A process that is told it is in a world of its own but is not must not
// mount anything over the machine's files.
func TestEnterRefusesTheMachineItself(t *testing.T) {
	own, err := ownNamespaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, inside := range []string{"", "/tmp/x", "/tmp/x " + own, "/tmp/x mnt:[1] net:[2]"} {
		if w, err := enter(inside); err == nil {
			t.Errorf("%q: got %+v, want an error", inside, w)
		}
	}
}

func TestDaemonAddrs(t *testing.T) {
	const cf = "O Other=1\nO DaemonPortOptions=Family=inet,  Name=MTA-v4, Port=smtp, Addr=127.0.0.1\n" +
		"#O DaemonPortOptions=Port=99, Addr=127.0.0.1\n" +
		"O DaemonPortOptions=Name=MSA6, Family=inet6, Addr=2001:db8::25, Port=submission, M=Ea\n" +
		"O DaemonPortOptions=Name=X, Addr=203.0.113.25, Port=2525\n" +
		"O DaemonPortOptions=Name=All, Port=465\n" +
		"O DaemonPortOptions=Name=MTA, Addr=127.0.0.2\n"
	got, err := daemonAddrs(cf)
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:25"),
		netip.MustParseAddrPort("[2001:db8::25]:587"),
		netip.MustParseAddrPort("203.0.113.25:2525"),
		netip.MustParseAddrPort("0.0.0.0:465"),
		netip.MustParseAddrPort("127.0.0.2:25"),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := daemonAddrs("O DaemonPortOptions=Name=MTA, Addr=127.0.0.1, Port=smtps-by-name\n"); err == nil {
		t.Error("a daemon with a port that has no number was taken")
	}
}

func TestListening(t *testing.T) {
	for _, c := range []struct{ name, addr string }{
		{"IPv4", "127.0.0.1:0"},
		{"IPv6", "[::1]:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln := listen(t, c.addr)
			addr := netip.MustParseAddrPort(ln.Addr().String())
			if ok, err := listening([]netip.AddrPort{addr}); err != nil || !ok {
				t.Errorf("%s: got %t, %v, want true", addr, ok, err)
			}
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
			if ok, err := listening([]netip.AddrPort{addr}); err != nil || ok {
				t.Errorf("%s, closed: got %t, %v, want false", addr, ok, err)
			}
		})
	}
}

// The example of RFC 2195 section 2.
func TestCRAMMD5(t *testing.T) {
	client := &cramMD5{"tim", "tanstaaftanstaaf"}
	got, err := client.Next([]byte("<1896.697170952@postoffice.reston.mci.net>"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "tim b913a602c7eda7a495b4e6e7334d3890"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLog(t *testing.T) {
	var l Log
	l.copyFrom(strings.NewReader("one client=a \ntwo client=b \r\nthree client=a"))
	if got, want := l.String(), "one client=a \ntwo client=b \nthree client=a"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := l.FindAll(1, "client=a"), []string{"three client=a"}; !cmp.Equal(got, want) {
		t.Errorf("after the first line: got %q, want %q", got, want)
	}
	if line, err := l.Wait(time.Minute, 0, "client=b", "two"); err != nil || line != "two client=b " {
		t.Errorf("got %q, %v", line, err)
	}
	if _, err := l.Wait(time.Millisecond, l.Len(), "one"); err == nil {
		t.Error("a line from before the mark was found")
	}
}

func TestProcess(t *testing.T) {
	var l Log
	p, err := launch(&l, "/bin/sh", "-c", "echo ready; exec sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Wait(startTimeout, 0, "ready"); err != nil {
		t.Fatal(err)
	}
	if err := p.ended(); err != nil {
		t.Errorf("running: got %v", err)
	}
	if err := p.stop(15); err != nil {
		t.Fatal(err)
	}
	if err := p.ended(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("stopped: got %v, want what ended it", err)
	}
	if err := p.stop(15); err != nil {
		t.Errorf("stopped again: %v", err)
	}
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}
