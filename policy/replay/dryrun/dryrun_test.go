package dryrun

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check does so in a directory with further files, and puts DIR in place of its name.
func check(t *testing.T, config string, files map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	dir := newDir(t, config, rejectsBad)
	for name, text := range files {
		write(t, dir, name, text)
	}
	line := []string{"-config", filepath.Join(dir, "milterd.yaml")}
	for _, arg := range args {
		if strings.HasSuffix(arg, ".yaml") {
			arg = filepath.Join(dir, arg)
		}
		line = append(line, arg)
	}
	var out, complaints bytes.Buffer
	status = dry(line, &out, &complaints)
	return status, strings.ReplaceAll(out.String(), dir, "DIR"), strings.ReplaceAll(complaints.String(), dir, "DIR")
}

func TestCheckTellsWhichChecksAreActedOn(t *testing.T) {
	enforce := strings.Replace(baseConfig, "checks: {", "checks: {client: {mode: shadow}, ", 1)
	cases := []struct {
		name, config string
		want         map[string]string
	}{
		{"in force", enforce, map[string]string{"sender": "enforce", "client": "shadow", "rdns": "off"}},
		{"all in shadow mode", enforce + "mode: shadow\n", map[string]string{
			"sender": "shadow (mode: shadow)", "client": "shadow", "rdns": "off"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := check(t, c.config, nil)
			if status != OK || stderr != "" {
				t.Errorf("exit status %d, stderr %q", status, stderr)
			}
			got := make(map[string]string)
			for line := range strings.Lines(stdout) {
				if words := strings.Fields(line); len(words) > 2 && words[0] == "check" {
					got[words[1]] = strings.Join(words[2:], " ")
				}
			}
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("check %s: %q, expected %q", name, got[name], want)
				}
			}
		})
	}
}

func TestCheckSumsUp(t *testing.T) {
	const session = "connect: {addr: 203.0.113.8, resolve: OK}\nmessages:\n  - mail: {from: a@bad.example}\n"
	const met = "expect: [{stage: mail, arg: a@bad.example, action: reject}]\n"
	const unmet = "expect: [{stage: mail, arg: a@bad.example, action: accept}, {stage: eom, action: accept}]\n"
	cases := []struct {
		name   string
		files  map[string]string
		status int
		want   string
	}{
		{"without expectations", map[string]string{"a.yaml": session}, OK, "1 session, 1 verdict\n"},
		{"all met", map[string]string{"a.yaml": session + met + "---\n" + session}, OK,
			"2 sessions, 2 verdicts, all as expected (1 expectation)\n"},
		{"some not met", map[string]string{"a.yaml": session + unmet}, Difference,
			"1 session, 1 verdict, 2 of 2 expectations not met\n"},
		{"an unreadable file beside others", map[string]string{"a.yaml": session, "b.yaml": "x: 1\n"}, BadInput, "1 session, 1 verdict\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"a.yaml"}
			if c.files["b.yaml"] != "" {
				args = append(args, "b.yaml")
			}
			status, stdout, _ := check(t, baseConfig, c.files, args...)
			if status != c.status || !strings.HasSuffix(stdout, "\n"+c.want) {
				t.Errorf("exit status %d, stdout:\n%s", status, stdout)
			}
		})
	}
}

func TestCheckSumsUpNothingWhereNoSessionCouldBeRead(t *testing.T) {
	status, stdout, stderr := check(t, baseConfig, map[string]string{"a.yaml": "x: 1\n"}, "a.yaml", "none.yaml")
	if status != BadInput || stdout != "" {
		t.Errorf("exit status %d, stdout %q", status, stdout)
	}
	for _, want := range []string{"milterd: DIR/a.yaml:1: unknown key", "milterd: read sessions: open DIR/none.yaml: no such file"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr %q, expected %q", stderr, want)
		}
	}
}

func TestCheckTellsWhatElseIsInForce(t *testing.T) {
	for _, c := range []struct {
		name, config string
		want         []string
	}{
		{"by default", "", []string{"scrubbing      none", "relay grants   none", "recording      none"}},
		{"everything", `received: {whose: [authenticated, 203.0.113.0/24]}
ports: {587: {received: scrub}}
grants: {ttl: 10m, file: DIR/grants.db, control: local:DIR/control.sock, logs: [{file: DIR/mail.log, format: dovecot}]}
record: {dir: DIR/sessions, sample: 0.5}
`, []string{
			"scrubbing      enforce, mail of: authenticated 203.0.113.0/24",
			"relay grants   for 10m0s from DIR/mail.log (dovecot) control at local:DIR/control.sock, in DIR/grants.db",
			"recording      in DIR/sessions, 50 % of the connections, redacted",
			"  port 587            auth: require, tls: allow, relay: entitled, received: scrub"}},
		{"by the port alone", "ports: {587: {received: scrub}}\nmode: shadow\n", []string{"scrubbing      shadow (mode: shadow), mail of: as the ports say"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := check(t, baseConfig+c.config, nil)
			if status != OK {
				t.Errorf("exit status %d, stderr %q", status, stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(stdout, "\n"+want+"\n") {
					t.Errorf("no line %q in\n%s", want, stdout)
				}
			}
		})
	}
}

// TestResultsThatCannotBeWrittenAreNotADifference: whoever runs -check would take a
// full disk for verdicts that are not as expected.
func TestResultsThatCannotBeWrittenAreNotADifference(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	dir := newDir(t, baseConfig, rejectsBad)
	write(t, dir, "few.jsonl", numberedSessions(3))
	write(t, dir, "many.jsonl", numberedSessions(10*mostPrinted))
	t.Chdir(dir)
	for _, args := range [][]string{
		nil, {"few.jsonl"}, {"-json", "many.jsonl"}, {"-format", "tap", "few.jsonl"}, {"-format", "junit", "many.jsonl"},
		{"-against", "milterd.yaml", "few.jsonl"},
	} {
		var stderr bytes.Buffer
		status := dry(args, full, &stderr)
		want := "milterd: write results: write /dev/full: no space left on device\n"
		if got := stderr.String(); status != BadInput || !strings.HasPrefix(got, want) || strings.Count(got, "write results") != 1 {
			t.Errorf("%q: exit status %d, stderr %q", args, status, stderr.String())
		}
	}
}

func TestCheckFailsOnEntriesThatAreLeftOut(t *testing.T) {
	table := "Connect:198.51.100.7/24\tREJECT\n" + rejectsBad + "From:x.example\n"
	status, _, stderr := check(t, baseConfig, map[string]string{"access": table})
	if status != BadInput || !strings.Contains(stderr, "DIR/access:1: ") || !strings.HasSuffix(stderr, "milterd: DIR/access: entries that are left out (see above): 2\n") {
		t.Errorf("exit status %d, stderr %q", status, stderr)
	}
}
