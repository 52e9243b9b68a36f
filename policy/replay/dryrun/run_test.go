package dryrun

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"milterd/integration/testkit"
)

// numberedSessions are n sessions of which every tenth is refused.
func numberedSessions(n int) string {
	var b strings.Builder
	for i := range n {
		from := "a@good.example"
		if i%10 == 0 {
			from = "a@bad.example"
		}
		fmt.Fprintf(&b, `{"id":"s-%d","connect":{"addr":"203.0.113.8","resolve":"OK"},"messages":[{"mail":{"from":"%s"},"rcpt":[{"to":"x@example.test"}]}]}`+"\n", i, from)
	}
	return b.String()
}

func TestManySessionsAreSummedUp(t *testing.T) {
	dir := newDir(t, baseConfig, rejectsBad)
	last := `{"id":"odd","connect":{"addr":"203.0.113.8","resolve":"OK"},"messages":[{"mail":{"from":"a@bad.example"}}],"expect":[{"stage":"mail","arg":"a@bad.example","action":"accept"}]}` + "\n"
	write(t, dir, "few.jsonl", numberedSessions(mostPrinted))
	write(t, dir, "many.jsonl", last+numberedSessions(mostPrinted)+last)
	status, stdout, stderr := runDry(t, dir, "few.jsonl")
	if status != OK || stderr != "" || strings.Count(stdout, "\ns-") != 20+180*3-1 {
		t.Errorf("few: exit status %d, stderr %q, stdout:\n%s", status, stderr, stdout)
	}
	status, stdout, stderr = runDry(t, dir, "many.jsonl")
	if status != Difference || stderr != "" {
		t.Errorf("many: exit status %d, stderr %q", status, stderr)
	}
	want := `odd mail <a@bad.example>: reject 550 5.7.1 Access denied (sender, access:1: from:bad.example REJECT): the access table has an entry for this sender
    DIFFERENT: many.jsonl:1 expects mail <a@bad.example>: accept
odd mail <a@bad.example>: reject 550 5.7.1 Access denied (sender, access:1: from:bad.example REJECT): the access table has an entry for this sender
    DIFFERENT: many.jsonl:202 expects mail <a@bad.example>: accept
more than 200 sessions: only what differs is printed (-explain prints all, -session ID one)
       540  accept
        22  reject 550 5.7.1             sender        access:1: from:bad.example REJECT
202 sessions, 562 verdicts, 2 of 2 expectations not met
`
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Errorf("many (-want +got):\n%s", diff)
	}
	// Whoever asks for everything gets it.
	if _, stdout, _ := runDry(t, dir, "-explain", "many.jsonl"); strings.Count(stdout, "\ns-") != 20+180*3 {
		t.Errorf("explained: %d verdicts", strings.Count(stdout, "\ns-"))
	}
	if _, stdout, _ := runDry(t, dir, "-json", "many.jsonl"); strings.Count(stdout, "\n") != 562 {
		t.Errorf("as JSON: %d verdicts", strings.Count(stdout, "\n"))
	}
}

func TestOneSessionIsPickedByItsID(t *testing.T) {
	dir := newDir(t, baseConfig, rejectsBad)
	write(t, dir, "many.jsonl", numberedSessions(500))
	status, stdout, stderr := runDry(t, dir, "-session", "s-10", "-explain", "many.jsonl")
	if status != OK || stderr != "" || !strings.HasPrefix(stdout, "s-10 mail <a@bad.example>: reject") ||
		!strings.Contains(stdout, "from:bad.example: line 1: REJECT") || !strings.HasSuffix(stdout, "\n1 session, 1 verdict\n") {
		t.Errorf("exit status %d, stderr %q, stdout:\n%s", status, stderr, stdout)
	}
	for _, args := range [][]string{{"-session", "s-500", "many.jsonl"}, {"-session", "s-500", "-against", "milterd.yaml", "many.jsonl"}} {
		status, stdout, stderr = runDry(t, dir, args...)
		if status != BadInput || stdout != "" || stderr != "milterd: no session has the id \"s-500\"\n" {
			t.Errorf("%v: exit status %d, stderr %q, stdout %q", args, status, stderr, stdout)
		}
	}
}

// suite is a directory of sessions as an administrator keeps them: with what is
// expected, beside a file that is not one.
func suite(t *testing.T) string {
	dir := newDir(t, baseConfig, rejectsBad)
	const session = "connect: {addr: 203.0.113.8, resolve: OK}\nmessages:\n  - mail: {from: %s}\n    rcpt: [{to: x@example.test}]\n%s"
	if err := os.MkdirAll(filepath.Join(dir, "suite", "later"), 0o755); err != nil {
		t.Fatal(err)
	}
	expect := func(action string) string {
		return "expect: [{stage: mail, arg: a@bad.example, action: " + action + "}]\n"
	}
	write(t, dir, "suite/1-refused.yaml", "id: refused\n"+fmt.Sprintf(session, "a@bad.example", expect("reject")))
	write(t, dir, "suite/2-both.yaml", "id: not so\n"+fmt.Sprintf(session, "a@bad.example", expect("accept"))+"---\nid: nothing expected\n"+fmt.Sprintf(session, "a@good.example", ""))
	write(t, dir, "suite/later/broken.yml", "id: broken\nmesages: []\n")
	write(t, dir, "suite/later/dns.jsonl", `{"id":"ok","connect":{"addr":"203.0.113.8"},"messages":[{}],"expect":[{"stage":"mail","action":"accept"}]}`+"\n")
	return dir
}

func TestASuiteInEachFormat(t *testing.T) {
	for _, c := range []struct{ format, file string }{
		{"text", "suite.txt"}, {"json", "suite.jsonl"}, {"tap", "suite.tap"}, {"junit", "suite.junit.xml"},
	} {
		t.Run(c.format, func(t *testing.T) {
			wd, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			status, stdout, stderr := runDry(t, suite(t), "-format", c.format, "suite")
			t.Chdir(wd)
			if status != BadInput || !strings.Contains(stderr, "milterd: suite/later/broken.yml:2: unknown key \"mesages\"") {
				t.Errorf("exit status %d, stderr %q", status, stderr)
			}
			testkit.Golden(t, "testdata/"+c.file, stdout)
		})
	}
}

func TestAReadableSuiteSaysWhetherItIsMet(t *testing.T) {
	dir := suite(t)
	if err := os.Remove(filepath.Join(dir, "suite/later/broken.yml")); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"text", "json", "tap", "junit"} {
		if status, _, _ := runDry(t, dir, "-format", format, "suite"); status != Difference {
			t.Errorf("%s: exit status %d, want %d", format, status, Difference)
		}
		if status, _, _ := runDry(t, dir, "-format", format, "suite/1-refused.yaml", "suite/later"); status != OK {
			t.Errorf("%s: exit status %d, want %d", format, status, OK)
		}
	}
}

func TestWhatCannotBeDecidedDoesNotKeepTheRestFromIt(t *testing.T) {
	dir := newDir(t, strings.ReplaceAll(typedConfig, "SERVER", "127.0.0.1"), "")
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(numberedSessions(3000))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a.jsonl.gz", packed.String()[:packed.Len()/2])
	write(t, dir, "b.jsonl", `{"id":"bad dns","messages":[{}],"dns":["mx.good.example. A 203.0.113.999"]}`+"\n"+`{"id":"good","messages":[{}]}`+"\n")
	status, stdout, stderr := runDry(t, dir, "-json", "a.jsonl.gz", "b.jsonl")
	sessions := make(map[string]bool)
	for line := range strings.Lines(stdout) {
		var v struct{ Session string }
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		sessions[v.Session] = true
	}
	if status != BadInput || !sessions["s-0"] || !sessions["good"] || sessions["bad dns"] || sessions["s-2999"] {
		t.Errorf("exit status %d, %d sessions", status, len(sessions))
	}
	complaints := strings.Split(strings.TrimSpace(stderr), "\n")
	want := []string{fmt.Sprintf("milterd: a.jsonl.gz:%d: compressed data ends too early", len(sessions)), `milterd: b.jsonl:1: bad dns: read frozen answers: dns line 1 "mx.good.example. A 203.0.113.999": `}
	// The last one tells that the others hold no DNS answers.
	if len(complaints) != 3 || complaints[0] != want[0] || !strings.HasPrefix(complaints[1], want[1]) {
		t.Errorf("complaints %q, want %q", complaints, want)
	}
}

func TestProgress(t *testing.T) {
	for _, c := range []struct {
		read, total int64
		want        string
	}{
		{0, 0, "0 MB"}, {5 << 20, 0, "5 MB"}, {0, 1 << 20, "[                              ]   0% of 1 MB"},
		{1 << 20, 2 << 20, "[###############               ]  50% of 2 MB"}, {3 << 20, 2 << 20, "[##############################] 100% of 2 MB"},
	} {
		if got := progressText(c.read, c.total); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.read, c.total, got, c.want)
		}
	}
	if isTerminal(&bytes.Buffer{}) {
		t.Error("a buffer is a terminal")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) {
		t.Error("the null device is a terminal")
	}
}

// TestAReportWithoutTestsIsNotAPassedOne: a suite must not pass for want of its tests.
func TestAReportWithoutTestsIsNotAPassedOne(t *testing.T) {
	dir := newDir(t, baseConfig, rejectsBad)
	write(t, dir, "one.jsonl", numberedSessions(1))
	for _, sub := range []string{"links", "begun", "nothing", "files"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir, "begun/a.jsonl", "")
	write(t, dir, "blank.jsonl", "\n\n")
	write(t, dir, "files/blank.jsonl", "\n\n")
	write(t, dir, "comments.yaml", "# nothing\n")
	write(t, dir, "traffic.log", "00007 >>> 220 mx.example.test ESMTP\n00007 <<< QUIT\n00007 >>> 221 bye\n")
	if err := os.Symlink("nowhere", filepath.Join(dir, "links", "a.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, message string
		args          []string
	}{
		{"a link that leads nowhere", "read sessions: stat links/a.yaml: no such file or directory", []string{"links"}},
		{"a recording that has just begun", "begun: no session files, ", []string{"begun"}},
		{"a directory with nothing in it", "nothing: no session files, ", []string{"nothing"}},
		{"a session that is not there", "no session has the id", []string{"-session", "s-5", "one.jsonl"}},
		{"blank lines", "blank.jsonl:1: no session, expected one JSON object a line", []string{"blank.jsonl"}},
		{"comments", "comments.yaml:1: no session, expected a YAML document", []string{"comments.yaml"}},
		{"blank lines in a directory", "files/blank.jsonl:1: no session, ", []string{"files"}},
		{"a log in which nothing is sent", "traffic.log:1: no session, expected a connection with a message", []string{"traffic.log"}},
		{"standard input that is empty", "stdin:1: no session, expected a YAML document", []string{"-"}},
		{"a device", "read sessions: /dev/null is a device, ", []string{"/dev/null"}},
	} {
		for format, failing := range map[string]string{"tap": "not ok 1 - " + c.message, "junit": `type="unreadable"`, "text": "", "json": ""} {
			status, stdout, stderr := runDry(t, dir, append([]string{"-format", format}, c.args...)...)
			if status != BadInput || !strings.Contains(stdout, failing) || !strings.HasPrefix(stderr, "milterd: "+c.message) {
				t.Errorf("%s, %s: exit status %d, stderr %q, stdout:\n%s", c.name, format, status, stderr, stdout)
			}
		}
	}
}

func TestACheckTellsOfASocketThatSendmailDoesNotUse(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	text := "access: {file: access}\ndomains: {local: [], relay: []}\nlisten: {milter: 'local:" + dir + "/s'}\n"
	for name, text := range map[string]string{"milterd.yaml": text, "access": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status, _, stderr := runDry(t, dir)
	if want := "milterd: warning: milterd.yaml:3: listen.milter: every user of this machine can write to " + dir; status != OK || !strings.Contains(stderr, want) {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// TestTheManualsScrubbedHeader decides the second example of milterd-sessions(5) by the
// configuration that it names.
func TestTheManualsScrubbedHeader(t *testing.T) {
	page, err := os.ReadFile("../../../configs/manual/milterd-sessions.5.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "This example needs `")
	config, text, _ := strings.Cut(text, "`")
	_, text, _ = strings.Cut(text, "```yaml\n")
	session, _, _ := strings.Cut(text, "```")
	dir := t.TempDir()
	for name, text := range map[string]string{"milterd.yaml": "access: {file: access}\ndomains: {local: [], relay: []}\n" + config + "\n", "access": "", "session.yaml": session} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if status, stdout, stderr := runDry(t, dir, "session.yaml"); status != OK {
		t.Errorf("status %d:\n%s%s", status, stdout, stderr)
	}
}
