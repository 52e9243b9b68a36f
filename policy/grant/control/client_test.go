package control

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy/grant"
)

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestClient(t *testing.T) {
	c := dial(t, serve(t, Config{Keeper: newKeeper(t, grant.Config{})}).path)
	four, six := netip.MustParseAddr("203.0.113.8"), netip.MustParseAddr("2001:db8::8")
	for _, step := range []struct {
		name    string
		do      func() (string, error)
		want    string
		refused string
	}{
		{"a grant", func() (string, error) { return c.Grant(t.Context(), four, "Shin Oka") }, "granted 203.0.113.8 until 2026-03-01T12:30:00Z", ""},
		{"a grant for nobody", func() (string, error) { return c.Grant(t.Context(), six, "") }, "granted 2001:db8::8 until 2026-03-01T12:30:00Z", ""},
		{"a grant for loopback", func() (string, error) { return c.Grant(t.Context(), netip.IPv6Loopback(), "") }, "", "excluded: loopback network ::1/128"},
		{"a revocation", func() (string, error) { return c.Revoke(t.Context(), six) }, "revoked 2001:db8::8", ""},
		{"a revocation of nothing", func() (string, error) { return c.Revoke(t.Context(), six) }, "", "2001:db8::8 has no grant"},
		{"a revocation of nobody", func() (string, error) { return c.RevokeUser(t.Context(), "nobody") }, "", "nobody has no grants"},
		{"a user with a line end", func() (string, error) { return c.RevokeUser(t.Context(), "a\nlist") }, "", "user name has control characters"},
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
	want := []grant.Grant{{Addr: four, User: "Shin Oka", Source: "control", Since: noon(), Expires: noon().Add(grant.DefaultTTL)}}
	if diff := cmp.Diff(want, got, sameTime); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if answer, err := c.RevokeUser(t.Context(), "Shin Oka"); err != nil || answer != `revoked 1 grant of "Shin Oka"` {
		t.Errorf("revoke-user: %q, %v", answer, err)
	}
}

func TestClientRefusesWhatItCannotSay(t *testing.T) {
	c := dial(t, serve(t, Config{Keeper: newKeeper(t, grant.Config{})}).path)
	for _, test := range []struct {
		name string
		do   func() (string, error)
		want string
	}{
		{"a grant without an address", func() (string, error) { return c.Grant(t.Context(), netip.Addr{}, "") }, "grant: no address"},
		{"a revocation without an address", func() (string, error) { return c.Revoke(t.Context(), netip.Addr{}) }, "revoke: no address"},
		{"a revocation without a user", func() (string, error) { return c.RevokeUser(t.Context(), "") }, "revoke-user: no name"},
		{"a name that no line can hold", func() (string, error) { return c.RevokeUser(t.Context(), strings.Repeat("x", 2000)) }, "revoke-user: the command has 2013 bytes, the limit is 1024"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := test.do(); err == nil || err.Error() != test.want {
				t.Errorf("error %v, expected %s", err, test.want)
			}
		})
	}
	if err := c.List(t.Context(), func(grant.Grant) {}); err != nil {
		t.Errorf("the connection is of no more use: %v", err)
	}
}

func TestClientOfAServerWithoutRoom(t *testing.T) {
	r := serve(t, Config{Keeper: newKeeper(t, grant.Config{}), MaxConnections: 1})
	if err := dial(t, r.path).List(t.Context(), func(grant.Grant) {}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		_, err := dial(t, r.path).Grant(t.Context(), netip.MustParseAddr("203.0.113.8"), "")
		if refusal := new(Refusal); !errors.As(err, &refusal) || refusal.Text != "too many connections" {
			t.Errorf("error %v", err)
		}
	}
}

// answering is a server that says what it is told, whatever it is asked.
func answering(t *testing.T, answer string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				if _, err := conn.Read(make([]byte, maxLine)); err != nil {
					return
				}
				_, _ = io.WriteString(conn, answer)
				if answer == "" {
					_, _ = conn.Read(make([]byte, 1)) // silent until the client leaves
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	return path
}

func TestClientOfAStrangeServer(t *testing.T) {
	const line = "grant 203.0.113.8 shin control 2026-03-01T12:00:00Z 2026-03-01T12:30:00Z\n"
	for _, test := range []struct {
		name, answer, want string
		listed             int
	}{
		{"a list that is cut off", line, "list: unexpected EOF", 1},
		{"a list that is cut off in a line", line + line[:20], "list: unexpected EOF", 1},
		{"a list with fewer grants than it says", line + "ok 2 grants\n", `list: the answer ends with "2 grants" after 1 grant`, 1},
		{"a list that ends with an error", line + "error store is gone\n", "store is gone", 1},
		{"a line that is no grant", "220 mx.example.test ESMTP\n", `list: "220 mx.example.test ESMTP" is not a grant line`, 0},
		{"a line that is too long", strings.Repeat("x", 2*maxAnswer), "list: bufio: buffer full", 0},
		{"an address that is none", strings.Replace(line, "203.0.113.8", "203.0.113", 1), `list: grant line: "203.0.113" is not an IP address`, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			listed := 0
			err := dial(t, answering(t, test.answer)).List(t.Context(), func(grant.Grant) { listed++ })
			if err == nil || err.Error() != test.want || listed != test.listed {
				t.Errorf("%d grants and %v, expected %d and %s", listed, err, test.listed, test.want)
			}
		})
	}
	_, err := dial(t, answering(t, "hello\n")).Grant(t.Context(), netip.MustParseAddr("203.0.113.8"), "")
	if err == nil || err.Error() != `grant: "hello" is not an answer` {
		t.Errorf("grant: %v", err)
	}
}

func TestClientGivesUpWithItsContext(t *testing.T) {
	c := dial(t, answering(t, ""))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	var cancelling sync.WaitGroup
	cancelling.Go(func() { cancel(why) })
	if _, err := c.Revoke(ctx, netip.MustParseAddr("203.0.113.8")); !errors.Is(err, why) {
		t.Errorf("error %v, expected %v", err, why)
	}
	cancelling.Wait()
}

func TestDialWithoutAServer(t *testing.T) {
	_, err := Dial(t.Context(), filepath.Join(t.TempDir(), "control.sock"))
	if err == nil || !strings.HasPrefix(err.Error(), "connect to the control socket: ") {
		t.Errorf("Dial: %v", err)
	}
}
