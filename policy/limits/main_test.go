package limits

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"milterd/integration/testkit"
	"milterd/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var began = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func rates(t testing.TB, texts ...string) []policy.Rate {
	t.Helper()
	var all []policy.Rate
	for _, text := range texts {
		r, err := policy.ParseRate(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// byLogin is a limit of recipients for each login.
func byLogin(t testing.TB, name string, texts ...string) *policy.Limit {
	return &policy.Limit{Name: name, Mode: policy.ModeEnforce, By: policy.ByLogin, Count: policy.CountRecipients, Rates: rates(t, texts...)}
}

// ask asks limits for room for one of a login.
func ask(key string, limits ...*policy.Limit) []policy.LimitQuery {
	var queries []policy.LimitQuery
	for _, l := range limits {
		queries = append(queries, policy.LimitQuery{Limit: l, Key: key, Rates: l.Rates, N: 1, Enforced: l.Mode == policy.ModeEnforce})
	}
	return queries
}

// send sends messages of a login, and returns how many were taken.
func send(k *Keeper, n int, login string, limits ...*policy.Limit) (taken int) {
	for range n {
		queries := ask(login, limits...)
		if k.Count(context.Background(), login, queries) {
			continue
		}
		room := true
		for _, q := range queries {
			room = room && (q.Answer.Wait == 0 || !q.Enforced)
		}
		if room {
			taken++
		}
	}
	return taken
}

// keeper makes one with a clock.
func keeper(t interface {
	Helper()
	Fatal(...any)
}, c Config) (*Keeper, *testkit.Clock) {
	t.Helper()
	clock := testkit.NewClock(began)
	c.Now = clock.Now
	k, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return k, clock
}
