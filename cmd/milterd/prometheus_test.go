package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

// TestPrometheusScrapes has Prometheus itself read the page and evaluate alerts.yaml.
func TestPrometheusScrapes(t *testing.T) {
	testkit.Need(t, "prometheus")
	page, web := freeAddress(t), freeAddress(t)
	host, port, _ := net.SplitHostPort(page)
	p := serving(t, strings.Replace(statusConfig, "local:DIR/http.sock", "inet:"+port+"@"+host, 1), rejectsBad)
	p.ask(t, "a@bad.example")
	rules, err := filepath.Abs("../../configs/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.dir, "prometheus.yml", "global: {scrape_interval: 100ms, evaluation_interval: 100ms}\nrule_files: ["+rules+"]\n"+
		"scrape_configs: [{job_name: milterd, static_configs: [{targets: ['"+page+"']}]}]\n")
	var log testkit.Log
	server := exec.Command("prometheus", "--config.file="+filepath.Join(p.dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(p.dir, "tsdb"), "--web.listen-address="+web)
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill() // it may have ended by itself
		_ = server.Wait()
		if t.Failed() {
			t.Logf("prometheus:\n%s", log.String())
		}
	})
	for query, want := range map[string]string{
		`up{job="milterd"}`: "1",
		`sum(milterd_verdicts_total{action="reject",check="sender"})`: "1",
		`milterd_config_last_reload_successful`:                       "1",
	} {
		testkit.Eventually(t, query, func() bool { return asked(t, web, query) == want })
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the alert that milterd is down", func() bool { return asked(t, web, `ALERTS{alertname="MilterdDown"}`) == "1" })
}

// freeAddress is one of the loopback interface that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, ln)
	return ln.Addr().String()
}

// asked is the one value of a query; empty if there is none or more, or no answer.
func asked(t *testing.T, web, query string) string {
	t.Helper()
	response, err := http.Get("http://" + web + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return ""
	}
	defer closing(t, response.Body)
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Data.Result) != 1 {
		return ""
	}
	value, _ := answer.Data.Result[0].Value[1].(string)
	return value
}
