package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"runtime"

	gomilter "github.com/d--j/go-milter"
)

// buffered is a connection whose reads are buffered: go-milter asks for a frame in two
// reads, and a socket would be asked twice.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// bufferedListener hands out buffered connections.
type bufferedListener struct{ net.Listener }

func (l bufferedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &buffered{c, bufio.NewReaderSize(c, 2048)}, nil
}

// continuing continues at every step. The library's own NoOpMilter skips some.
type continuing struct{ gomilter.NoOpMilter }

func (continuing) RcptTo(string, string, gomilter.Modifier) (*gomilter.Response, error) {
	return gomilter.RespContinue, nil
}

func (continuing) Header(string, string, gomilter.Modifier) (*gomilter.Response, error) {
	return gomilter.RespContinue, nil
}

// serveEmpty serves an empty filter on go-milter until the process is ended.
func serveEmpty(socket, metrics string, o options) error {
	page, err := net.Listen("unix", metrics)
	if err != nil {
		return err
	}
	go func() {
		_ = http.Serve(page, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Fprintf(w, "go_memstats_mallocs_total %d\n", m.Mallocs)
		}))
	}()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	const sizes = 0x70000000 // of frames, which go-milter negotiates by itself
	return gomilter.NewServer(
		gomilter.WithMilter(func() gomilter.Milter { return continuing{} }),
		gomilter.WithAction(gomilter.OptAction(o.actions)),
		gomilter.WithProtocol(gomilter.OptProtocol(o.steps&^sizes)),
	).Serve(bufferedListener{listener})
}
