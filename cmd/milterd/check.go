package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"milterd/configs"
	"milterd/policy"
	"milterd/policy/replay"
)

// exitDifference is the status of -check when a verdict is not the expected one.
const exitDifference = 1

// runCheck validates the configuration, or decides recorded sessions. Results go
// to stdout, complaints to stderr. A file that cannot be read does not keep the
// others from being run.
func runCheck(o options, stdout, stderr io.Writer) int {
	config, warning, err := place{flag: o.config, fallback: defaultConfig}.load()
	if err != nil {
		return complain(stderr, err)
	}
	if warning != "" {
		fmt.Fprintf(stderr, "milterd: warning: %s\n", warning)
	}
	p, warnings, err := config.Policy()
	for _, w := range warnings {
		fmt.Fprintf(stderr, "milterd: warning: %s\n", w)
	}
	if err != nil {
		return complain(stderr, err)
	}
	if err := checkDNS(config); err != nil {
		return complain(stderr, err)
	}
	out := bufio.NewWriter(stdout)
	status := exitOK
	if len(o.sessions) == 0 {
		describe(out, config, p)
	} else {
		frozen, err := newFrozen(config)
		if err != nil {
			return complain(stderr, err)
		}
		status = replaySessions(o, p, frozen, out, stderr)
	}
	if err := out.Flush(); err != nil {
		fmt.Fprintf(stderr, "milterd: write results: %v\n", err)
		return exitFailure
	}
	return status
}

func complain(stderr io.Writer, err error) int {
	for _, line := range complaints(err) {
		fmt.Fprintf(stderr, "milterd: %s\n", policy.Printable(line))
	}
	return exitUsage
}

// tally counts what a dry run did.
type tally struct {
	sessions, verdicts, expected, differences int
}

// replaySessions decides the sessions of all files in turn.
func replaySessions(o options, p *policy.Policy, frozen *frozen, out *bufio.Writer, stderr io.Writer) int {
	var t tally
	var writeErr error
	unreadable := false
	for _, name := range o.sessions {
		err := replay.ReadFile(name, func(s *replay.Session) {
			answers, err := frozen.answers(s)
			if err != nil {
				unreadable = true
				complain(stderr, err)
				return
			}
			outcome := replay.Run(p, s, answers)
			t.add(s, outcome)
			if o.json {
				writeErr = replay.WriteJSON(out, s, outcome)
			} else {
				writeErr = replay.WriteText(out, s, outcome, o.explain)
			}
			if o.json && outcome.Differences() > 0 {
				reportDifferences(stderr, s, outcome)
			}
		})
		if err != nil {
			unreadable = true
			complain(stderr, err)
		}
		if writeErr != nil {
			fmt.Fprintf(stderr, "milterd: write results: %v\n", writeErr)
			return exitFailure
		}
	}
	if !o.json && t.sessions > 0 {
		fmt.Fprintln(out, t)
	}
	switch {
	case unreadable:
		return exitUsage
	case t.differences > 0:
		return exitDifference
	}
	return exitOK
}

func (t *tally) add(s *replay.Session, outcome replay.Outcome) {
	t.sessions++
	t.verdicts += len(outcome.Results)
	t.expected += len(s.Expect)
	t.differences += outcome.Differences()
}

// String is the last line of a dry run.
func (t tally) String() string {
	text := count(t.sessions, "session") + ", " + count(t.verdicts, "verdict")
	switch {
	case t.expected == 0:
		return text
	case t.differences == 0:
		return text + ", all as expected (" + count(t.expected, "expectation") + ")"
	}
	return fmt.Sprintf("%s, %d of %s not met", text, t.differences, count(t.expected, "expectation"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// reportDifferences says on stderr what -json objects have no field for.
func reportDifferences(stderr io.Writer, s *replay.Session, outcome replay.Outcome) {
	for _, r := range outcome.Results {
		for _, d := range r.Differences {
			fmt.Fprintf(stderr, "milterd: %s\n", policy.Printable(fmt.Sprintf("%s:%d: %s: %s, expected %s", s.File, s.Line, s.ID, r.Verdict, d)))
		}
	}
	for _, x := range outcome.Missing {
		fmt.Fprintf(stderr, "milterd: %s\n", policy.Printable(fmt.Sprintf("%s:%d: %s: no verdict, expected %s", s.File, s.Line, s.ID, x)))
	}
}

// describe says what a valid configuration puts in force.
func describe(out io.Writer, config *configs.Config, p *policy.Policy) {
	name := config.Name()
	if name == "" {
		name = "built in"
	}
	fmt.Fprintf(out, "configuration  %s, valid\n", name)
	fmt.Fprintf(out, "listen         %s\n", strings.Join(config.Listen.Milter, " "))
	fmt.Fprintf(out, "access table   %s, %d entries\n", orNone(p.Access.Name()), p.Access.Len())
	fmt.Fprintf(out, "features       %s\n", orNone(strings.Join(configs.FeatureNames(p.Features), " ")))
	fmt.Fprintf(out, "host name      %s\n", orNone(p.Hostname))
	fmt.Fprintf(out, "local          %s\n", sample(p.Local.Entries()))
	fmt.Fprintf(out, "relay          %s\n", sample(p.Relay.Entries()))
	fmt.Fprintf(out, "mode           %s\n", config.Mode)
	c := p.Checks
	for _, check := range []struct {
		name string
		mode policy.Mode
	}{
		{"port", c.Port.Mode}, {"recipient", c.Recipient.Mode}, {"relay", c.Relay.Mode},
		{"sender", c.Sender.Mode}, {"sender_domain", c.SenderDomain.Mode}, {"client", c.Client.Mode}, {"rdns", c.RDNS.Mode}, {"dnsbl", c.DNSBL.Mode},
	} {
		note := ""
		if check.name == "recipient" && !p.Features.BlocklistRecipients {
			note = " (without the feature blocklist_recipients it looks nothing up)"
		}
		if check.name == "dnsbl" && len(config.DNS.Lists) == 0 {
			note = " (there are no lists)"
		}
		fmt.Fprintf(out, "  check %-13s %s%s\n", check.name, modeInForce(config.Mode, check.mode), note)
	}
	describePorts(out, p)
}

// modeInForce is what the mode of a check comes to.
func modeInForce(all, check policy.Mode) string {
	if all == policy.ModeShadow && check == policy.ModeEnforce {
		return "shadow (mode: shadow)"
	}
	return string(check)
}

// describePorts says what each listener's rules come to.
func describePorts(out io.Writer, p *policy.Policy) {
	or := func(word, otherwise string) string {
		if word == "" {
			return otherwise
		}
		return word
	}
	for _, name := range slices.Sorted(maps.Keys(p.Ports)) {
		port := p.Ports[name]
		auth, tls, relay := "as its number says", "as its number says", "as its number says"
		if strings.Trim(name, "0123456789") == "" {
			auth, tls, relay = string(policy.AuthAllow), string(policy.TLSAllow), string(policy.RelayEntitled)
		}
		fmt.Fprintf(out, "  port %-14s auth: %s, tls: %s, relay: %s", name, or(string(port.Auth), auth), or(string(port.TLS), tls), or(string(port.Relay), relay))
		for _, check := range slices.Sorted(maps.Keys(port.Checks)) {
			fmt.Fprintf(out, ", %s: %s", check, port.Checks[check])
		}
		fmt.Fprintln(out)
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// sample lists the first entries of a class and counts the rest.
func sample(entries []string) string {
	const most = 8
	if len(entries) <= most {
		return orNone(strings.Join(entries, " "))
	}
	return fmt.Sprintf("%s … and %d more", strings.Join(entries[:most], " "), len(entries)-most)
}
