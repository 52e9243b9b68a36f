package rulesets

import (
	"context"
	"fmt"
	"net"
	"strings"
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
	return serveMaps(t, s, map[string]socketmap.Map{
		"milterd": socketmap.NewRcpt(current, nil).Lookup, "access": socketmap.NewAccess(current, nil).Lookup,
	})
}

func serveMaps(t *testing.T, s *sendmail, maps map[string]socketmap.Map) *socketmap.Server {
	t.Helper()
	server := socketmap.NewServer(socketmap.Config{Maps: maps})
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

// TestTheHostOfARecipientIsAskedForARefusalOnly: there it is the code by which limits know
// that sendmail refuses; else it would make the question longer by the recipient's domain.
func TestTheHostOfARecipientIsAskedForARefusalOnly(t *testing.T) {
	requireSendmail(t)
	_, generators := newGenerators(t)
	u := standard(generators[0].features(), "")
	u.asks = true
	s := newSendmail(t, u)
	keys := make(chan string, 10)
	serveMaps(t, s, map[string]socketmap.Map{"milterd": func(_ context.Context, key string) socketmap.Answer {
		keys <- key
		return socketmap.Answer{Status: socketmap.OK, Value: "SHOW NONE"}
	}})
	ask := func(macros ...[2]string) query { return query{macros, "milterd_ask", "<x@y.example>"} }
	s.ask(t, []query{
		ask([2]string{"{rcpt_mailer}", "error"}, [2]string{"{rcpt_host}", "5.1.1"}),
		ask([2]string{"{rcpt_mailer}", "esmtp"}, [2]string{"{rcpt_host}", "y.example."}),
		ask([2]string{"{verify}", "OK"}, [2]string{"{cert_issuer}", "/CN=ca"}, [2]string{"{cert_subject}", "/CN=me"}),
	})
	for _, want := range []struct{ mailer, host, issuer, subject string }{
		{"error", "5.1.1", "", ""}, {"esmtp", "", "", ""}, {"esmtp", "", "/CN=ca", "/CN=me"},
	} {
		select {
		case key := <-keys:
			f := strings.Split(key, "\x9b")
			if len(f) != 21 || f[10] != want.mailer || f[11] != want.host || f[14] != want.issuer || f[15] != want.subject || f[18] != "<x@y.example>" {
				t.Errorf("asked %q, expected %+v", f, want)
			}
		default:
			t.Fatalf("not asked for %+v", want)
		}
	}
}
