package rulesets

import (
	"context"
	"fmt"
	"net"
	"testing"

	"milterd/integration/testkit"
	"milterd/milter/door"
	"milterd/milter/socketmap"
	"milterd/policy"
)

// serve answers a sendmail that asks milterd.
func serve(t *testing.T, s *sendmail, p *policy.Policy) *socketmap.Server {
	t.Helper()
	current := func() door.Snapshot { return door.Snapshot{Policy: p} }
	server := socketmap.NewServer(socketmap.Config{Maps: map[string]socketmap.Map{
		"milterd": socketmap.NewRcpt(current, nil).Lookup, "access": socketmap.NewAccess(current, nil).Lookup,
	}})
	ln, err := net.Listen("unix", s.path("map.sock"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return server
}

// TestTheQuestionDecidesAsTheStockRulesets puts the same sessions to a stock sendmail
// with its own table, and to one with the rules of milterd.m4.
func TestTheQuestionDecidesAsTheStockRulesets(t *testing.T) {
	requireSendmail(t)
	seed, generators := newGenerators(t)
	for i, g := range generators {
		t.Run(fmt.Sprintf("table-%d", i), func(t *testing.T) {
			t.Parallel()
			u := standard(g.features(), g.table())
			p := newPolicy(t, u.features, u.table)
			stock := newSendmail(t, u)
			u.asks = true
			asking := newSendmail(t, u)
			server := serve(t, asking, p)
			sessions := make([]session, sessionsPerTable)
			var queries []query
			for i := range sessions {
				// A question without an address is none; live, a local submission has 0.
				for !sessions[i].conn.Addr.IsValid() {
					sessions[i] = g.session()
				}
				queries = append(queries, sessions[i].queries(u.features)...)
			}
			wants, gots := stock.ask(t, queries), asking.ask(t, queries)
			different := 0
			for _, s := range sessions {
				want, got := s.wanted(u.features, &wants), s.wanted(u.features, &gots)
				_, verdicts := s.asked(p)
				if same(want, got, verdicts[len(verdicts)-1], s) {
					continue
				}
				if different++; different <= 3 {
					t.Errorf("seed %d, features %+v\nsession %+v\nstock:  %+v\nasking: %+v\nverdicts: %+v", seed, u.features, s, want, got, verdicts)
				}
			}
			if different > 0 {
				t.Errorf("%d of %d sessions differ; the table:\n%s", different, len(sessions), u.table)
			}
			if n := testkit.Metric(t, server, "milterd_map_lookups_total", "milterd", "OK"); n < sessionsPerTable/2 {
				t.Errorf("only %v of %d questions were answered", n, len(sessions))
			}
		})
	}
}
