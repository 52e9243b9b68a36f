package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
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
	write(t, dir, "broken", "From:bad.example\n")
	write(t, dir, "day.jsonl", oneSession)
	for _, c := range []struct {
		name, want string
		status     int
		args       []string
	}{
		{"the table in force", "DIR/access, 1 entries", exitOK, nil},
		{"the draft", "DIR/draft, 1 entries", exitOK, []string{"-access", "DIR/draft"}},
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
