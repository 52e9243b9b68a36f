package grant_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
	"milterd/policy/grant"
)

// morning is when the tests begin.
var morning = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// fixture is a keeper with a clock and its log.
type fixture struct {
	*grant.Keeper
	t     *testing.T
	clock *testkit.Clock
	log   bytes.Buffer
}

func newFixture(t *testing.T, c grant.Config) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: testkit.NewClock(morning)}
	c.Now = f.clock.Now
	c.Logger = slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	f.Keeper = grant.New(c)
	return f
}

func (f *fixture) login(addr, user string) grant.Result {
	f.t.Helper()
	r, err := f.Login(f.t.Context(), grant.Login{Addr: parse(addr), User: user, Source: "test"})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// parse reads an address; the empty one is none.
func parse(addr string) netip.Addr {
	if addr == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(addr)
}

// step is an event and what is seen of it.
type step struct {
	do   string
	want string
}

// play runs steps: "login ADDR USER", "ask ADDR", "revoke ADDR", "revokeuser
// USER", "pass DURATION", "list".
func (f *fixture) play(steps []step) {
	f.t.Helper()
	ctx := f.t.Context()
	for i, s := range steps {
		words := append(strings.Fields(s.do), "", "")
		var got string
		switch words[0] {
		case "login":
			r := f.login(words[1], words[2])
			got = strings.TrimSpace(r.Decision.String() + " " + r.Reason)
		case "ask":
			g, state := f.Grant(ctx, parse(words[1]))
			got = strings.TrimSpace(state.String() + " " + g.User)
		case "revoke":
			held, err := f.Revoke(ctx, parse(words[1]))
			got = fmt.Sprint(held, err)
		case "revokeuser":
			n, err := f.RevokeUser(ctx, words[1])
			got = fmt.Sprint(n, err)
		case "pass":
			d, err := time.ParseDuration(words[1])
			if err != nil {
				f.t.Fatal(err)
			}
			f.clock.Advance(d)
			f.Sweep(ctx)
		default:
			f.t.Fatalf("step %q", s.do)
		}
		if got != s.want {
			f.t.Errorf("step %d: %s: got %q, want %q", i+1, s.do, got, s.want)
		}
	}
}

func TestEachEventHasItsLine(t *testing.T) {
	f := newFixture(t, grant.Config{MaxPerUser: 1})
	f.play([]step{
		{"login 203.0.113.1 shin", "granted"},
		{"pass 10m", ""},
		{"login 203.0.113.1 shin", "renewed"},
		{"ask 203.0.113.1", "held shin"},
		{"ask 203.0.113.1", "held shin"},
		{"login 203.0.113.2 shin", "granted"},
		{"login 203.0.113.2 kim", "granted"},
		{"login 10.0.0.1 kim", "excluded private network 10.0.0.0/8"},
		{"login 10.0.0.1 kim", "excluded private network 10.0.0.0/8"},
		{"pass 1m", ""},
		{"ask 203.0.113.2", "held kim"},
		{"login 203.0.113.3 \"msg=x\u202e", "granted"},
		{"revoke 203.0.113.3", "true <nil>"},
		{"pass 30m", ""},
	})
	want := strings.TrimLeft(`
level=INFO msg="relay grant made" client=203.0.113.1 user=shin source=test expires=2026-01-02T03:30:00.000Z
level=INFO msg="relay grant renewed" client=203.0.113.1 user=shin source=test since=2026-01-02T03:00:00.000Z expires=2026-01-02T03:40:00.000Z
level=INFO msg="relay grant used" client=203.0.113.1 user=shin source=test since=2026-01-02T03:00:00.000Z expires=2026-01-02T03:40:00.000Z
level=INFO msg="relay grant made" client=203.0.113.2 user=shin source=test expires=2026-01-02T03:40:00.000Z
level=INFO msg="relay grant displaced by the user's next" client=203.0.113.1 user=shin source=test next=203.0.113.2
level=INFO msg="relay grant made" client=203.0.113.2 user=kim source=test expires=2026-01-02T03:40:00.000Z instead_of=shin
level=INFO msg="relay grant refused: excluded" client=10.0.0.1 user=kim source=test reason="private network 10.0.0.0/8"
level=INFO msg="relay grant used" client=203.0.113.2 user=kim source=test since=2026-01-02T03:10:00.000Z expires=2026-01-02T03:40:00.000Z
level=INFO msg="relay grant made" client=203.0.113.3 user="\"msg=x?" source=test expires=2026-01-02T03:41:00.000Z
level=INFO msg="relay grant revoked" client=203.0.113.3
level=INFO msg="relay grant expired" client=203.0.113.2 user=kim source=test since=2026-01-02T03:10:00.000Z
`, "\n")
	if diff := cmp.Diff(want, f.log.String()); diff != "" {
		t.Errorf("log, want - got +:\n%s", diff)
	}
	for of, want := range map[[2]string]float64{
		{"milterd_grant_logins_total", "granted"}: 4, {"milterd_grant_logins_total", "renewed"}: 1, {"milterd_grant_logins_total", "excluded"}: 2,
		{"milterd_grant_logins_total", "refused"}: 0, {"milterd_grant_logins_total", "invalid"}: 0, {"milterd_grant_logins_total", "stale"}: 0,
		{"milterd_grant_ends_total", "expired"}: 1, {"milterd_grant_ends_total", "revoked"}: 1, {"milterd_grant_ends_total", "displaced"}: 1,
	} {
		if got := testkit.Metric(t, f, of[0], of[1]); got != want {
			t.Errorf("%v: %v, expected %v", of, got, want)
		}
	}
	for name, want := range map[string]float64{
		"milterd_grant_lookups_total": 3, "milterd_grant_used_lookups_total": 3, "milterd_grant_temporary_lookups_total": 0,
		"milterd_grant_store_errors_total": 0, "milterd_grants": 0,
	} {
		if got := testkit.Metric(t, f, name); got != want {
			t.Errorf("%s: %v, expected %v", name, got, want)
		}
	}
}

func TestOldLoginsGrantNothing(t *testing.T) {
	f := newFixture(t, grant.Config{TTL: 10 * time.Minute})
	for _, tt := range []struct {
		age  time.Duration
		want grant.Decision
	}{
		{0, grant.Granted}, {time.Second, grant.Renewed}, {10 * time.Minute, grant.Renewed}, {10*time.Minute + 4*time.Second, grant.Renewed},
		{10*time.Minute + 6*time.Second, grant.Stale}, {time.Hour, grant.Stale}, {58 * 24 * time.Hour, grant.Stale},
		{-10 * time.Minute, grant.Renewed}, {-time.Hour, grant.Stale}, {-364 * 24 * time.Hour, grant.Stale},
	} {
		r, err := f.Login(t.Context(), grant.Login{Addr: parse("203.0.113.1"), Source: "test", At: morning.Add(-tt.age)})
		if err != nil || r.Decision != tt.want {
			t.Errorf("a login of %v ago: %v, %v, want %v", tt.age, r.Decision, err, tt.want)
		}
	}
	if n := strings.Count(f.log.String(), `msg="relay grant refused: not a login of now"`); n != 1 || testkit.Metric(t, f, "milterd_grant_logins_total", "stale") != 5 {
		t.Errorf("%d lines:\n%s", n, &f.log)
	}
	// A reload with a longer ttl takes older logins.
	f.Reload(grant.Config{TTL: 2 * time.Hour})
	if r, err := f.Login(t.Context(), grant.Login{Addr: parse("203.0.113.2"), Source: "test", At: morning.Add(-time.Hour)}); err != nil || r.Decision != grant.Granted {
		t.Errorf("after the reload: %v, %v", r.Decision, err)
	}
}

func TestReloadChangesTheRules(t *testing.T) {
	f := newFixture(t, grant.Config{})
	f.play([]step{{"login 203.0.113.1 shin", "granted"}, {"login 198.51.100.1 shin", "granted"}})
	f.Reload(grant.Config{TTL: time.Minute, Exclude: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	f.play([]step{
		{"ask 198.51.100.1", "none"},
		{"pass 2m", ""},
		{"ask 203.0.113.1", "held shin"},
		{"login 203.0.113.2 kim", "granted"},
		{"pass 1m", ""},
		{"ask 203.0.113.2", "none"},
	})
	f.play([]step{{"login 198.51.100.1 shin", "excluded excluded network 198.51.100.0/24"}})
}

func TestNetworkNames(t *testing.T) {
	var all []netip.Prefix
	for _, name := range grant.NetworkNames() {
		networks, ok := grant.Networks(name)
		if !ok {
			t.Errorf("%s is not known", name)
		}
		all = append(all, networks...)
	}
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(grant.DefaultExclude(), all, same); diff != "" {
		t.Errorf("by default - by name +:\n%s", diff)
	}
	if _, ok := grant.Networks("own"); ok {
		t.Error("own is not a list of networks")
	}
}

// remote is a server as it may be.
type remote struct {
	*grant.Memory
	err   error
	known bool
}

func (r *remote) Known(netip.Addr) bool { return r.known }

func (r *remote) Get(ctx context.Context, addr netip.Addr) (grant.Grant, bool, error) {
	if r.err != nil {
		return grant.Grant{}, false, r.err
	}
	return r.Memory.Get(ctx, addr)
}

func (r *remote) Put(ctx context.Context, login grant.Login, ttl time.Duration, max int) (grant.Change, error) {
	if errors.Is(r.err, context.DeadlineExceeded) {
		<-ctx.Done()
		return grant.Change{}, ctx.Err()
	}
	return r.Memory.Put(ctx, login, ttl, max)
}

func TestStoreThatFailsIsTemporaryAndNeverAGrant(t *testing.T) {
	store := &remote{Memory: grant.NewMemory(0, testkit.NewClock(morning).Now), known: true}
	f := newFixture(t, grant.Config{Store: store})
	f.play([]step{{"login 203.0.113.1 shin", "granted"}, {"ask 203.0.113.1", "held shin"}})
	store.err = context.DeadlineExceeded
	f.play([]step{
		{"ask 203.0.113.1", "temporary"},
		{"ask 203.0.113.2", "temporary"},
		{"ask 10.0.0.1", "none"},
	})
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := f.Login(soon, grant.Login{Addr: parse("203.0.113.2"), Source: "test"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("login at a store that hangs: %v", err)
	}
	if !f.Known(parse("203.0.113.1")) || f.Known(parse("10.0.0.1")) || f.Known(netip.Addr{}) {
		t.Error("known is what the store remembers, without what is excluded")
	}
	store.err = nil
	f.play([]step{{"ask 203.0.113.1", "held shin"}, {"ask 203.0.113.2", "none"}})
	if n := testkit.Metric(t, f, "milterd_grant_temporary_lookups_total"); n != 2 {
		t.Errorf("%v look-ups without an answer", n)
	}
	if n := testkit.Metric(t, f, "milterd_grant_store_errors_total"); n != 3 {
		t.Errorf("%v errors of the store", n)
	}
	for _, line := range []string{"the store of relay grants fails", "the store of relay grants works again"} {
		if n := strings.Count(f.log.String(), line); n != 1 {
			t.Errorf("%q was logged %d times in:\n%s", line, n, f.log.String())
		}
	}
}

func TestNobodyIsKnownToAStoreOnThisMachine(t *testing.T) {
	f := newFixture(t, grant.Config{})
	f.play([]step{{"login 203.0.113.1 shin", "granted"}})
	if f.Known(parse("203.0.113.1")) {
		t.Error("known, but the store can be asked")
	}
}

func TestRunSweeps(t *testing.T) {
	f := newFixture(t, grant.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	f.login("203.0.113.1", "shin")
	f.clock.Advance(time.Hour)
	testkit.Eventually(t, "the grant expires", func() bool { return testkit.Metric(t, f, "milterd_grant_ends_total", "expired") == 1 })
	cancel()
	<-done
	if expired, active := testkit.Metric(t, f, "milterd_grant_ends_total", "expired"), testkit.Metric(t, f, "milterd_grants"); expired != 1 || active != 0 {
		t.Errorf("%v expired, %v active", expired, active)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestUseOfManyAddressesIsLoggedForSomeAndCountedForAll(t *testing.T) {
	const many = 10_100
	f := newFixture(t, grant.Config{})
	addr := parse("198.18.0.0")
	for range many {
		addr = addr.Next()
		f.login(addr.String(), "")
		if _, state := f.Grant(t.Context(), addr); state != grant.Held {
			t.Fatalf("%v: %v", addr, state)
		}
	}
	if n := strings.Count(f.log.String(), "relay grant used"); n != 10_000 {
		t.Errorf("%d lines", n)
	}
	if n := testkit.Metric(t, f, "milterd_grant_used_lookups_total"); n != many {
		t.Errorf("%v uses", n)
	}
}
