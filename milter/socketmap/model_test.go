package socketmap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"milterd/integration/testkit"
)

// modelled is what one connection sends, and what it must be answered.
type modelled struct {
	text    string
	answers []string // "generation" stands for those of any policy
	keys    []string // that the map grant is asked for
	// broken: the text ends in what is no request, so the connection ends without more.
	broken bool
}

// broken are texts that are no request, nor the beginning of one that could still come.
var broken = []string{
	"01:a,", "-1:a,", "+1:a,", " 1:a,", ":", "x", "0:,", "1:a,", "3:a b;", "10:grant all,", "10:  grant al,", "4097:" + strings.Repeat("a", 4097) + ",",
	"99999999999999999999:", "18446744073709551621:grant,", "1e1:grant all,,", "0x9:grant all,", "\x009:grant all,", "GET / HTTP/1.1\r\n", "5:grant,",
}

// unfinished are the beginnings of requests.
var unfinished = []string{"", "9", "9:", "9:grant", "9:grant all", "4096:grant "}

func drawModelled(rt *rapid.T, label string) (m modelled) {
	for i := range rapid.IntRange(0, 10).Draw(rt, label+" requests") {
		key := fmt.Sprint(label, " ", i)
		request := func(text, answer string) {
			m.text += netstring(text)
			m.answers = append(m.answers, answer)
		}
		switch rapid.IntRange(0, 6).Draw(rt, "request") {
		case 0, 1:
			m.keys = append(m.keys, key)
			request("grant "+key, "OK RELAY "+key)
		case 2:
			request("echo ", "OK ")
		case 3:
			key += strings.Repeat("x", maxRequest-len("echo ")-len(key))
			request("echo "+key, "TEMP an answer that cannot be given")
		case 4:
			request("unknown "+key, "TEMP no map of this name, there are: echo, generation, grant, panic")
		case 5:
			request("panic "+key, "TEMP internal error")
		case 6:
			request("generation "+key, "generation")
		}
	}
	if m.broken = rapid.Bool().Draw(rt, label+" broken"); m.broken {
		m.text += rapid.SampledFrom(broken).Draw(rt, label+" which")
	} else {
		m.text += rapid.SampledFrom(unfinished).Draw(rt, label+" unfinished")
	}
	return m
}

// TestAnyConversation has several clients send netstrings of any kind in any pieces at
// once, and then no more, while the policy is replaced. Each request has its own answer, in
// order; what is none ends the connection; and the map that grants is asked for the keys
// that were sent, and no others.
func TestAnyConversation(t *testing.T) {
	testkit.Rounds(t, 100)
	var generation atomic.Int64
	var mu sync.Mutex
	asked := make(map[string]int)
	ts := serve(t, Config{TransferTimeout: testkit.Patience, Maps: map[string]Map{
		"echo":  echo,
		"panic": Map(func(_ context.Context, key string) Answer { panic(key) }),
		"grant": Map(func(_ context.Context, key string) Answer {
			mu.Lock()
			defer mu.Unlock()
			asked[key]++
			return Answer{OK, "RELAY " + key}
		}),
		"generation": Map(func(context.Context, string) Answer { return Answer{OK, fmt.Sprint("generation ", generation.Load())} }),
	}})
	rapid.Check(t, func(rt *rapid.T) {
		var running sync.WaitGroup
		want, errs := make(map[string]int), make([]error, 4)
		for i := range errs {
			label := fmt.Sprint("connection ", i)
			m := drawModelled(rt, label)
			pieces := rapid.SliceOfN(rapid.IntRange(1, 50), 0, 12).Draw(rt, label+" pieces")
			for _, key := range m.keys {
				want[key]++
			}
			running.Go(func() {
				generation.Add(1)
				errs[i] = m.converse(ts.addr, pieces)
			})
		}
		running.Wait()
		for i, err := range errs {
			if err != nil {
				rt.Errorf("connection %d: %v", i, err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if !maps.Equal(asked, want) {
			rt.Errorf("the map was asked for %v, expected %v", asked, want)
		}
		clear(asked)
	})
	testkit.Eventually(t, "connections end", func() bool { return ts.active() == 0 })
}

// converse is one connection: everything is sent, in pieces, and then no more.
func (m *modelled) converse(addr string, pieces []int) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: addr, Net: "unix"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		return err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		rest := m.text
		for _, n := range append(slices.Clone(pieces), len(rest)) {
			n = min(n, len(rest))
			if _, err := io.WriteString(conn, rest[:n]); err != nil {
				return // the server has hung up
			}
			rest = rest[n:]
		}
		_ = conn.CloseWrite()
	}()
	answers, err := readAnswers(conn)
	conn.Close()
	<-sent
	if err != nil {
		return fmt.Errorf("after %d answers: %w", len(answers), err)
	}
	same := slices.EqualFunc(m.answers, answers, func(want, got string) bool {
		return got == want || want == "generation" && strings.HasPrefix(got, "OK generation ")
	})
	if !same {
		return fmt.Errorf("%.200q: answers %.200q, expected %.200q", m.text, answers, m.answers)
	}
	return nil
}

// readAnswers reads answers up to the end of the connection, which must come. A server
// that ends one with data still unread resets it.
func readAnswers(conn net.Conn) (answers []string, err error) {
	text, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, errors.New("the connection does not end")
	}
	rest := string(text)
	for rest != "" {
		length, after, ok := strings.Cut(rest, ":")
		n, err := strconv.Atoi(length)
		if !ok || err != nil || n < 0 || n >= len(after) || after[n] != ',' {
			return answers, fmt.Errorf("%.80q is no netstring", rest)
		}
		answers, rest = append(answers, after[:n]), after[n+1:]
	}
	return answers, nil
}
