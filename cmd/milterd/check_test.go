package main

import (
	"bytes"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/testkit"
	"milterd/milter/service"
)

// checked runs milterd -check on the configuration in a directory, whose name it
// replaces in what is printed. Arguments that begin with DIR are files there.
func checked(dir string, args ...string) (status int, stdout, stderr string) {
	line := []string{"-check", "-config", filepath.Join(dir, "milterd.yaml")}
	for _, arg := range args {
		line = append(line, strings.Replace(arg, "DIR", dir, 1))
	}
	var out, complaints bytes.Buffer
	status = run(line, &out, &complaints)
	return status, strings.ReplaceAll(out.String(), dir, "DIR"), strings.ReplaceAll(complaints.String(), dir, "DIR")
}

const oneSession = `{"id":"a","connect":{"addr":"203.0.113.8","resolve":"OK"},"messages":[{"mail":{"from":"a@bad.example"}}]}` + "\n"

func TestADraftOfTheAccessTableIsChecked(t *testing.T) {
	dir := newDir(t, baseConfig, rejectsBad)
	write(t, dir, "draft", "From:bad.example\tOK\n")
	write(t, dir, "empty", "")
	write(t, dir, "broken", "From:bad.example\n")
	write(t, dir, "day.jsonl", oneSession)
	for _, c := range []struct {
		name, want string
		status     int
		args       []string
	}{
		{"the table in force", "DIR/access, 1 entries", exitOK, nil},
		{"the draft", "DIR/draft, 1 entries", exitOK, []string{"-access", "DIR/draft"}},
		{"a table that is empty", "DIR/empty, 0 entries (a milterd that runs with some keeps them", exitOK, []string{"-access", "DIR/empty"}},
		{"a draft that is not there", "DIR/none: access table: ", exitUsage, []string{"-access", "DIR/none"}},
		{"a session with the table", "reject 550 5.7.1 Access denied", exitOK, []string{"DIR/day.jsonl"}},
		{"a session with the draft", "a mail <a@bad.example>: accept", exitOK, []string{"-access", "DIR/draft", "DIR/day.jsonl"}},
		{"what it changes", "1 session, 1 verdict: 1 change in 1 session", 1, []string{"-access", "DIR/draft", "-against", "DIR/milterd.yaml", "DIR/day.jsonl"}},
		{"a typed session", "a@bad.example>: accept", exitOK, []string{"-access", "DIR/draft", "-client", "203.0.113.8", "-from", "a@bad.example"}},
		{"one that is refused", "a@bad.example>: reject", 77, []string{"-client", "203.0.113.8", "-from", "a@bad.example"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := checked(dir, c.args...)
			if status != c.status || !strings.Contains(stdout+stderr, c.want) {
				t.Errorf("exit status %d, expected %d and %q in\n%s%s", status, c.status, c.want, stdout, stderr)
			}
		})
	}
}

// TestATableOfTwoConfigurationsIsWarnedOfOnce where both have the same.
func TestATableOfTwoConfigurationsIsWarnedOfOnce(t *testing.T) {
	dir := newDir(t, baseConfig, "Conect:203.0.113.9\tREJECT\n")
	write(t, dir, "day.jsonl", oneSession)
	_, _, stderr := checked(dir, "-against", "DIR/milterd.yaml", "DIR/day.jsonl")
	if n := strings.Count(stderr, "the tag conect: is not one sendmail knows"); n != 1 {
		t.Errorf("warned of %d times, expected once:\n%s", n, stderr)
	}
}

// TestAConfigurationIsCheckedAsTheDaemonsUser needs another user than root, for whom a
// file can be unreadable.
func TestAConfigurationIsCheckedAsTheDaemonsUser(t *testing.T) {
	testkit.NeedRoot(t)
	other, err := user.Lookup("nobody")
	if err != nil {
		testkit.Missing(t, err.Error())
	}
	t.Setenv(asMilterd, "1")
	dir := newDir(t, baseConfig, rejectsBad)
	for name, mode := range map[string]os.FileMode{".": 0o755, "milterd.yaml": 0o644, "access": 0o600} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	as := func(name string) (status int, text string) {
		status, stdout, stderr := checked(dir, "-user", name)
		return status, stdout + stderr
	}
	if status, text := as("root"); status != exitOK || !strings.Contains(text, "milterd.yaml, valid") {
		t.Errorf("as root: exit status %d\n%s", status, text)
	}
	if status, text := as("no-such-user"); status != exitUsage || !strings.Contains(text, "milterd: -user no-such-user: user: unknown user") {
		t.Errorf("as a user that there is not: exit status %d\n%s", status, text)
	}
	for _, want := range []string{"DIR/access: permission denied", "milterd: checked as the user nobody; -user root checks as root"} {
		if status, text := as(other.Username); status != exitUsage || !strings.Contains(text, want) {
			t.Errorf("a table that cannot be read: exit status %d, expected %q in\n%s", status, want, text)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "access"), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, text := as(other.Username); status != exitUsage || !strings.Contains(text, "listen.milter: the user that milterd runs as (nobody) must be able to write to DIR: permission denied") {
		t.Errorf("a directory that cannot be written to: exit status %d\n%s", status, text)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	status, text := as(other.Username)
	if status != exitOK || !strings.Contains(text, "milterd.yaml, valid") || !strings.Contains(text, "needs a restart a change under listen:") {
		t.Errorf("in order: exit status %d\n%s", status, text)
	}
	// The daemon of that user meets what the check has said.
	if err := os.Chmod(filepath.Join(dir, "access"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log testkit.Log
	status, err = service.RunAs(other.Username, []string{"-config", filepath.Join(dir, "milterd.yaml")}, &log, &log)
	if err != nil || status != exitUsage || !log.Has("access: permission denied") {
		t.Errorf("the daemon: exit status %d, %v, log:\n%s", status, err, &log)
	}
}

func TestAGroupThatThereIsNotIsFound(t *testing.T) {
	testkit.NeedRoot(t)
	dir := newDir(t, strings.Replace(baseConfig, "map.sock}", "map.sock, socket_group: no-such-group}", 1), rejectsBad)
	if status, _, stderr := checked(dir, "-user", "root"); status != exitUsage || !strings.Contains(stderr, "milterd.yaml:1: listen.socket_group: group: unknown group no-such-group") {
		t.Errorf("exit status %d, %q", status, stderr)
	}
}
