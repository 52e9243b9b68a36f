package redis_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/integration/testkit"
	"milterd/policy/grant"
	"milterd/policy/grant/redis"
)

// liar is a server that answers whatever it is asked in its own way.
type liar struct {
	path string
	// asked counts what it was asked.
	mu    sync.Mutex
	asked int
}

// startLiar answers each command with what reply gives, the first of a connection and the
// later ones. A false ends the connection.
func startLiar(t *testing.T, reply func(command string) string) *liar {
	t.Helper()
	l := &liar{path: filepath.Join(t.TempDir(), "s")}
	testkit.Serve(t, "unix", l.path, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			command, err := readCommand(in)
			if err != nil {
				return
			}
			l.mu.Lock()
			l.asked++
			l.mu.Unlock()
			if _, err := io.WriteString(conn, reply(command)); err != nil {
				return
			}
		}
	})
	return l
}

// readCommand reads an array of strings and returns them in lower case.
func readCommand(in *bufio.Reader) (string, error) {
	var n int
	if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
		return "", err
	}
	words := make([]string, n)
	for i := range words {
		var length int
		if _, err := fmt.Fscanf(in, "$%d\r\n", &length); err != nil {
			return "", err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return "", err
		}
		words[i] = strings.ToLower(string(word[:length]))
	}
	return strings.Join(words, " "), nil
}

func TestHostileServers(t *testing.T) {
	deep := strings.Repeat("*1\r\n", 100_000)
	for _, tt := range []struct{ name, reply string }{
		{"a string of 8 EiB", "$9223372036854775807\r\n"},
		{"a string of 1 GiB", "$1073741824\r\nabc"},
		{"a string of a negative length", "$-2\r\n"},
		{"a string of a length beyond all", "$99999999999999999999\r\n"},
		{"an array of 8 EiB", "*9223372036854775807\r\n"},
		{"an array of ten million elements", "*10000000\r\n:1\r\n"},
		{"an array of a negative length", "*-9223372036854775808\r\n"},
		{"nested arrays", deep + ":1\r\n"},
		{"nested attributes of RESP3", strings.Repeat("|1\r\n+a\r\n", 100_000)},
		{"attributes before a reply", "|1\r\n+a\r\n+b\r\n$1\r\na\r\n"},
		{"maps of RESP3", strings.Repeat("%1\r\n+a\r\n", 100_000)},
		{"a map of 8 EiB", "%9223372036854775807\r\n"},
		{"sets of RESP3", strings.Repeat("~1\r\n", 100_000)},
		{"a push of RESP3", ">9223372036854775807\r\n"},
		{"a verbatim string of RESP3", "=9223372036854775807\r\n"},
		{"an error of RESP3", "!9223372036854775807\r\n"},
		{"a streamed string of RESP3", "$?\r\n;4\r\nHell\r\n"},
		{"a big number of RESP3", "(" + strings.Repeat("9", 100_000) + "\r\n"},
		{"a line without end", strings.Repeat("+", 1<<20)},
		{"lines without a carriage return", "+OK\n+OK\n"},
		{"an empty line", "\r\n\r\n"},
		{"a number that is none", ":one\r\n"},
		{"many large elements", "*60000\r\n" + strings.Repeat("$60000\r\n"+strings.Repeat("a", 60000)+"\r\n", 100)},
		{"another protocol", "HTTP/1.1 200 OK\r\n\r\n"},
		{"nothing but zeros", strings.Repeat("\x00", 4096)},
		{"a grant where a number is due", "$29\r\n1\t1700000000000\tdovecot\tshin\n\r\n"},
		{"numbers where a grant is due", ":1\r\n"},
		{"an empty array", "*0\r\n"},
		{"no array", "*-1\r\n"},
		{"an error", "-ERR no\r\n"},
		{"an error of many words", "-MOVED 1 127.0.0.1:1\r\n"},
	} {
		for _, when := range []string{"at once", "after HELLO"} {
			t.Run(tt.name+" "+when, func(t *testing.T) {
				l := startLiar(t, func(command string) string {
					if when == "after HELLO" && (strings.HasPrefix(command, "hello") || strings.HasPrefix(command, "client")) {
						return "-ERR unknown command\r\n"
					}
					return tt.reply
				})
				store, err := redis.New(redis.Config{Addresses: []string{l.path}, Timeout: 200 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				defer store.Close()
				if _, ok, _ := store.Get(t.Context(), first); ok {
					t.Error("it grants")
				}
				_, _ = store.Put(t.Context(), grant.Login{Addr: first, User: "shin", Source: "test"}, time.Hour, 1)
				_, _ = store.Delete(t.Context(), first)
				_, _ = store.DeleteUser(t.Context(), "shin")
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				if err := store.List(ctx, func(grant.Grant) bool { t.Error("it lists a grant"); return true }); err == nil && !strings.HasPrefix(tt.name, "an empty") {
					t.Log("a list without an error")
				}
				testkit.Eventually(t, "it was asked", func() bool {
					l.mu.Lock()
					defer l.mu.Unlock()
					return l.asked > 0
				})
			})
		}
	}
}

// pieces is a connection that gives what it has in pieces.
type pieces struct {
	net.Conn
	text string
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(len(p.text), p.size)])
	p.text = p.text[n:]
	return n, nil
}

func TestRepliesOfAServerPass(t *testing.T) {
	for _, text := range []string{
		"+OK\r\n", "-ERR a b\r\n", ":-1\r\n", "$0\r\n\r\n", "$-1\r\n", "$4\r\na\r\nb\r\n", "*0\r\n", "*-1\r\n",
		"*2\r\n$1\r\n0\r\n*3\r\n$1\r\na\r\n$-1\r\n:4\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n+a\r\n",
		"*5\r\n:1\r\n$13\r\n1700000000000\r\n$4\r\nshin\r\n$0\r\n\r\n*0\r\n", "$65536\r\n" + strings.Repeat("a", 65536) + "\r\n",
	} {
		for size := 1; size < 20; size++ {
			conn := redis.Checked(&pieces{text: strings.Repeat(text, 3), size: size})
			got, err := io.ReadAll(conn)
			if err != nil || string(got) != strings.Repeat(text, 3) {
				t.Errorf("%.40q in pieces of %d: %d octets, %v", text, size, len(got), err)
			}
		}
	}
}

// FuzzReplies: however it is cut, a stream passes or does not, and what passes has no
// length beyond the bounds.
func FuzzReplies(f *testing.F) {
	for _, text := range []string{"*2\r\n$1\r\n0\r\n*1\r\n$3\r\nabc\r\n", "$9223372036854775807\r\n", "|1\r\n", "*-2\r\n", "+OK\r\n-ERR\r\n:1\r\n"} {
		f.Add(text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		whole, wholeErr := io.ReadAll(redis.Checked(&pieces{text: text, size: len(text) + 1}))
		cut, cutErr := io.ReadAll(redis.Checked(&pieces{text: text, size: max(1, size%100)}))
		if errors.Is(wholeErr, redis.ErrReply) != errors.Is(cutErr, redis.ErrReply) {
			t.Fatalf("%q: %v whole, %v in pieces of %d", text, wholeErr, cutErr, size)
		}
		if wholeErr == nil && (string(whole) != text || string(cut) != text) {
			t.Fatalf("%q became %q and %q", text, whole, cut)
		}
	})
}

// TestServerThatTurnsHostile: the store works before and after.
func TestServerThatTurnsHostile(t *testing.T) {
	var mu sync.Mutex
	hostile := false
	l := startLiar(t, func(command string) string {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case hostile:
			return "$9223372036854775807\r\n"
		case strings.HasPrefix(command, "ping"):
			return "+PONG\r\n"
		}
		return "-ERR unknown command\r\n"
	})
	clock := testkit.NewClock(time.Now())
	store, err := redis.New(redis.Config{Addresses: []string{l.path}, Timeout: testkit.Patience, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, hostileNow := range []bool{true, false} {
		mu.Lock()
		hostile = hostileNow
		mu.Unlock()
		testkit.Eventually(t, fmt.Sprintf("an error: %t", hostileNow), func() bool {
			clock.Advance(2 * time.Second)
			return store.Ping(t.Context()) != nil == hostileNow
		})
	}
}

// TestTLS: rediss:// speaks TLS, and only to a server whose certificate is trusted.
func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	store, err := redis.New(redis.Config{Addresses: []string{"rediss://" + server.Listener.Addr().String()}, Timeout: testkit.Patience})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}
