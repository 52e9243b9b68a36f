package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

// TestPrometheusTakesMetricsAndRules asks Prometheus' own tool.
func TestPrometheusTakesMetricsAndRules(t *testing.T) {
	testkit.Need(t, "promtool")
	p := serving(t, statusConfig, rejectsBad)
	p.ask(t, "a@bad.example")
	p.waitMetric(t, `milterd_callback_duration_seconds_count{stage="mail"} 1`)
	_, page := p.page(t, http.MethodGet, "/metrics")
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(page)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	if out, err := exec.Command("promtool", "check", "rules", "../../configs/alerts.yaml").CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}

var metricName = regexp.MustCompile(`\bmilterd_[a-z_]+\b`)

// TestAlertsAndDashboardUseMetricsThatThereAre finds names in both that no metric has.
func TestAlertsAndDashboardUseMetricsThatThereAre(t *testing.T) {
	documented := documentedMetrics(t)
	for _, file := range []string{"../../configs/alerts.yaml", "../../configs/grafana.json"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(text) {
			t.Errorf("%s is not JSON", file)
		}
		names := metricName.FindAllString(string(text), -1)
		if len(names) < 10 {
			t.Errorf("%s has %d names of metrics", file, len(names))
		}
		for _, name := range names {
			if _, ok := documented[name]; !ok && documented[partOfHistogram.ReplaceAllString(name, "")].Type != "histogram" {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

// TestClientsMakeNoMetrics sends what could become labels.
func TestClientsMakeNoMetrics(t *testing.T) {
	p := serving(t, statusConfig, rejectsBad)
	p.ask(t, "a@bad.example")
	p.waitMetric(t, `milterd_callback_duration_seconds_count{stage="mail"} 1`)
	count := func() int {
		_, page := p.page(t, http.MethodGet, "/metrics")
		return len(metricSample.FindAllString(page, -1))
	}
	before := count()
	for _, from := range []string{"b@bad.example", "c{x=1}@bad.example", "d\"\n@bad.example", "e@bad.example"} {
		p.ask(t, from)
	}
	if after := count(); after != before {
		t.Errorf("%d metrics, %d before", after, before)
	}
}
