package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/configs"
	"milterd/integration/probe"
	"milterd/integration/testkit"
	"milterd/milter/status"
)

// directory holds files.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheExitStatusOfTheDoctorIsTheWorstFinding(t *testing.T) {
	f := func(s configs.Severity) configs.Finding { return configs.Finding{Severity: s} }
	for want, findings := range map[int][]configs.Finding{
		0: {f(configs.Note)}, 1: {f(configs.Note), f(configs.Warning)}, 2: {f(configs.Severe), f(configs.Warning)},
	} {
		if got := gravity(findings); got != want {
			t.Errorf("%v: %d, expected %d", findings, got, want)
		}
	}
}

func TestTheDoctorTellsThatMilterdDoesNotAnswer(t *testing.T) {
	dir := directory(t, map[string]string{
		"sendmail.cf": "Sparse=0\nO InputMailFilters=milterd\nXmilterd, S=local:/nowhere/s, F=T\nC{TrustAuthMech}PLAIN\nO PrivacyOptions=goaway\nKaccess hash " + "access\n",
		"access":      "", "access.db": "",
		"milterd.yaml": "sendmail: {cf: sendmail.cf}\nlisten: {milter: 'local:/nowhere/s', map: []}\naccess: {file: access}\n",
	})
	var stdout, stderr bytes.Buffer
	code := run([]string{"-doctor", "-offline", "-json", "-config", filepath.Join(dir, "milterd.yaml")}, &stdout, &stderr)
	var findings []struct{ Severity, File, Text, Cure string }
	if err := json.Unmarshal(stdout.Bytes(), &findings); err != nil {
		t.Fatalf("%v in %q, %q", err, stdout.String(), stderr.String())
	}
	if code != int(configs.Severe) || len(findings) != 1 || findings[0].Severity != "error" || !strings.Contains(findings[0].Text, "filter door local:/nowhere/s: ") {
		t.Errorf("exit status %d: %+v", code, findings)
	}
}

// TestTheDoctorOfAnotherUserAsksForRoot: one that may not connect knows nothing of milterd.
func TestTheDoctorOfAnotherUserAsksForRoot(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EACCES:         "warning: local:/s: filter door local:/s: dial unix /s: connect: permission denied: this user may not ask there, so it is not known whether milterd answers",
		syscall.ECONNREFUSED:   "error: local:/s: milterd is not running: filter door local:/s: dial unix /s: connect: connection refused: mail is put off, or passes unfiltered",
		syscall.ENOENT:         "error: local:/s: milterd is not running: filter door local:/s: dial unix /s: connect: no such file or directory: mail is put off, or passes unfiltered",
		os.ErrDeadlineExceeded: "error: local:/s: filter door local:/s: dial unix /s: connect: i/o timeout: milterd is not running or hangs: systemctl status milterd: mail is put off, or passes unfiltered",
	} {
		failed := &net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: "/s"}, Err: os.NewSyscallError("connect", err)}
		found := unanswered(status.DoorState{Door: status.Door{Name: status.Filter, Address: "local:/s"}, Err: failed}, false)
		if got := found.Severity.String() + ": " + found.String(); got != want || strings.Contains(found.Cure, "root") != (found.Severity == configs.Warning) {
			t.Errorf("got  %s (%s)\nwant %s", got, found.Cure, want)
		}
		if found := unanswered(status.DoorState{Door: status.Door{Name: status.Map, Address: "local:/s"}, Err: failed}, true); strings.Contains(found.Text, "milterd is not running: ") {
			t.Errorf("though the other door answers: %s", found)
		}
	}
}

// TestSocketUnitsThatSystemdDoesNotHold are told of if they are enabled.
func TestSocketUnitsThatSystemdDoesNotHold(t *testing.T) {
	for states, want := range map[string][]string{
		"": nil, "milterd.socket active": nil, "milterd-map.socket failed": {"milterd-map.socket"}, "milterd.socket inactive": {"milterd.socket"},
	} {
		wants := t.TempDir()
		name, state, enabled := strings.Cut(states, " ")
		if enabled {
			write(t, wants, name, "")
		}
		bin := directory(t, map[string]string{"systemctl": "#!/bin/sh\n[ \"$1 $2\" = 'is-active " + name + "' ] && echo " + state + "\n[ active = " + state + " ]\n"})
		if err := os.Chmod(filepath.Join(bin, "systemctl"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin)
		var units []string
		for _, f := range unheld(wants) {
			units = append(units, f.File)
		}
		if !slices.Equal(units, want) {
			t.Errorf("%q: told of %q, expected %q", states, units, want)
		}
	}
}

// TestWhatMilterdsUserCannotReadHasACure if its mode is the reason.
func TestWhatMilterdsUserCannotReadHasACure(t *testing.T) {
	dir := directory(t, map[string]string{"access": "", "sendmail.cf": "", "names": "", "open.cf": ""})
	if err := os.Chmod(filepath.Join(dir, "open.cf"), 0o644); err != nil {
		t.Fatal(err)
	}
	for message, want := range map[string]string{
		"DIR/x:2: access table: open DIR/access: permission denied (the user …)":     "chown -h milterd DIR/access",
		"DIR/x:1: sendmail.cf: open DIR/sendmail.cf: permission denied (the user …)": "chmod 644 DIR/sendmail.cf",
		"DIR/x:1: sendmail.cf: open DIR/open.cf: permission denied (the user …)":     "", // it is the directory
		"DIR/x:3: class w: open DIR/names: permission denied (the user …)":           "",
		"DIR/x:3: class w: open DIR/none: permission denied (the user …)":            "",
		"DIR/x:1: listen.milter: expected an address":                                "",
	} {
		if got := readable(strings.ReplaceAll(message, "DIR", dir)); got != strings.ReplaceAll(want, "DIR", dir) {
			t.Errorf("%s: %q, expected %q", message, got, want)
		}
	}
}

func TestTheExitStatusOfTheProbe(t *testing.T) {
	for _, c := range []struct {
		name, target string
		code         int
		says         string
	}{
		{"a server that takes everything", testkit.SMTP(t, "250 ok"), exitRelays, "RELAYS"},
		{"a port where none is", "127.0.0.1:1", exitUnknown, "UNKNOWN"},
		{"an address that may be somebody else's", "203.0.113.25:25", exitUnknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			o := &options{probe: probeOptions{Options: probe.Options{Targets: []string{c.target}, Delay: time.Microsecond}}}
			if code, _ := runProbe(o, &stdout, &stderr); code != c.code || !strings.Contains(stdout.String(), c.says) {
				t.Errorf("exit status %d, expected %d\n%s%s", code, c.code, stdout.String(), stderr.String())
			}
		})
	}
}

func TestAMessageIsJudged(t *testing.T) {
	dir := directory(t, map[string]string{
		"telling": "Received: from laptop.lan (laptop.lan [192.168.0.7]) by mx.example.test (8.17.1/8.17.1); Sat, 28 Nov 2026 00:00:00 GMT\n\nx\n",
		"silent":  "Received: from SMTP by mx.example.test (SMTP server); Sat, 28 Nov 2026 00:00:00 GMT\n\nx\n",
	})
	for name, want := range map[string]int{"telling": exitRelays, "silent": exitOK, "none": exitUnknown} {
		var stdout, stderr bytes.Buffer
		if code := run([]string{"-probe", "-domain", "mx.example.test", "-judge", filepath.Join(dir, name)}, &stdout, &stderr); code != want {
			t.Errorf("%s: exit status %d, expected %d\n%s%s", name, code, want, stdout.String(), stderr.String())
		}
	}
	var stdout, stderr bytes.Buffer
	if run([]string{"-probe", "-json", "-judge", filepath.Join(dir, "silent")}, &stdout, &stderr); stdout.String() != "[]\n" {
		t.Errorf("-json: %s%s", stdout.String(), stderr.String())
	}
}
