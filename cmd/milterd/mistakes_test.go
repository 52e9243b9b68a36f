package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMistakesOfAnAdministrator: each has a message that says what is wrong, and the exit
// status of a command that could do nothing.
func TestMistakesOfAnAdministrator(t *testing.T) {
	dir := directory(t, map[string]string{
		"garbage.cf": "\x00\x01\x02", "empty.cf": "", "sendmail.mc": "OSTYPE(`linux')dnl\n", "submit.cf": "Sparse=0\nO UseMSP=True\n",
		"big.cf": strings.Repeat("# filler\n", 1<<20), "message": "Subject: x\n\nx\n", "binary": "\xff\x1b[31m\n\n", "empty": "",
		"milterd.yaml": "sendmail: {cf: none.cf}\nlisten: {milter: 'local:/nowhere/s', map: []}\naccess: {file: access}\n", "access": "",
	})
	for _, err := range []error{os.Symlink("loop", filepath.Join(dir, "loop")), syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	files := map[string]string{
		"none.cf": "none.cf: no such file or directory", ".": "is a directory, expected a file", "garbage.cf": "holds a NUL octet, expected a sendmail.cf",
		"empty.cf": "has no rulesets, expected a sendmail.cf", "sendmail.mc": "has no rulesets, expected a sendmail.cf", "loop": "too many levels of symbolic links",
		"fifo": "is not a regular file", "/dev/zero": "is not a regular file", "big.cf": "octets, expected 8388608 at most", "submit.cf": "submission program",
	}
	commands := map[string]string{
		"-mc -system solaris": "expected one of debian, freebsd, rhel", "-import x": "unexpected argument", "-doctor x": "unexpected argument",
		"-probe :25": `":25", expected HOST or HOST:PORT`, "-probe http://mx.example.test/": "expected HOST or HOST:PORT",
		"-probe 203.0.113.25": "-i-own-this-server", "-probe -to nobody 127.0.0.1:1": "expected an address such as", "-probe -from nobody 127.0.0.1:1": "-from nobody: expected an address",
		"-probe -send <a@b> 127.0.0.1:1": "without blanks and brackets", "-probe 127.0.0.1:1": "connection refused", "-probe 127.0.0.1:99999": "invalid port",
		"-probe -user shin -password-file none 127.0.0.1:1": "none: no such file", "-probe -user shin -password-file empty 127.0.0.1:1": "empty: no password in its first line",
		"-probe -judge none": "no such file", "-probe -judge .": "is a directory", "-probe -judge empty": "has no header, expected a message",
		"-probe -judge message": "has no Received field", "-probe -judge binary": "malformed header",
	}
	for file, says := range files {
		commands["-import -cf "+file], commands["-mc -cf "+file] = says, says
		commands["-config milterd.yaml -doctor -offline -cf "+file] = says
	}
	for command, says := range commands {
		var stdout, stderr bytes.Buffer
		code := run(strings.Fields(command), &stdout, &stderr)
		said := stdout.String() + stderr.String()
		if code != 2 || !strings.Contains(said, says) || strings.Contains(said, "\x1b") {
			t.Errorf("%s: exit status %d\n%s\nexpected %q", command, code, said, says)
		}
	}
}
