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

// BenchmarkSession is a session with one recipient, without limits and with three. The
// difference is what limits cost.
func BenchmarkSession(b *testing.B) {
	conn := policy.Connection{Addr: netip.MustParseAddr("203.0.113.8"), Name: "[203.0.113.8]", DaemonPort: 587}
	auth := policy.Auth{Type: "PLAIN", Authen: "shin@example.test"}
	three := []policy.Limit{*byLogin(b, "hour", "1000000/1h"), *byLogin(b, "day", "1000000/24h"), *byLogin(b, "client", "1000000/1h")}
	three[2].By = policy.ByClient
	for _, c := range []struct {
		name   string
		limits policy.Limits
	}{{"none", policy.Limits{}}, {"three", policy.Limits{Rules: three, Blocks: true}}} {
		b.Run(c.name, func(b *testing.B) {
			p := &policy.Policy{Limits: c.limits}
			p.Checks.Relay.TrustAuthMech = []string{"PLAIN"}
			k, err := New(Config{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				s := p.NewSession(conn, &counted{keeper: k})
				s.Mail(auth, policy.Mail{From: "shin@example.test"})
				if v := s.Rcpt(policy.Recipient{To: "x@other.example", Mailer: "esmtp"}); v.Action != policy.ActionAccept {
					b.Fatal(v)
				}
				s.EndOfMessage(nil)
				s.Close()
			}
		})
	}
}
