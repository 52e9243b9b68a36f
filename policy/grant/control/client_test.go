package control

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

// sameTime compares what a list tells of a time: its second.
var sameTime = cmp.Options{
	cmp.Comparer(func(a, b time.Time) bool { return a.Unix() == b.Unix() }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

func TestClient(t *testing.T) {
	c := NewClient(serve(t, Config{Keeper: newKeeper(t, grant.Config{})}).path)
	four, six := netip.MustParseAddr("203.0.113.8"), netip.MustParseAddr("2001:db8::8")
	const strange = `Müller "&?=/%" ` + "\u202e"
	for _, step := range []struct {
		name    string
		do      func() (string, error)
		want    string
		refused string
	}{
		{"a grant", func() (string, error) { return c.Grant(t.Context(), four, strange) }, "granted 203.0.113.8 until 2026-03-01T12:30:00Z", ""},
		{"a grant for nobody", func() (string, error) { return c.Grant(t.Context(), six, "") }, "granted 2001:db8::8 until 2026-03-01T12:30:00Z", ""},
		{"a grant for loopback", func() (string, error) { return c.Grant(t.Context(), netip.IPv6Loopback(), "") }, "", "excluded: loopback network ::1/128"},
		{"a revocation", func() (string, error) { return c.Revoke(t.Context(), six) }, "revoked 2001:db8::8", ""},
		{"a revocation of nothing", func() (string, error) { return c.Revoke(t.Context(), six) }, "", "2001:db8::8 has no grant"},
		{"a revocation of nobody", func() (string, error) { return c.RevokeUser(t.Context(), "nobody") }, "", `"nobody" has no grants`},
		{"a user with a line end", func() (string, error) { return c.RevokeUser(t.Context(), "a\nlist") }, "", "user name has control characters"},
		{"a user that is too long", func() (string, error) { return c.RevokeUser(t.Context(), strings.Repeat("x", 321)) }, "", "user name of 321 octets, the limit is 320"},
		{"a grant without an address", func() (string, error) { return c.Grant(t.Context(), netip.Addr{}, "") }, "", `"invalid IP" is not an IP address`},
		{"a revocation without a user", func() (string, error) { return c.RevokeUser(t.Context(), "") }, "", "expected DELETE /grants/ADDR or DELETE /grants?user=USER"},
	} {
		t.Run(step.name, func(t *testing.T) {
			got, err := step.do()
			refusal := new(Refusal)
			if err != nil && !errors.As(err, &refusal) {
				t.Fatal(err)
			}
			if got != step.want || refusal.Text != step.refused {
				t.Errorf("%q and refusal %q, expected %q and %q", got, refusal.Text, step.want, step.refused)
			}
		})
	}
	var got []grant.Grant
	if err := c.List(t.Context(), func(g grant.Grant) { got = append(got, g) }); err != nil {
		t.Fatal(err)
	}
	want := []grant.Grant{{Addr: four, User: strange, Source: "control", Since: noon(), Expires: noon().Add(30 * time.Minute)}}
	if diff := cmp.Diff(want, got, sameTime); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if answer, err := c.RevokeUser(t.Context(), strange); err != nil || answer != `revoked 1 grant of "Müller \"&?=/%\" \u202e"` {
		t.Errorf("revoke-user: %q, %v", answer, err)
	}
}

func TestCurlIsAClient(t *testing.T) {
	testkit.Need(t, "curl")
	path := serve(t, Config{Keeper: newKeeper(t, grant.Config{})}).path
	curl := func(arguments ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "curl", append([]string{"-sS", "--unix-socket", path}, arguments...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl %q: %v\n%s", arguments, err, out)
		}
		return string(out)
	}
	if got := curl("-X", "PUT", "http://milterd/grants/2001:db8::8?user=shin"); got != "granted 2001:db8::8 until 2026-03-01T12:30:00Z\n" {
		t.Errorf("PUT: %q", got)
	}
	if got := curl("http://milterd/grants"); !strings.Contains(got, `"addr":"2001:db8::8"`) {
		t.Errorf("GET: %q", got)
	}
	if got := curl("-X", "DELETE", "http://milterd/grants/2001:db8::8"); got != "revoked 2001:db8::8\n" {
		t.Errorf("DELETE: %q", got)
	}
}

// answering is a server that says what it is told, whatever it is asked.
func answering(t *testing.T, answer string) string {
	t.Helper()
	return testkit.Serve(t, "unix", filepath.Join(t.TempDir(), "s"), func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return
		}
		_, _ = io.WriteString(conn, answer)
		if answer == "" {
			_, _ = conn.Read(make([]byte, 1)) // silent until the client leaves
		}
	})
}

func TestClientOfAStrangeServer(t *testing.T) {
	const line = `{"addr":"203.0.113.8","user":"shin","source":"control","since":"2026-03-01T12:00:00Z","expires":"2026-03-01T12:30:00Z"}` + "\n"
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
	for _, test := range []struct {
		name, answer, want string
		listed             int
	}{
		{"a list that is cut off", ok + line, "list of relay grants: unexpected EOF", 1},
		{"a line that is no grant", ok + "[1]\n", `list of relay grants: "[1]" is not a grant`, 0},
		{"a grant without an address", ok + "{}\n", `list of relay grants: "{}" is not a grant`, 0},
		{"an address that is none", ok + strings.Replace(line, "203.0.113.8", "203.0.113", 1), "is not a grant", 0},
		{"a line that is too long", strings.Replace(ok, "1000", "100000", 1) + strings.Repeat("x", 100000), "list of relay grants: bufio.Scanner: token too long", 0},
		{"another protocol", "220 mx.example.test ESMTP\r\n", "malformed HTTP", 0},
		{"nothing", "\n", "control socket: ", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			listed := 0
			err := NewClient(answering(t, test.answer)).List(t.Context(), func(grant.Grant) { listed++ })
			if err == nil || !strings.Contains(err.Error(), test.want) || listed != test.listed {
				t.Errorf("%d grants and %v, expected %d and %s", listed, err, test.listed, test.want)
			}
		})
	}
	_, err := NewClient(answering(t, "HTTP/1.1 403 Forbidden\r\n\r\n"+strings.Repeat("x", 100000))).Grant(t.Context(), netip.MustParseAddr("203.0.113.8"), "")
	if refusal := new(Refusal); !errors.As(err, &refusal) || len(refusal.Text) != maxAnswer {
		t.Errorf("grant: %v", err)
	}
}

func TestClientGivesUpWithItsContext(t *testing.T) {
	c := NewClient(answering(t, ""))
	ctx, cancel := context.WithCancel(t.Context())
	var cancelling sync.WaitGroup
	cancelling.Go(cancel)
	if _, err := c.Revoke(ctx, netip.MustParseAddr("203.0.113.8")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	cancelling.Wait()
}

func TestClientWithoutAServer(t *testing.T) {
	_, err := NewClient(filepath.Join(t.TempDir(), "control.sock")).Revoke(t.Context(), netip.MustParseAddr("203.0.113.8"))
	if err == nil || !strings.HasPrefix(err.Error(), "connect to the control socket: ") || !strings.HasSuffix(err.Error(), "; is milterd running?") {
		t.Errorf("Revoke: %v", err)
	}
}
