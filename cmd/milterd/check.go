package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"milterd/configs"
	"milterd/dnscheck"
	"milterd/dnscheck/answers"
	"milterd/policy"
	"milterd/policy/replay"
)

// exitDifference is the status of -check when a verdict is not the expected one,
// or with -against another one.
const exitDifference = 1

// runCheck validates the configuration, or decides sessions. Results go to stdout,
// complaints to stderr.
func runCheck(o options, stdout, stderr io.Writer) int {
	rules, err := loadRules(place{flag: o.config, fallback: defaultConfig}, stderr)
	if err != nil {
		return complain(stderr, err)
	}
	c := newChecker(o, rules, os.Stdin, stdout, stderr)
	var status int
	switch {
	case o.typed.given:
		status = c.typedSession()
	case o.against != "":
		status = c.compare()
	case len(o.sessions) > 0:
		status = c.replay()
	default:
		describe(c.out, rules.config, rules.policy)
	}
	if err := c.out.Flush(); err != nil {
		return c.cannotWrite(err)
	}
	return status
}

// checker is one run of -check.
type checker struct {
	options
	rules  *rules
	stdin  io.Reader
	out    *bufio.Writer
	stderr io.Writer
	// unwritten: results could not be written, which has been said.
	unwritten bool
}

func newChecker(o options, r *rules, stdin io.Reader, stdout, stderr io.Writer) *checker {
	return &checker{options: o, rules: r, stdin: stdin, out: bufio.NewWriterSize(stdout, 64<<10), stderr: stderr}
}

// rules are a configuration and the policy made of it.
type rules struct {
	config *configs.Config
	policy *policy.Policy
	// lookups has no resolver, and is nil if no check asks the DNS.
	lookups *answers.Lookups
}

// frozen answers the questions of a recorded session from its own dns lines. The
// resolver, nil if no check asks, tells afterwards what they lack.
func (r *rules) frozen(s *replay.Session) (func(policy.Connection) policy.Answers, *dnscheck.Frozen, error) {
	given, resolver, err := r.lookups.Frozen(s.DNS)
	if err != nil {
		return nil, nil, fmt.Errorf("%s:%d: %s: %w", s.File, s.Line, policy.Printable(s.ID), err)
	}
	return given, resolver, nil
}

// loadRules reads a configuration; what it warns of goes to stderr.
func loadRules(from place, stderr io.Writer) (*rules, error) {
	config, warning, err := from.load()
	if err != nil {
		return nil, err
	}
	if warning != "" {
		fmt.Fprintf(stderr, "milterd: warning: %s\n", warning)
	}
	p, warnings, err := config.Policy()
	for _, w := range warnings {
		fmt.Fprintf(stderr, "milterd: warning: %s\n", w)
	}
	if err != nil {
		return nil, err
	}
	if config.AsksDNS() {
		client, err := dnscheck.NewClient(config.DNS.Client)
		if err != nil {
			return nil, fmt.Errorf("dns: %w", err)
		}
		_ = client.Close()
	}
	lookups, err := config.Lookups(nil, nil)
	if err != nil {
		return nil, err
	}
	return &rules{config, p, lookups}, nil
}

func complain(stderr io.Writer, err error) int {
	for _, line := range complaints(err) {
		fmt.Fprintf(stderr, "milterd: %s\n", policy.Printable(line))
	}
	return exitUsage
}

// cannotWrite ends a run whose results are not all there: exitFailure is the number
// of exitDifference, which is a result.
func (c *checker) cannotWrite(err error) int {
	if c.unwritten {
		return exitUsage
	}
	c.unwritten = true
	fmt.Fprintf(c.stderr, "milterd: write results: %v\n", err)
	return exitUsage
}
