package dryrun

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"milterd/dnscheck"
	"milterd/policy"
	"milterd/policy/replay"
)

// typedConfig asks the DNS for everything; SERVER is the test's.
const typedConfig = `access: {file: access}
domains: {hostname: mx.example.test, local: [example.test], relay: []}
dns: {servers: [SERVER], try_timeout: 10s, attempts: 1}
checks:
  sender_domain: {mode: enforce}
  rdns: {source: own, forged: {action: reject}}
  dnsbl: {lists: {bl.example: {probe: false}, wild.example: {families: [ipv4]}}}
`

var typedZone = []string{
	"8.113.0.203.in-addr.arpa. PTR mail.good.example.", "mail.good.example. A 203.0.113.8",
	"9.113.0.203.in-addr.arpa. PTR forged.example.", "forged.example. A 203.0.113.1",
	"10.113.0.203.in-addr.arpa. SERVFAIL",
	"11.113.0.203.in-addr.arpa. PTR a.good.example.", "11.113.0.203.in-addr.arpa. PTR b.good.example.", "b.good.example. A 203.0.113.11",
	"12.113.0.203.in-addr.arpa. PTR listed.good.example.", "listed.good.example. A 203.0.113.12", "12.113.0.203.bl.example. A 127.0.0.2",
	"8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.good.example.", "six.good.example. AAAA 2001:db8::8",
	"good.example. MX 10 mail.good.example.",
	"14.113.0.203.in-addr.arpa. PTR wild.good.example.", "wild.good.example. A 203.0.113.14", "14.113.0.203.wild.example. A 127.0.0.2",
	"1.0.0.127.wild.example. A 127.0.0.2", "2.0.0.127.wild.example. A 127.0.0.2",
}

func TestATypedSessionIsDecided(t *testing.T) {
	server := startDNS(t, typedZone)
	config := strings.ReplaceAll(typedConfig, "SERVER", server.Addr())
	dir := newDir(t, config, rejectsBad)
	for _, c := range []struct {
		name   string
		status int
		args   []string
		want   []string
	}{
		{"a mail host", OK, []string{"-client", "203.0.113.8", "-from", "<a@good.example>", "-to", "x@example.test"}, []string{
			"203.0.113.8 note: looked up: iprev pass: mail.good.example confirmed; sendmail would say OK",
			"203.0.113.8 note: assumed: <x@example.test> goes to the mailer local",
			"203.0.113.8 note: assumed: a connection to port 25 without TLS, no daemon name, no relay grant",
			"203.0.113.8 mail <a@good.example>: accept",
			"203.0.113.8 rcpt <x@example.test>: accept: delivered on this host (local)",
			"203.0.113.8 eom: accept"}},
		{"IPv6 and the null sender", OK, []string{"-client", "IPv6:2001:db8::8", "-from", "", "-to", "x@example.test"}, []string{
			"sendmail would say OK", "2001:db8::8 rcpt <x@example.test>: accept"}},
		{"no PTR record", Tempfail, []string{"-client", "203.0.113.99", "-from", "", "-to", "x@example.test"}, []string{
			"sendmail would say FAIL", "tempfail 450 4.7.25 Access denied. IP name lookup failed 203.0.113.99"}},
		{"a list has the client", Reject, []string{"-client", "203.0.113.12", "-from", "", "-to", "x@example.test"}, []string{"550 5.7.1 Rejected: 203.0.113.12 listed at bl.example"}},
		{"a list that lists everything is bypassed, as by the daemon", OK, []string{"-client", "203.0.113.14", "-from", "", "-to", "x@example.test"}, []string{
			"203.0.113.14 note: the dns list wild.example is bypassed for IPv4: the test entry that is on no list is listed: the zone answers for everything",
			"203.0.113.14 rcpt <x@example.test>: accept"}},
		{"nobody relays without a password", Reject, []string{"-client", "203.0.113.8", "-from", "a@good.example", "-to", "x@other.example, y@example.test"}, []string{
			"<x@other.example> goes to the mailer esmtp, <y@example.test> goes to the mailer local", "rcpt <x@other.example>: reject 550 5.7.1 Relaying denied", "rcpt <y@example.test>: accept"}},
		{"with one they do", OK, []string{"-client", "203.0.113.8", "-port", "587", "-auth", "PLAIN:shin+BA@example.test", "-from", "shin@example.test", "-to", "x@other.example"}, []string{
			"port 587", "rcpt <x@other.example>: accept: authenticated as shin+BA@example.test with PLAIN"}},
		{"on the submission port they must", Reject, []string{"-client", "203.0.113.8", "-port", "587", "-from", ""}, []string{"mail <>: reject 530 5.7.0 Authentication required"}},
		{"an address that hides another host", Reject, []string{"-client", "203.0.113.8", "-from", "", "-to", "x%other.example@example.test"}, []string{
			"is judged by its domain alone", "rcpt <x%other.example@example.test>: reject 550 5.7.1 Relaying denied"}},
		{"explained", OK, []string{"-explain", "-client", "203.0.113.8", "-helo", "h.example", "-from", "a@good.example", "-to", "x@example.test"}, []string{
			"    rdns       pass", "iprev pass: mail.good.example confirmed", "sendmail says OK"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := runDry(t, dir, c.args...)
			if status != c.status || stderr != "" {
				t.Errorf("exit status %d, expected %d, stderr %q", status, c.status, stderr)
			}
			rest := stdout
			for _, want := range c.want {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("no %q in its place in\n%s", want, stdout)
				}
				rest = after
			}
		})
	}
}

func TestATypedSessionAsJSON(t *testing.T) {
	server := startDNS(t, typedZone)
	dir := newDir(t, strings.ReplaceAll(typedConfig, "SERVER", server.Addr()), rejectsBad)
	status, stdout, _ := runDry(t, dir, "-json", "-client", "203.0.113.8", "-from", "a@bad.example", "-to", "x@example.test")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var last struct{ Session, Stage, Action, Check string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if status != Reject || len(lines) != 2 || last.Session != "203.0.113.8" || last.Stage != "rcpt" || last.Action != "reject" || last.Check != "sender" {
		t.Errorf("exit status %d, %d verdicts, the last %+v", status, len(lines), last)
	}
}

func TestTypedFactsThatCannotBe(t *testing.T) {
	dir := newDir(t, baseConfig, rejectsBad)
	for want, args := range map[string][]string{
		"milterd: -client mail.good.example: expected an IP address\n":                    {"-client", "mail.good.example", "-from", ""},
		"milterd: -client fe80::1%eth0: expected an IP address\n":                         {"-client", "fe80::1%eth0", "-from", ""},
		"milterd: -auth PLAIN: expected MECHANISM:USER, such as PLAIN:shin@example.com\n": {"-client", "203.0.113.8", "-from", "", "-auth", "PLAIN"},
		"milterd: -to: expected addresses with commas between them, found an empty one\n": {"-client", "203.0.113.8", "-from", "", "-to", "a@example.test,"},
	} {
		if status, stdout, stderr := runDry(t, dir, args...); status != BadInput || stderr != want || stdout != "" {
			t.Errorf("%v: exit status %d, stderr %q, want %q", args, status, stderr, want)
		}
	}
}

func TestTheClientIsResolvedAsSendmailDoes(t *testing.T) {
	resolver, err := dnscheck.NewFrozen(append(typedZone, "13.113.0.203.in-addr.arpa. PTR slow.example.", "slow.example. TIMEOUT", "7.113.0.203.in-addr.arpa. NXDOMAIN"))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]replay.Connect{
		"203.0.113.7":  {Name: "[203.0.113.7]", Resolve: "FAIL"},
		"203.0.113.8":  {Name: "mail.good.example", PTR: "mail.good.example", Resolve: "OK"},
		"203.0.113.9":  {Name: "[203.0.113.9]", PTR: "forged.example", Resolve: "FORGED"},
		"203.0.113.10": {Name: "[203.0.113.10]", Resolve: "TEMP"},
		// Only the second name is confirmed, which sendmail does not look at.
		"203.0.113.11": {Name: "[203.0.113.11]", PTR: "a.good.example", Resolve: "FORGED"},
		// Whatever keeps the name from being confirmed is a forgery to sendmail.
		"203.0.113.13": {Name: "[203.0.113.13]", PTR: "slow.example", Resolve: "FORGED"},
		"2001:db8::8":  {Name: "six.good.example", PTR: "six.good.example", Resolve: "OK"},
		"2001:db8::9":  {Name: "[IPv6:2001:db8:0:0:0:0:0:9]", Resolve: "TEMP"},
	} {
		var got replay.Connect
		resolveAsSendmail(t.Context(), resolver, netip.MustParseAddr(addr), &got)
		if got != want {
			t.Errorf("%s: %+v, want %+v", addr, got, want)
		}
	}
}

func TestTheMailerIsAssumedWhereThatIsSafe(t *testing.T) {
	p := &policy.Policy{Local: policy.NewClass("example.test")}
	for address, want := range map[string]string{
		"x@example.test": "local", "x@EXAMPLE.test.": "local", "postmaster": "local", "x@other.example": "esmtp", "x+y@example.test": "local",
		"x%other.example@example.test": "", "other.example!x@example.test": "", "@example.test:x@other.example": "", `"x@other.example"@example.test`: "", "a@b@example.test": "",
	} {
		if got := assumedMailer(p, address); got != want {
			t.Errorf("<%s>: %q, want %q", address, got, want)
		}
	}
}
