package rulesets

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/policy/access"
)

// clientTable is a table of what sendmail's own rules look up about clients.
func (g generator) clientTable() string {
	var b strings.Builder
	seen := map[string]bool{}
	for range 10 + g.IntN(60) {
		tag := pick(g, "Connect:", "GreetPause:", "Srv_Features:", "TLS_Clt:", "ClientRate:", "ClientConn:", "")
		key := pick(g, g.addressKey(), g.addressKey(), pick(g, domains...), "."+pick(g, domains...))
		if tag != "" && tag != "GreetPause:" && tag != "Connect:" && g.chance(10) {
			key = ""
		}
		value := pick(g, "0", "1", "5", strconv.Itoa(g.IntN(1000)))
		switch tag {
		case "Connect:", "":
			value = g.value()
		case "Srv_Features:":
			value = pick(g, "A", "S V", "a")
		case "TLS_Clt:":
			value = pick(g, "VERIFY", "ENCR:112", "PERM+VERIFY:128")
		}
		if g.chance(10) {
			value = "SKIP"
		}
		if folded := strings.ToLower(tag + key); folded != "" && !seen[folded] {
			seen[folded] = true
			fmt.Fprintf(&b, "%s%s\t%s\n", tag, key, value)
		}
	}
	return b.String()
}

// clientQueries are the rulesets that look a client up.
func (s session) clientQueries() []query {
	macros := append(s.macros(), [2]string{"{client_rate}", "3"}, [2]string{"{client_connections}", "3"}, [2]string{"i", "4ABcd0EF"})
	return []query{
		{macros: macros, ruleset: "RateControl", input: "dummy"}, {ruleset: "ConnControl", input: "dummy"},
		{ruleset: "ask_pause", input: "now"}, {ruleset: "srv_features", input: s.conn.Name},
		{ruleset: "ask_basic", input: "now"}, {ruleset: "ask_client", input: "now"},
	}
}

// TestSearchesForClientsEndAsTheStockRulesets puts the same clients to a stock sendmail with
// its own table, and to one that milterd ends the searches of.
func TestSearchesForClientsEndAsTheStockRulesets(t *testing.T) {
	requireSendmail(t)
	seed, generators := newGenerators(t)
	saved := 0
	for i, g := range generators {
		// lookupdotdomain has other searches, and without skip there is nothing to end them by.
		features := access.Features{Skip: i%5 != 0, LookupDotDomain: i%5 == 1, DelayChecks: i%2 == 0, UseClientPTR: i%3 == 0}
		u := standard(features, g.clientTable())
		u.controls = true
		p := newPolicy(t, u.features, u.table)
		stock := newSendmail(t, u)
		u.asks = true
		asking := newSendmail(t, u)
		serve(t, asking, p)
		var queries []query
		var of []session
		for range sessionsPerTable / 2 {
			s := g.session()
			for _, q := range s.clientQueries() {
				queries, of = append(queries, q), append(of, s)
			}
		}
		wants, gots := stock.ask(t, queries), asking.ask(t, queries)
		asked := [2]int{}
		for i, want := range wants {
			got := gots[i]
			asked[0], asked[1] = asked[0]+len(want.keys), asked[1]+len(got.keys)
			if diff := cmp.Diff(want.result, got.result); diff != "" {
				t.Fatalf("seed %d, features %+v\nsession %+v\n%s (-stock +asking):\n%s\nkeys of stock %q\nof asking %q\nthe table:\n%s",
					seed, features, of[i], queries[i].ruleset, diff, want.keys, got.keys, u.table)
			}
		}
		if features.Skip && !features.LookupDotDomain {
			saved += asked[0] - 2*asked[1]
		}
	}
	if saved <= 0 {
		t.Errorf("sendmail asks milterd for more than half of the keys that it looks up itself")
	}
}
