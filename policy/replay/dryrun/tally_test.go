package dryrun

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuestionsThatARecordingDoesNotHoldAreWarnedOf(t *testing.T) {
	const (
		now = "access: {file: access}\ndomains: {hostname: mx.example.test, local: [example.test], relay: []}\n"
		// next asks a list, which the one in force does not.
		next    = now + "checks: {dnsbl: {lists: {bl.example: {probe: false}}}}\n"
		session = `,"connect":{"addr":"203.0.113.8","resolve":"OK"},"messages":[{"mail":{"from":"a@good.example"},"rcpt":[{"to":"x@example.test"}]}]`
		lacks   = "ask the DNS what their recording does not hold, first 8.113.0.203.bl.example. A in day.jsonl:2; such a question counts as one without an answer, so what these sessions come to is not certain\n"
	)
	line := func(id, dns string) string { return `{"id":"` + id + `"` + session + `,"dns":[` + dns + `]}` + "\n" }
	held := line("listed", `"8.113.0.203.bl.example. A 127.0.0.2"`)
	for _, c := range []struct {
		name, day string
		args      []string
		status    int
		stderr    string
	}{
		{"a further list", held + line("a", "") + line("b", ""), []string{"-against", "next.yaml"}, Difference, "milterd: warning: 2 of 3 sessions " + lacks},
		{"and nothing changes", "\n" + line("a", ""), []string{"-against", "next.yaml"}, OK, "milterd: warning: 1 of 1 sessions " + lacks},
		{"as JSON", "\n" + line("a", ""), []string{"-against", "next.yaml", "-json"}, OK, "milterd: warning: 1 of 1 sessions " + lacks},
		{"decided", "\n" + line("a", ""), []string{"-config", "next.yaml"}, OK, "milterd: warning: 1 of 1 sessions " + lacks},
		{"decided for a build system", "\n" + line("a", ""), []string{"-config", "next.yaml", "-format", "tap"}, OK, "milterd: warning: 1 of 1 sessions " + lacks},
		{"a recorded silence is an answer", line("a", `"8.113.0.203.bl.example. TIMEOUT"`), []string{"-against", "next.yaml"}, OK, ""},
		{"what is held", held, []string{"-against", "next.yaml"}, Difference, ""},
		{"checks that ask nothing", line("a", ""), nil, OK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := newDir(t, now, "")
			write(t, dir, "next.yaml", next)
			write(t, dir, "day.jsonl", c.day)
			status, _, stderr := runDry(t, dir, append(c.args, "day.jsonl")...)
			if diff := cmp.Diff(c.stderr, stderr); diff != "" || status != c.status {
				t.Errorf("exit status %d, want %d; stderr (-want +got):\n%s", status, c.status, diff)
			}
		})
	}
}

func TestChangesThatAreNotCertainAreMarked(t *testing.T) {
	const common = "access: {file: access}\ndomains: {hostname: mx.example.test, local: [example.test], relay: []}\n"
	dir := newDir(t, common, "")
	write(t, dir, "next.yaml", common+"checks: {dnsbl: {lists: {bl.example: {probe: false, on_temporary: tempfail}}}}\n")
	const session = `"connect":{"addr":"203.0.113.8","resolve":"OK"},"messages":[{"mail":{"from":"a@good.example"},"rcpt":[{"to":"x@example.test"}]}]`
	write(t, dir, "day.jsonl", `{"id":"a",`+session+"}\n"+`{"id":"b",`+session+`,"dns":["8.113.0.203.bl.example. A 127.0.0.2"]}`+"\n")
	_, stdout, _ := runDry(t, dir, "-against", "next.yaml", "day.jsonl")
	for _, want := range []string{
		"a 203.0.113.8 rcpt <x@example.test> (not certain: 8.113.0.203.bl.example. A is not in the recording)\n    - accept",
		"b 203.0.113.8 rcpt <x@example.test>\n    - accept",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}
