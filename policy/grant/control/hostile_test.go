package control

import (
	"io"
	"strings"
	"testing"
	"time"

	"milterd/policy/grant"
)

func TestHostilePeers(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, test := range []struct {
		name, send, want string
		ends             bool
	}{
		{"a line as long as the buffer", long[:maxLine-1] + "\n", `error unknown command "` + long[:64] + `"..., try help`, false},
		{"a line that is longer", long + "\n", "error the line is longer than 1024 bytes", true},
		{"a line without end", strings.Repeat(long, 64), "error the line is longer than 1024 bytes", true},
		{"bytes", "\x00\x01\xfe\xff\n", "error the line is not valid UTF-8", false},
		{"a TLS handshake", "\x16\x03\x01\x02\x00\n", `error a word with "\x16" has to stand between quotation marks`, false},
		{"a web browser", "GET / HTTP/1.1\n", `error unknown command "GET", try help`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := serve(t, Config{Keeper: newKeeper(t, grant.Config{})})
			conn := r.connect(t)
			// The server may hang up before it has taken everything.
			_, _ = io.WriteString(conn, test.send)
			conn.expect(test.want)
			if !test.ends {
				conn.send("list\n")
				conn.expect("ok 0 grants")
			} else if rest, _ := io.ReadAll(conn.in); len(rest) > 0 {
				t.Errorf("%q after the last answer", rest)
			}
			other := r.connect(t)
			other.send("list\n")
			other.expect("ok 0 grants")
		})
	}
}

func TestSilentPeersAreHungUpOn(t *testing.T) {
	for _, test := range []struct{ name, send string }{
		{"who says nothing", ""},
		{"who does not end a line", "grant 203.0.113.8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := serve(t, Config{Keeper: newKeeper(t, grant.Config{}), IdleTimeout: 20 * time.Millisecond}).connect(t)
			conn.send(test.send)
			conn.expectEnd()
		})
	}
}

func TestALineHasToBeCompleteInTime(t *testing.T) {
	keeper := newKeeper(t, grant.Config{})
	conn := serve(t, Config{Keeper: keeper, IdleTimeout: 50 * time.Millisecond}).connect(t)
	// One byte after the other, each well in time, and never a line.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		<-tick.C
		if _, err := conn.Write([]byte("x")); err != nil {
			return
		}
		if n == maxLine-1 {
			t.Fatal("the server waited for all bytes of the line")
		}
	}
}

func TestAnUnfinishedLineIsNotCarriedOut(t *testing.T) {
	keeper := newKeeper(t, grant.Config{})
	conn := serve(t, Config{Keeper: keeper}).connect(t)
	conn.send("grant 203.0.113.8")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	conn.expectEnd()
	if n := keeper.Stats().Active; n != 0 {
		t.Errorf("%d grants, expected none", n)
	}
}

func TestTooManyConnections(t *testing.T) {
	r := serve(t, Config{Keeper: newKeeper(t, grant.Config{}), MaxConnections: 2})
	held := []*peerConn{r.connect(t), r.connect(t)}
	for _, conn := range held {
		conn.send("list\n")
		conn.expect("ok 0 grants")
	}
	for range 20 {
		conn := r.connect(t)
		conn.expect("error too many connections")
		conn.expectEnd()
	}
	held[0].Close()
	// The place is free a moment after the connection is gone.
	eventually(t, "a place is free", func() bool {
		c, err := Dial(t.Context(), r.path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.List(t.Context(), func(grant.Grant) {}) == nil
	})
	held[1].send("list\n")
	held[1].expect("ok 0 grants")
}

func TestAPeerThatLeavesInTheMiddleOfAList(t *testing.T) {
	r := serve(t, Config{Keeper: endless{}, MaxConnections: 1})
	conn := r.connect(t)
	conn.send("list\n")
	if _, err := conn.in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	eventually(t, "its place is free", func() bool {
		next := r.connect(t)
		defer next.Close()
		_, _ = io.WriteString(next, "help\n")
		line, err := next.in.ReadString('\n')
		return err == nil && strings.HasPrefix(line, "help ")
	})
}
