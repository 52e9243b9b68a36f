package main

import (
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"milterd/integration/testkit"
	"milterd/integration/testkit/dnstest"
)

// everythingConfig has everything that there are metrics of. The DNS list lists
// everything.
const everythingConfig = statusConfig + `dns: {servers: ["DNS"]}
limits: {rules: {logins: {rate: 100/1h}}}
checks:
  rdns: {mode: off}
  dnsbl: {lists: {"{key}.keyed.example": {key: s3cret-of-the-list, name: keyed}}}
grants:
  control: local:DIR/control.sock
  file: grants.db
  dovecot: {listen: local:DIR/dovecot.sock, secret: s3cret-of-dovecot}
  logs: [{file: DIR/mail.log, format: dovecot}, {file: DIR/mail.log, format: uw}]
  drac: {listen: inet:PORT@127.0.0.1, rpcbind: false}
record: {dir: DIR, redact_key: s3cret-of-recordings}
`

// waitMetric fetches the metrics until they hold a line.
func (p *process) waitMetric(t *testing.T, line string) {
	t.Helper()
	body := ""
	defer func() {
		if t.Failed() {
			t.Logf("the metrics were last\n%s", strings.Join(metricSample.FindAllString(body, -1), "\n"))
		}
	}()
	testkit.Eventually(t, "the metrics hold "+line, func() bool {
		_, body = p.page(t, http.MethodGet, "/metrics")
		return strings.Contains("\n"+body, "\n"+line+"\n")
	})
}

// described is what the documentation, or the page, says of a metric.
type described struct{ Type, Labels, Meaning string }

var documentedMetric = regexp.MustCompile("(?m)^\\| `(milterd_[a-z_]+)` \\| (\\w+) \\| ([^|]*) \\| ([^|]*) \\|$")

func documentedMetrics(t *testing.T) map[string]described {
	t.Helper()
	text, err := os.ReadFile("../../configs/manual/milterd-metrics.7.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]described)
	for _, m := range documentedMetric.FindAllStringSubmatch(string(text), -1) {
		all[m[1]] = described{m[2], strings.TrimPrefix(m[3], "–"), m[4]}
	}
	if n := strings.Count(string(text), "\n| `"); n != len(all) {
		t.Fatalf("milterd-metrics(7) has %d rows, of which %d can be read", n, len(all))
	}
	return all
}

var (
	helpOfMetric = regexp.MustCompile(`(?m)^# HELP (milterd_\w+) (.*)$`)
	typeOfMetric = regexp.MustCompile(`(?m)^# TYPE (milterd_\w+) (.*)$`)
	// partOfHistogram is what a histogram's name has at its end in a sample.
	partOfHistogram = regexp.MustCompile(`_(bucket|sum|count)$`)

	metricSample = regexp.MustCompile(`(?m)^(milterd_\w+)(?:\{(.*)\})? [-+.0-9e]+$`)
	labelName    = regexp.MustCompile(`(\w+)="[^"]*"`)
)

func servedMetrics(page string) map[string]described {
	all := make(map[string]described)
	for _, m := range helpOfMetric.FindAllStringSubmatch(page, -1) {
		all[m[1]] = described{Meaning: m[2]}
	}
	for _, m := range typeOfMetric.FindAllStringSubmatch(page, -1) {
		metric := all[m[1]]
		metric.Type = m[2]
		all[m[1]] = metric
	}
	for _, m := range metricSample.FindAllStringSubmatch(page, -1) {
		name := m[1]
		if whole := partOfHistogram.ReplaceAllString(name, ""); all[whole].Type == "histogram" {
			name = whole
		}
		metric := all[name]
		labels := strings.Fields(labelName.ReplaceAllString(strings.ReplaceAll(m[2], ",", " "), "$1"))
		metric.Labels = strings.Join(slices.DeleteFunc(labels, func(label string) bool { return label == "le" }), " ")
		all[name] = metric
	}
	return all
}

// TestTheMetricsAreThoseOfTheDocumentation runs milterd with all there is.
func TestTheMetricsAreThoseOfTheDocumentation(t *testing.T) {
	server, err := dnstest.Start(dnstest.Options{Lines: []string{
		"1.0.0.127.s3cret-of-the-list.keyed.example. 60 IN A 127.0.0.2",
		"2.0.0.127.s3cret-of-the-list.keyed.example. 60 IN A 127.0.0.2",
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, server)
	free, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.LocalAddr().String())
	closing(t, free)
	dir := newDir(t, strings.NewReplacer("DNS", server.Addr(), "PORT", port).Replace(everythingConfig), rejectsBad)
	write(t, dir, "mail.log", "")
	p := launch(t, dir)
	p.waitSocket(t)
	if got := p.ask(t, "a@bad.example"); got != denied {
		t.Errorf("reply %q", got)
	}
	var out strings.Builder
	if status := run([]string{"-config", filepath.Join(dir, "milterd.yaml"), "-grant", "203.0.113.77", "hanako"}, &out, &out); status != exitOK {
		t.Fatalf("-grant: %s", &out)
	}
	p.waitMetric(t, `milterd_dns_list_bypassed{for="IPv4",list="keyed"} 1`)
	p.waitMetric(t, `milterd_grant_logins_total{result="granted"} 1`)
	p.waitMetric(t, `milterd_grant_file_writes_total{result="success"} 1`)
	p.waitMetric(t, `milterd_grants 1`)
	p.waitMetric(t, `milterd_login_log_open{log="2"} 1`)
	p.waitMetric(t, `milterd_recorder_recorded_total 1`)

	status, page := p.page(t, http.MethodGet, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("status %d\n%s", status, page)
	}
	if diff := cmp.Diff(documentedMetrics(t), servedMetrics(page)); diff != "" {
		t.Errorf("metrics (-milterd-metrics(7) +page):\n%s", diff)
	}
	for _, want := range []string{"go_goroutines ", "process_open_fds "} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("no metric %s", want)
		}
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	for _, private := range []string{"203.0.113", "bad.example", "hanako", "s3cret", dir} {
		if strings.Contains(page, private) {
			t.Errorf("the page shows %s", private)
		}
	}
}

// TestTheDocumentationNamesEveryMetric finds metrics that no test run has.
func TestTheDocumentationNamesEveryMetric(t *testing.T) {
	// A name is followed by its help text.
	literal := regexp.MustCompile(`"(milterd_[a-z_]+)",\s+(?:Help: )?"[A-Z]`)
	names := make(map[string]bool)
	for dir := range packages(t) {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") || strings.Contains(file, "/integration/") {
				continue
			}
			for _, m := range literal.FindAllStringSubmatch(string(text), -1) {
				names[m[1]] = true
			}
		}
	}
	documented := documentedMetrics(t)
	if len(names) != len(documented) {
		t.Errorf("%d metrics, %d of them documented", len(names), len(documented))
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if _, ok := documented[name]; !ok {
			t.Errorf("milterd-metrics(7) has no %s", name)
		}
	}
}

func TestTheMetricsSayWhatHappens(t *testing.T) {
	const rejectsClient = "Connect:203.0.113.9\tREJECT\n"
	p := serving(t, statusConfig+"checks: {client: {mode: shadow}}\n", rejectsBad+rejectsClient)
	p.ask(t, "a@bad.example")
	p.ask(t, "a@good.example")
	for _, want := range []string{
		`milterd_verdicts_total{action="reject",check="sender",mode="enforce",stage="mail"} 1`,
		`milterd_verdicts_total{action="accept",check="none",mode="enforce",stage="mail"} 1`,
		`milterd_verdicts_total{action="reject",check="client",mode="shadow",stage="mail"} 2`,
		`milterd_connections_total{door="filter"} 2`,
		`milterd_access_entries 2`,
		`milterd_config_last_reload_successful 1`,
		`milterd_config_reloads_total{result="success"} 0`,
	} {
		p.waitMetric(t, want)
	}
	_, page := p.page(t, http.MethodGet, "/metrics")
	for _, unwanted := range []string{"milterd_dns_", "milterd_grants ", "milterd_recorder_"} {
		if strings.Contains(page, unwanted) {
			t.Errorf("a metric %s of what is not configured", unwanted)
		}
	}

	for path, garbage := range map[string]string{"milter.sock": "\x00\x00\x00\x00", "map.sock": "garbage,"} {
		conn, err := net.Dial("unix", filepath.Join(p.dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, garbage); err != nil {
			t.Error(err)
		}
		closing(t, conn)
	}
	p.waitMetric(t, `milterd_malformed_requests_total{door="filter"} 1`)
	p.waitMetric(t, `milterd_malformed_requests_total{door="map"} 1`)
	p.waitMetric(t, `milterd_open_connections{door="map"} 0`)

	write(t, p.dir, "access", "From:bad.example\n")
	p.waitMetric(t, `milterd_config_last_reload_successful 0`)
	p.waitMetric(t, `milterd_access_entries 2`)
	write(t, p.dir, "access", rejectsBad)
	p.waitMetric(t, `milterd_config_last_reload_successful 1`)
	p.waitMetric(t, `milterd_access_entries 1`)
}
