package integration_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/d--j/go-milter"

	"milterd/integration/harness"
)

// standIn refuses every recipient of a client without a PTR record.
type standIn struct{ milter.NoOpMilter }

func (standIn) RcptTo(string, string, milter.Modifier) (*milter.Response, error) {
	return milter.RejectWithCodeAndReason(450, "4.7.25 not by this filter")
}

func startStandIn() (func() error, error) {
	if err := os.Remove(harness.Socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	listener, err := net.Listen("unix", harness.Socket)
	if err != nil {
		return nil, err
	}
	server := milter.NewServer(milter.WithMilter(func() milter.Milter { return standIn{} }))
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	return func() error {
		err := server.Close()
		if e := <-done; e != nil && !errors.Is(e, milter.ErrServerClosed) {
			return e
		}
		return err
	}, nil
}

func TestSendmailAsksTheFilter(t *testing.T) {
	env := start(t, harness.Options{Filter: startStandIn, LocalHostNames: "example.test\n", DNS: []string{"8.113.0.203.in-addr.arpa. SERVFAIL", "good.example. A 203.0.113.5"}})
	conn, err := harness.Dial("203.0.113.8", "203.0.113.25:25")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ReadReply(); err != nil {
		t.Fatal(err)
	}
	var got string
	for _, line := range []string{"EHLO a.example", "MAIL FROM:<a@good.example>", "RCPT TO:<postmaster@example.test>", "QUIT"} {
		reply, err := conn.Command(line)
		if err != nil {
			t.Fatal(err)
		}
		if line[:4] == "RCPT" {
			got = reply.String()
		}
	}
	if want := "450 4.7.25 not by this filter"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(env.Syslog.String(), "not by this filter") {
		t.Error("sendmail did not log the refusal")
	}
}
