package dryrun

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// trafficLog is a log of sendmail -X with n connections, each of a process of its own,
// whose only message was taken.
func trafficLog(n int, from string) string {
	var b strings.Builder
	for pid := 1; pid <= n; pid++ {
		for _, line := range []string{
			">>> 220 mx.example.test ESMTP Sendmail ready", "<<< HELO laptop.lan\r",
			">>> 250 mx.example.test Hello mx.good.example [203.0.113.8], pleased to meet you",
			"<<< MAIL FROM:<" + from + ">\r", ">>> 250 2.1.0 <" + from + ">... Sender ok",
			"<<< RCPT TO:<x@example.test>\r", ">>> 250 2.1.5 <x@example.test>... Recipient ok",
			"<<< QUIT\r", ">>> 221 2.0.0 mx.example.test closing connection",
		} {
			fmt.Fprintf(&b, "%05d %s\n", pid, line)
		}
	}
	return b.String()
}

// missingNote is what all sessions of a traffic log are noted with.
const missingNote = "note: from a traffic log, which has no listener, delivery agents, relay grants or DNS answers: no rules of a port apply, recipients are local by their domain alone, nobody holds a grant, and look-ups time out\n"

func TestATrafficLogIsADryRun(t *testing.T) {
	const accepted = `line-1-pid-1 ` + missingNote + `line-1-pid-1 mail <a@good.example>: accept
line-1-pid-1 rcpt <x@example.test>: accept: example.test is local (class w)
line-1-pid-1 eom: accept
1 session, 3 verdicts, all as expected (2 expectations)
`
	const refused = `line-1-pid-1 ` + missingNote + `line-1-pid-1 mail <a@bad.example>: reject 550 5.7.1 Access denied (sender, access:1: from:bad.example REJECT): the access table has an entry for this sender
    DIFFERENT: traffic.log:1 expects mail <a@bad.example>: 250
line-1-pid-1 rcpt <x@example.test>: no verdict
    DIFFERENT: traffic.log:1 expects rcpt <x@example.test>: 250
1 session, 1 verdict, 2 of 2 expectations not met
`
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(trafficLog(1, "a@good.example"))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file, log string
		args            []string
		status          int
		stdout, stderr  string
	}{
		{"whatever it is called", "yesterday", trafficLog(1, "a@good.example"), nil, OK, accepted, ""},
		{"even by the name of other sessions", "traffic.yaml", trafficLog(1, "a@good.example"), nil, OK, accepted, ""},
		{"compressed", "traffic.gz", packed.String(), nil, OK, accepted, ""},
		{"that differs where milterd says something else", "traffic.log", trafficLog(1, "a@bad.example"), nil, Difference, refused, ""},
		{"that says once what it lacks where nothing else is printed", "traffic.log", trafficLog(500, "a@good.example"), nil, OK,
			"more than 200 sessions: only what differs is printed (-explain prints all, -session ID one)\n      1500  accept\n500 sessions, 1500 verdicts, all as expected (1000 expectations)\n", "milterd: " + missingNote},
		{"that compares two configurations", "traffic.log", trafficLog(20, "a@bad.example"), []string{"-against", "milterd.yaml"}, OK,
			"20 sessions, 20 verdicts: nothing changes\n", "milterd: " + missingNote},
		{"of which one session is picked", "traffic.log", trafficLog(500, "a@good.example"), []string{"-session", "line-4492-pid-500"}, OK,
			strings.ReplaceAll(accepted, "line-1-pid-1", "line-4492-pid-500"), ""},
		{"that begins too late", "traffic.log", "00001 <<< MAIL FROM:<a@good.example>\n00001 >>> 250 2.1.0 ok\n" + strings.ReplaceAll(trafficLog(1, "a@good.example"), "00001", "00002"), nil, BadInput,
			strings.NewReplacer("line-1-pid-1", "line-3-pid-2").Replace(accepted),
			"milterd: traffic.log:1: connections that cannot be decided: 1; the first begins here, and nothing in the log says who its client is (no answer to EHLO or HELO)\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := newDir(t, baseConfig, rejectsBad)
			write(t, dir, c.file, c.log)
			status, stdout, stderr := runDry(t, dir, append(c.args, c.file)...)
			if status != c.status {
				t.Errorf("exit status %d, want %d", status, c.status)
			}
			if diff := cmp.Diff(c.stdout, stdout); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.stderr, stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}
