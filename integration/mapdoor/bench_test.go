package mapdoor

import (
	"fmt"
	"strings"
	"testing"

	"milterd/policy"
)

// benchmarkTable is an access table of many lines, in which some of the sessions'
// clients and recipients are.
func benchmarkTable() string {
	var b strings.Builder
	b.WriteString(accessTable)
	for i := range 10_000 {
		fmt.Fprintf(&b, "Connect:100.%d.%d.%d\tREJECT\n", 64+i%64, i/64%256, i%251)
	}
	return b.String()
}

// kinds are sendmail configurations with the same table in different maps.
func kinds(b *testing.B, s site) []struct{ name, config string } {
	table := benchmarkTable()
	s.open(served(&policy.Policy{Access: parse(b, table)}, granted{"203.0.113.8"}))
	return []struct{ name, config string }{{"hash", s.withHash(table)}, {"socket", s.withSocket()}}
}

// BenchmarkSendmailLookUp is one look-up of sendmail -bt, in its own hash map and
// through the map door, and in a map that is a function of sendmail's own: what
// sendmail -bt and the pipes to it cost is in all three.
func BenchmarkSendmailLookUp(b *testing.B) {
	s := newSite(b)
	for _, kind := range append(kinds(b, s), struct{ name, config string }{"none", "hash.cf"}) {
		b.Run(kind.name, func(b *testing.B) {
			name := "access"
			if kind.name == "none" {
				name = "dequote" // a map of the stock configuration
			}
			tester := site{b, s.dir}.test(kind.config)
			tester.lookup(name, "connect:203.0.113.5") // opens it
			var commands strings.Builder
			for i := range b.N {
				fmt.Fprintf(&commands, "/map %s connect:203.0.%d.%d\n", name, i%7*19, i%250)
			}
			b.ResetTimer()
			out := tester.transcript(commands.String())
			if n := strings.Count(out, "map_lookup: "+name); n != b.N {
				b.Fatalf("%d look-ups, expected %d", n, b.N)
			}
		})
	}
}

// BenchmarkSendmailSession is all that sendmail's rulesets ask in an SMTP session,
// some 70 look-ups, on either map.
func BenchmarkSendmailSession(b *testing.B) {
	s := newSite(b)
	for _, kind := range kinds(b, s) {
		b.Run(kind.name, func(b *testing.B) {
			one := session("mx.good.example", "203.0.113.9", "OK", "a@other.example", "x@relayed.example")
			tester := site{b, s.dir}.test(kind.config)
			b.ResetTimer()
			out := tester.transcript(strings.Repeat(one, b.N))
			if n := strings.Count(out, "check_rcpt       returns:"); n != b.N {
				b.Fatalf("%d sessions, expected %d\n%s", n, b.N, out[:min(len(out), 2000)])
			}
		})
	}
}
