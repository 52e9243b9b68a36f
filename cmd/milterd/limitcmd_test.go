package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLimitsByHand runs the commands against a running daemon.
func TestLimitsByHand(t *testing.T) {
	p := serving(t, strings.Replace(grantsConfig, "grants: {", "limits: {rules: {clients: {by: client, rate: 1/1h, count: messages}}}\ngrants: {", 1), "")
	command := func(status int, want string, args ...string) {
		t.Helper()
		var stdout, stderr strings.Builder
		got := run(append([]string{"-config", filepath.Join(p.dir, "milterd.yaml")}, args...), &stdout, &stderr)
		if got != status || !strings.Contains(stdout.String()+stderr.String(), want) {
			t.Errorf("%v: status %d, %q %q, expected %d and %q", args, got, &stdout, &stderr, status, want)
		}
	}
	command(exitOK, "STATE", "-limits")
	command(exitOK, `blocked "Shin" for 24h0m0s`, "-block", "Shin", "24h")
	command(exitOK, `blocked "who" until it is released`, "-block", "who")
	command(exitOK, "blocked  login shin  for 2", "-limits")
	command(exitOK, "blocked  login who   until released", "-limits")
	command(exitOK, `released "shin"`, "-release", "shin")
	command(exitOK, `"shin" was not stopped; its counts begin anew`, "-release", "shin")
	command(exitFailure, `"soon" is not a time such as 24h`, "-block", "shin", "soon")
	command(exitUsage, "expected one time at most", "-block", "shin", "1h", "2h")
	command(exitUsage, "a LOGIN", "-release", "")
	command(exitFailure, "a login of 2000 octets", "-block", strings.Repeat("x", 2000))
	command(exitOK, "blocked  login who  until released", "-limits")
	if !p.log.Has(`msg="limits by hand"`) {
		t.Errorf("log: %s", p.log)
	}
}
