package dnscheck_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"milterd/dnscheck"
	"milterd/integration/testkit"
	"milterd/integration/testkit/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = testkit.Patience

// silence is how long a test waits for an answer that never comes. On a busy machine one
// that does come takes a while.
const silence = 2 * time.Second

// serve starts a DNS server for one test.
func serve(t testing.TB, lines ...string) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start(dnstest.Options{Lines: lines})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// dial makes a client for one test. Without servers in the config it asks s.
func dial(t testing.TB, s *dnstest.Server, config dnscheck.Config) *dnscheck.Client {
	t.Helper()
	if len(config.Servers) == 0 && config.ResolvConf == "" {
		config.Servers = []string{s.Addr()}
	}
	c, err := dnscheck.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// freeze makes a resolver of lines.
func freeze(t testing.TB, lines ...string) *dnscheck.Frozen {
	t.Helper()
	f, err := dnscheck.NewFrozen(lines)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fake is a resolver made of a function. It keeps nothing.
type fake struct {
	answer func(name string, qtype uint16) dnscheck.Result
}

func resolverFunc(answer func(name string, qtype uint16) dnscheck.Result) *fake { return &fake{answer} }

var _ dnscheck.Resolver = (*fake)(nil)

func (f *fake) Lookup(_ context.Context, name string, qtype uint16) dnscheck.Result {
	return f.answer(name, qtype)
}

func (f *fake) LookupFresh(_ context.Context, name string, qtype uint16) dnscheck.Result {
	return f.answer(name, qtype)
}

func (f *fake) LookupCached(string, uint16) (dnscheck.Result, bool) { return dnscheck.Result{}, false }

// withPatience is a context that ends no test early and hangs none.
func withPatience(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newLog is a log that goes to w.
func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
