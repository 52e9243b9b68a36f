package socketmap

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"milterd/policy"
)

// benchmarkServer serves an access table of a million lines.
func benchmarkServer(b *testing.B) *testServer {
	b.Helper()
	var text strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&text, "Connect:100.%d.%d.%d\tREJECT\n", 64+i>>16, i>>8&255, i&255)
	}
	access := NewAccess(always(&policy.Policy{Access: table(b, text.String())}, &grantTable{}), nil)
	return serve(b, Config{Maps: map[string]Map{"access": access.Lookup}, Logger: slog.New(slog.DiscardHandler)})
}

var benchmarkRequests = [...]string{
	netstring("access connect:100.65.3.7"), netstring("access connect:198.51.100.9"),
	netstring("access from:someone@good.example"), netstring("access 100.65.3"),
}

// benchmarkLookUps makes n look-ups, with up to window of them on the way at a time.
func benchmarkLookUps(conn net.Conn, next func() bool, window int) error {
	in := bufio.NewReader(conn)
	for open, i := true, 0; open; {
		var requests strings.Builder
		sent := 0
		for ; sent < window; sent++ {
			if open = next(); !open {
				break
			}
			requests.WriteString(benchmarkRequests[i%len(benchmarkRequests)])
			i++
		}
		if _, err := io.WriteString(conn, requests.String()); err != nil {
			return err
		}
		for range sent {
			if _, err := in.ReadSlice(','); err != nil { // in no answer but at its end
				return err
			}
		}
	}
	return nil
}

// BenchmarkLookUp is a look-up in a table of a million lines through a unix socket:
// one after the other, as sendmail makes them, pipelined, and on 16 connections at
// once. The client's share is in it.
func BenchmarkLookUp(b *testing.B) {
	ts := benchmarkServer(b)
	for _, bm := range []struct {
		name   string
		window int
	}{{"one by one", 1}, {"pipelined", 100}} {
		b.Run(bm.name, func(b *testing.B) {
			conn := dialBenchmark(b, ts.addr)
			b.ReportAllocs()
			if err := benchmarkLookUps(conn, b.Loop, bm.window); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.Run("16 connections", func(b *testing.B) {
		const connections = 16
		var left atomic.Int64
		left.Store(int64(b.N))
		failures := make(chan error, connections)
		b.ReportAllocs()
		for range connections {
			conn := dialBenchmark(b, ts.addr)
			go func() { failures <- benchmarkLookUps(conn, func() bool { return left.Add(-1) >= 0 }, 1) }()
		}
		for range connections {
			if err := <-failures; err != nil {
				b.Fatal(err)
			}
		}
	})
}

func dialBenchmark(b *testing.B, addr string) net.Conn {
	b.Helper()
	conn, err := net.Dial("unix", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

// BenchmarkReceived is the received map by itself, without a socket.
func BenchmarkReceived(b *testing.B) {
	r := Received(always(scrubbing(b, policy.Scrub{Authenticated: true, Relayed: true}), nil))
	b.ReportAllocs()
	for b.Loop() {
		r(b.Context(), "203.0.113.1/587///OK/esmtp/mx.example/x@other.example")
	}
}
