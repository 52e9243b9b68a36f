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
	p := serving(t, statusConfig+"checks: {client: {mode: shadow}}\nlog: {level: error}\n", rejectsBad)
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
	if r.Hour.Sum.Refused["sender"] != 2 || r.InForce.Entries != 2 || !strings.HasSuffix(r.InForce.Settings[0].Place, "milterd.yaml:1") {
		t.Errorf("%+v, %+v", r.Hour.Sum, r.InForce)
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
	dir := newDir(t, statusConfig+"checks: {client: {mode: shadow}, rdns: {mode: off}}\n", rejectsBad+"Connect:203.0.113.9\tREJECT\n")
	write(t, dir, "sessions.yaml", recordedSession)
	code, out, complaints := reportAbout(dir, "-json", filepath.Join(dir, "sessions.yaml"))
	var r status.Report
	if code != exitOK || json.Unmarshal([]byte(out), &r) != nil {
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
