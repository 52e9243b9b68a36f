package dnscheck_test

import (
	"context"
	"fmt"
	"net/netip"

	"milterd/dnscheck"
)

// A session asks through a Recorder, and is judged again from its lines. The
// resolver below would be lists.WithKeys(client) in a server.
func Example() {
	resolver, err := dnscheck.NewFrozen([]string{
		"8.113.0.203.in-addr.arpa. PTR mx.good.example.",
		"mx.good.example. A 203.0.113.8",
		"8.113.0.203.bl.example. A 127.0.0.2",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	lists, err := dnscheck.NewLists([]dnscheck.List{{Zone: "bl.example", Weight: 1}}, dnscheck.ListOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := netip.MustParseAddr("203.0.113.8")
	session := dnscheck.NewRecorder(resolver)

	rev := dnscheck.CheckIPRev(context.Background(), session, client)
	fmt.Println(rev, rev.Confirmed())

	report := lists.Check(context.Background(), session, client)
	if worst, ok := report.Decisive(); ok && report.Verdict == dnscheck.Listed {
		fmt.Println("Rejected:", client, "listed at", worst.List)
	}
	for _, line := range session.Lines() {
		fmt.Println(line)
	}
	// Output:
	// iprev pass: mx.good.example confirmed [mx.good.example]
	// Rejected: 203.0.113.8 listed at bl.example
	// 8.113.0.203.bl.example. 300 IN A 127.0.0.2
	// 8.113.0.203.in-addr.arpa. 300 IN PTR mx.good.example.
	// mx.good.example. 300 IN A 203.0.113.8
}
