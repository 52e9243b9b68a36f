package limits

import (
	"context"
	"net/netip"
	"testing"

	"milterd/policy"
)

// counted are answers of a keeper.
type counted struct {
	policy.NoAnswers
	keeper *Keeper
}

func (c *counted) Count(login string, queries []policy.LimitQuery) bool {
	return c.keeper.Count(context.Background(), login, queries)
}

// sessionOf makes a session with one recipient under some limits.
func sessionOf(t testing.TB, limits ...policy.Limit) (session func()) {
	t.Helper()
	conn := policy.Connection{Addr: netip.MustParseAddr("203.0.113.8"), Name: "[203.0.113.8]", DaemonPort: 587}
	auth := policy.Auth{Type: "PLAIN", Authen: "shin@example.test"}
	p := &policy.Policy{Limits: policy.Limits{Rules: limits, Blocks: len(limits) > 0}}
	p.Checks.Relay.TrustAuthMech = []string{"PLAIN"}
	k, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		s := p.NewSession(conn, &counted{keeper: k})
		s.Mail(auth, policy.Mail{From: "shin@example.test"})
		if v := s.Rcpt(policy.Recipient{To: "x@other.example", Mailer: "esmtp"}); v.Action != policy.ActionAccept {
			t.Fatal(v)
		}
		s.EndOfMessage(nil)
		s.Close()
	}
}

func three(t testing.TB) []policy.Limit {
	all := []policy.Limit{*byLogin(t, "hour", "1000000/1h"), *byLogin(t, "day", "1000000/24h"), *byLogin(t, "client", "1000000/1h")}
	all[2].By = policy.ByClient
	return all
}

// BenchmarkSession is a session without limits and with three. The difference is what limits
// cost.
func BenchmarkSession(b *testing.B) {
	for name, limits := range map[string][]policy.Limit{"none": nil, "three": three(b)} {
		session := sessionOf(b, limits...)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				session()
			}
		})
	}
}

func TestThreeLimitsTakeFewAllocations(t *testing.T) {
	none, limited := testing.AllocsPerRun(1000, sessionOf(t)), testing.AllocsPerRun(1000, sessionOf(t, three(t)...))
	if limited > none+5 {
		t.Errorf("%v allocations with three limits, %v without", limited, none)
	}
}
