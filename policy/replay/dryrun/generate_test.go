package dryrun

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// beforeConfig and afterConfig are a policy and what an administrator would make of
// it: FORGED is refused, one list is added, one network may not relay any more.
const (
	beforeConfig = `access: {file: access}
domains: {hostname: mx.example.test, local: [example.test], relay: [198.51.100, 192.0.2]}
checks:
  dnsbl: {lists: {bl.example: {}}}
`
	afterConfig = `access: {file: access}
domains: {hostname: mx.example.test, local: [example.test], relay: [192.0.2]}
checks:
  rdns: {forged: {action: reject}}
  dnsbl: {lists: {bl.example: {}, bl2.example: {}}}
`
)

// generator writes sessions of a day's traffic, and works out by itself what the
// step from beforeConfig to afterConfig changes in them.
type generator struct {
	random *rand.Rand
	// sessions is how many have been written.
	sessions int
	// changed is how many sessions have changes, changes counts these by old and
	// new action and what decides.
	changed int
	changes map[string]int
}

func newGenerator() *generator {
	return &generator{random: rand.New(rand.NewPCG(1, 2)), changes: make(map[string]int)}
}

// drawn is one session in the making.
type drawn struct {
	// network is relayed for by both policies (1), by the first (2), or not (0).
	network       int
	forged        bool
	listed, newly bool
	// login: on the submission port, with a password.
	login bool
	// remote is the number of recipients elsewhere, local of those here.
	remote, local int
	postmaster    bool
}

// draw makes up a session; most are of the ordinary kind.
func (g *generator) draw() drawn {
	one := func(in int) bool { return g.random.IntN(in) == 0 }
	t := drawn{forged: one(8), listed: one(20), newly: one(15), login: one(10), local: 1 + g.random.IntN(2), postmaster: one(12)}
	switch {
	case one(10):
		t.network = 1
	case one(9):
		t.network = 2
	}
	if one(4) {
		t.remote = 1 + g.random.IntN(2)
	}
	return t
}

// write writes the next session as one line, and counts its changes.
func (g *generator) write(w io.Writer) error {
	t := g.draw()
	n := g.sessions
	g.sessions++
	g.predict(t)
	last, third := n%250, n/250%250
	addr, reverse := fmt.Sprintf("203.%d.%d.%d", n/62500%200, third, last), fmt.Sprintf("%d.%d.%d.203", last, third, n/62500%200)
	switch t.network {
	case 1:
		addr, reverse = fmt.Sprintf("192.0.2.%d", last), fmt.Sprintf("%d.2.0.192", last)
	case 2:
		addr, reverse = fmt.Sprintf("198.51.100.%d", last), fmt.Sprintf("%d.100.51.198", last)
	}
	name := fmt.Sprintf("c%d.good.example", n)
	resolve, shown := "OK", name
	if t.forged {
		resolve, shown = "FORGED", "["+addr+"]"
	}
	port, auth := 25, ""
	if t.login {
		port, auth = 587, `"auth":{"type":"PLAIN","authen":"shin@example.test"},`
	}
	answer := func(listed bool) string {
		if listed {
			return "127.0.0.2"
		}
		return "NXDOMAIN"
	}
	var rcpt []string
	for i := range t.remote {
		rcpt = append(rcpt, fmt.Sprintf(`{"to":"r%d@other.example","mailer":"esmtp","host":"other.example."}`, i))
	}
	for i := range t.local {
		rcpt = append(rcpt, fmt.Sprintf(`{"to":"l%d@example.test","mailer":"local"}`, i))
	}
	if t.postmaster {
		rcpt = append(rcpt, `{"to":"postmaster@example.test","mailer":"local"}`)
	}
	_, err := fmt.Fprintf(w, `{"id":"s-%d","connect":{"addr":"%s","port":40112,"name":"%s","ptr":"%s","resolve":"%s","daemon":"MTA","daemon_port":%d,"daemon_addr":"203.0.113.25"},"helo":"%s",%s`+
		`"tls":{"version":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384","bits":256,"verify":"NO"},"messages":[{"mail":{"from":"a%d@good.example","args":["SIZE=1000"],"mailer":"esmtp","host":"good.example.","addr":"a@good.example"},"rcpt":[%s]}],`+
		`"dns":["%s.bl.example. A %s","%s.bl2.example. A %s"]}`+"\n",
		n, addr, shown, name, resolve, port, name, auth, n, strings.Join(rcpt, ","),
		reverse, answer(t.listed), reverse, answer(t.newly))
	return err
}

// predict counts what changes in a session, by the rules in the README and not by
// milterd's code.
func (g *generator) predict(t drawn) {
	changed := false
	defer func() {
		if changed {
			g.changed++
		}
	}()
	change := func(what string, n int) {
		if n > 0 {
			g.changes[what] += n
			changed = true
		}
	}
	if t.login || t.network == 1 {
		return // may relay and is not asked about with both
	}
	const (
		forgedRelay = "checks.relay.forged"
		deny        = "checks.relay.deny_auth"
		forged      = "checks.rdns.forged"
		old, new    = "checks.dnsbl: bl.example", "checks.dnsbl: bl2.example"
	)
	acceptedBefore, acceptedAfter := 0, 0
	if t.network == 2 {
		// It relayed, and was asked about by nobody.
		acceptedBefore = t.remote + t.local
		why := deny
		if t.forged {
			why = forgedRelay
		}
		change("accept -> reject relay "+why, t.remote)
	}
	wasRefused := t.listed && t.network == 0
	if t.network == 0 && !wasRefused {
		acceptedBefore = t.local
	}
	switch {
	case t.forged && wasRefused:
		change("reject -> tempfail rdns "+forged, t.local)
	case t.forged:
		change("accept -> tempfail rdns "+forged, t.local)
	case wasRefused:
	case t.listed:
		change("accept -> reject dnsbl "+old, t.local)
	case t.newly:
		change("accept -> reject dnsbl "+new, t.local)
	default:
		acceptedAfter = t.local
	}
	if t.postmaster {
		acceptedBefore, acceptedAfter = acceptedBefore+1, acceptedAfter+1
	}
	if acceptedBefore > 0 && acceptedAfter == 0 {
		change("accept -> not reached", 1)
	}
}
