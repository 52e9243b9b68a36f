package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"milterd/integration/testkit"
	"milterd/milter/status"
)

// reportAbout runs -report with a configuration.
func reportAbout(dir string, args ...string) (code int, stdout, stderr string) {
	var out, complaints strings.Builder
	code = run(append([]string{"-config", filepath.Join(dir, "milterd.yaml"), "-report"}, args...), &out, &complaints)
	return code, out.String(), complaints.String()
}

func TestTheReportOutlivesAReload(t *testing.T) {
	p := serving(t, statusConfig+"checks: {client: {mode: shadow}}\n", rejectsBad, "MILTERD_LOG_LEVEL=error")
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply %q", got)
	}
	write(t, p.dir, "access", rejectsBad+"From:worse.example\tREJECT\n")
	p.signal(t, syscall.SIGHUP)
	p.waitMetric(t, "milterd_access_entries 2")
	if got := p.ask(t, "b@worse.example"); got != denied {
		t.Errorf("reply %q", got)
	}
	var r status.Report
	testkit.Eventually(t, "the page has both refusals", func() bool {
		_, body := p.page(t, http.MethodGet, "/report.json")
		r = status.Report{}
		return json.Unmarshal([]byte(body), &r) == nil && r.Snapshot != nil && r.Total == 2
	})
	if r.Hour.Sum.Refused["sender"] != 2 || r.InForce.Entries != 2 {
		t.Errorf("%+v, %+v", r.Hour.Sum, r.InForce)
	}
	places := make(map[string]string)
	for _, s := range r.InForce.Settings {
		places[s.Key] = filepath.Base(s.Place)
	}
	for key, want := range map[string]string{"listen.milter": "milterd.yaml:1", "checks.client.mode": "milterd.yaml:4", "log.level": "environment MILTERD_LOG_LEVEL"} {
		if places[key] != want {
			t.Errorf("%s is set at %q, expected %q", key, places[key], want)
		}
	}
	if len(r.State) == 0 || r.State[0].Title != "Doors" {
		t.Errorf("state %+v", r.State)
	}
	if _, body := p.page(t, http.MethodGet, "/?q=b@worse"); !strings.Contains(body, "b@worse.example") || strings.Contains(body, "a@bad.example") {
		t.Errorf("the page that searches\n%s", body)
	}
	if code, out, complaints := reportAbout(p.dir); code != exitOK || complaints != "" || !strings.Contains(out, "refused by sender") {
		t.Errorf("-report: %d %s\n%s", code, complaints, out)
	}
	code, out, _ := reportAbout(p.dir, "-json")
	if code != exitOK || json.Unmarshal([]byte(out), &r) != nil || r.Total != 2 {
		t.Errorf("-report -json: %d\n%s", code, out)
	}
}

const recordedSession = `id: one
connect: {addr: 203.0.113.9, name: mx.bad.example, resolve: OK, daemon_port: 25}
messages:
- mail: {from: a@bad.example}
  rcpt: [{to: shin@example.test}]
- mail: {from: a@good.example}
  rcpt: [{to: shin@example.test}, {to: x@other.example}]
`

func TestAReportOfRecordings(t *testing.T) {
	dir := newDir(t, statusConfig+"checks: {client: {mode: shadow}, rdns: {mode: off}}\n", rejectsBad+"Connect:203.0.113.9\tREJECT\nGreetPause:\t500\n") // of which -check warns
	write(t, dir, "sessions.yaml", recordedSession)
	code, out, complaints := reportAbout(dir, "-json", filepath.Join(dir, "sessions.yaml"))
	var r status.Report
	if code != exitOK || complaints != "" || json.Unmarshal([]byte(out), &r) != nil {
		t.Fatalf("%d %s\n%s", code, complaints, out)
	}
	if sum := r.Day.Sum; sum.Accepted != 1 || sum.Shadow != 1 || sum.Refused["sender"] != 1 || sum.Refused["relay"] != 1 {
		t.Errorf("%+v", sum)
	}
	if got := r.Shadow.Checks; len(got) != 1 || got[0].Name != "client" {
		t.Errorf("shadow %+v", got)
	}
	if code, _, complaints := reportAbout(dir, filepath.Join(dir, "none")); code != exitFailure || !strings.Contains(complaints, "no such file") {
		t.Errorf("no recordings: %d %s", code, complaints)
	}
}

// TestAReportOfRecordingsGoesByTheirTime: messages are of the day on which they began, and
// logins have their usual day; files have the time at which they were copied.
func TestAReportOfRecordingsGoesByTheirTime(t *testing.T) {
	dir := newDir(t, statusConfig+"checks: {rdns: {mode: off}}\nlimits: {rules: {logins: {rate: 10/1h}}}\n", "")
	session := func(id, login, messages string) string {
		return `{"id": "` + id + `", "connect": {"addr": "203.0.113.9", "resolve": "OK", "daemon_port": 587}, "auth": {"type": "PLAIN", "authen": "` + login + `"}, "messages": [` + messages + "]}\n"
	}
	message := func(at, more string) string {
		return `{"at": "` + at + `", "mail": {"from": "a@good.example"}, "rcpt": [{"to": "x@other.example", "mailer": "esmtp"}, {"to": "y@other.example", "mailer": "esmtp"}]` + more + `}`
	}
	write(t, dir, "b.jsonl", session("today", "shin+2Bbox", message("2026-11-28T11:30:00Z", "")+","+message("2026-11-28T12:00:00Z", `, "limits": ["1 logins 10 10/1h 360", "2 logins 10 10/1h 360"]`)))
	write(t, dir, "c.jsonl", session("before", "shin+2Bbox", message("2026-11-25T09:00:00Z", "")+","+message("2026-11-27T09:00:00Z", ""))+session("nonsense", "mari", message("1960-01-01T00:00:00Z", "")))
	var r status.Report
	code, out, complaints := reportAbout(dir, "-json", filepath.Join(dir, "b.jsonl"), filepath.Join(dir, "c.jsonl"))
	if code != exitOK || json.Unmarshal([]byte(out), &r) != nil {
		t.Fatalf("%d %s\n%s", code, complaints, out)
	}
	// The message of 1960 counts as of its file: now. So that is the end.
	if r.LoginDays == 0 || len(r.Logins) != 2 || r.Logins[0].Name != "shin+box" || r.Logins[0].Recipients != 6 || r.Logins[0].Limited != 2 {
		t.Errorf("logins %+v of %d days", r.Logins, r.LoginDays)
	}
	code, out, complaints = reportAbout(dir, filepath.Join(dir, "b.jsonl"))
	if code != exitOK || !strings.Contains(out, "since 2026-11-28 11:30:00") || !strings.Contains(strings.Join(strings.Fields(out), " "), "Last hour accepted 1 ") {
		t.Errorf("of one file: %d %s\n%s", code, complaints, out)
	}
	// Of its time the one in c.jsonl without nonsense has two whole days, one with two
	// recipients.
	write(t, dir, "d.jsonl", session("before", "shin+2Bbox", message("2026-11-24T09:00:00Z", "")+","+message("2026-11-25T09:00:00Z", "")+","+message("2026-11-27T09:00:00Z", "")))
	if code, out, complaints = reportAbout(dir, filepath.Join(dir, "d.jsonl")); code != exitOK || !strings.Contains(out, "the mean of the last 2 whole days (UTC)") ||
		!strings.Contains(strings.Join(strings.Fields(out), " "), "recipients in all usual day put off by limits shin+box 6 1.0 0") {
		t.Errorf("usual day: %d %s\n%s", code, complaints, out)
	}
	write(t, dir, "none.jsonl", session("none", "shin", `{"mail": {"from": "a@good.example"}}`))
	if code, out, complaints = reportAbout(dir, filepath.Join(dir, "none.jsonl")); code != exitOK || !strings.Contains(out, "0 lines") {
		t.Errorf("nothing decided: %d %s\n%s", code, complaints, out)
	}
}

func TestAReportNeedsAPage(t *testing.T) {
	dir := newDir(t, baseConfig, "")
	if code, _, complaints := reportAbout(dir); code != exitFailure || !strings.Contains(complaints, "listen.http is empty") {
		t.Errorf("%d %s", code, complaints)
	}
	dir = newDir(t, statusConfig, "")
	if code, _, complaints := reportAbout(dir); code != exitFailure || !strings.Contains(complaints, "ask the running milterd at local:") {
		t.Errorf("%d %s", code, complaints)
	}
}

func TestAReportWithTheTokenOfThePage(t *testing.T) {
	listen := strings.Replace(statusConfig, "local:DIR/http.sock", "'inet:9180@"+testkit.OwnLoopback()+"'", 1)
	config := listen + "status: {token_file: DIR/token}\n"
	dir := newDir(t, config, rejectsBad)
	write(t, dir, "token", "a-token-of-the-page\n")
	p := launch(t, dir)
	p.waitLog(t, "listening", "door=status")
	if code, out, complaints := reportAbout(dir); code != exitOK || !strings.Contains(out, "mx.example.test: mode enforce") {
		t.Errorf("with it: %d %s\n%s", code, complaints, out)
	}
	for name, other := range map[string]string{
		"without it": listen, "with another": listen + "status: {token: another-token-than-that}\n",
	} {
		asking := newDir(t, other, rejectsBad)
		if code, out, complaints := reportAbout(asking); code != exitFailure || out != "" || !strings.Contains(complaints, "401 Unauthorized: expected the token of status.token") {
			t.Errorf("%s: %d %s\n%s", name, code, complaints, out)
		}
	}
	asking := newDir(t, config, rejectsBad)
	if code, _, complaints := reportAbout(asking); code != exitFailure || !strings.Contains(complaints, "token: no such file") {
		t.Errorf("with a token that cannot be read: %d %s", code, complaints)
	}
}

// TestThePageTellsOfHiddenClients: all clients of a while have one private address.
func TestThePageTellsOfHiddenClients(t *testing.T) {
	p := serving(t, statusConfig, "")
	testkit.Eventually(t, "the page says so", func() bool {
		session, err := connectFrom(p.socket(), "10.88.0.1")
		if err != nil {
			t.Fatal(err)
		}
		closing(t, session)
		_, body := p.page(t, http.MethodGet, "/")
		return strings.Contains(body, "clients are hidden behind 10.88.0.1")
	})
	if code, out, _ := reportAbout(p.dir); code != exitOK || !strings.Contains(out, "nearly all clients have the address 10.88.0.1") {
		t.Errorf("%d\n%s", code, out)
	}
}
