package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"milterd/integration/testkit"
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
	command(exitOK, `blocked "Shin" for 24h0m0s, or milterd ends (limits.file is not set)`, "-block", "Shin", "24h")
	command(exitOK, `blocked "who" until it is released, or milterd ends (limits.file is not set)`, "-block", "who")
	command(exitOK, "; no mail of this login is remembered on this host: is it written as in the log?", "-block", "who")
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

// TestALimitsListSaysWhatItLacks, as the store cannot be asked.
func TestALimitsListSaysWhatItLacks(t *testing.T) {
	p := serving(t, strings.Replace(grantsConfig, "file: grants.db, ", "", 1)+"redis: {address: 'local:DIR/no.sock'}\n", "")
	var stdout, stderr strings.Builder
	if got := run([]string{"-config", filepath.Join(p.dir, "milterd.yaml"), "-limits"}, &stdout, &stderr); got != exitOK ||
		!strings.HasPrefix(stdout.String(), "blocked logins known on this host alone: ") || !strings.Contains(stdout.String(), "\nSTATE") {
		t.Errorf("status %d, %q, %q", got, &stdout, &stderr)
	}
}

// TestABeginningIsToldToAProgram: in the running daemon the program of limits.notify runs
// once, knows the login as it is typed, and can stop it with milterd's own command.
func TestABeginningIsToldToAProgram(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(grantsConfig, "grants: {",
		"limits: {file: DIR/limits, notify: [DIR/notify, "+binary+", DIR], rules: {logins: {rate: 2/1h}}}\ngrants: {", 1)
	dir := newDir(t, config, "")
	write(t, dir, "notify", "#!/bin/sh\nenv >>$2/told\n"+asMilterd+`=1 "$1" -config "$2/milterd.yaml" -block "$LIMIT_KEY" 24h >>"$2/blocked" 2>&1`+"\n")
	if err := os.Chmod(filepath.Join(dir, "notify"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := launch(t, dir)
	p.waitSocket(t)
	session, err := connectAs(p.socket(), "203.0.113.9", "Shin+2Bbox")
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, session)
	rcpt := func() string {
		t.Helper()
		if _, err := mail(session, "a@good.example"); err != nil {
			t.Fatal(err)
		}
		action, err := session.Rcpt("x@example.test", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Abort(nil); err != nil {
			t.Fatal(err)
		}
		return action.SMTPReply
	}
	for i, want := range []string{"250 ", "250 ", "451 4.7.1 Too much mail (limit 2/1h)"} {
		if got := rcpt(); !strings.HasPrefix(got, want) {
			t.Fatalf("recipient %d: %q, expected %q", i, got, want)
		}
	}
	testkit.Eventually(t, "the login is blocked", func() bool { return strings.Contains(rcpt(), "Mail from this login is put off") })
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	testkit.Eventually(t, "the program is done", func() bool { return strings.Contains(read("blocked"), "\n") })
	if got := read("blocked"); got != "blocked \"shin+box\" for 24h0m0s\n" {
		t.Errorf("the program's command said %q", got)
	}
	if told := read("told"); strings.Count(told, "LIMIT_KEY=shin+box\n") != 1 || !strings.Contains(told, "LIMIT_NAME=logins\n") || strings.Contains(told, "MILTERD_") {
		t.Errorf("told %q", told)
	}
	p.waitLog(t, `msg="a limit is reached, mail is put off"`, "login=shin+box")
	// One that is gone keeps a reload from being in force, and says where.
	if err := os.Remove(filepath.Join(dir, "notify")); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGHUP)
	p.waitLog(t, "reload failed", "milterd.yaml:4: limits.notify: stat "+dir+"/notify: no such file")
}

// TestExceptionsAreInForceAsSoonAsTheyAreSaved, and a mistake in them changes nothing.
func TestExceptionsAreInForceAsSoonAsTheyAreSaved(t *testing.T) {
	config := strings.Replace(grantsConfig, "grants: {", "limits: {rules: {logins: {rate: 1/24h, exceptions: senders}}}\ngrants: {", 1)
	dir := newDir(t, config, "")
	write(t, dir, "senders", "")
	p := launch(t, dir)
	p.waitSocket(t)
	send := func(want string) {
		t.Helper()
		session, err := connectAs(p.socket(), "203.0.113.9", "Shin")
		if err != nil {
			t.Fatal(err)
		}
		defer closing(t, session)
		if _, err := mail(session, "a@good.example"); err != nil {
			t.Fatal(err)
		}
		action, err := session.Rcpt("x@example.test", "")
		if err != nil || !strings.HasPrefix(action.SMTPReply, want) {
			t.Errorf("%q, %v, expected %q", action.SMTPReply, err, want)
		}
	}
	send("250 ")
	send("451 4.7.1 Too much mail (limit 1/24h)")
	write(t, p.dir, "senders", "shin 2/24h\n")
	p.waitLog(t, "policy in force", "senders changed")
	// What is used up stays so.
	send("451 4.7.1 Too much mail (limit 2/24h)")
	write(t, p.dir, "senders", "shin 3/24\n")
	p.waitLog(t, "level=ERROR", "the old policy stays in force", "senders:1: ")
	send("451 4.7.1 Too much mail (limit 2/24h)")
	write(t, p.dir, "senders", "SHIN unlimited # for today\n")
	testkit.Eventually(t, "it is in force", func() bool {
		_, since, _ := strings.Cut(p.log.String(), "the old policy stays in force")
		return strings.Contains(since, "policy in force")
	})
	send("250 ")
}
