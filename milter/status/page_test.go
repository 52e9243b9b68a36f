package status

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/integration/testkit"
)

func TestHealthzSaysWhyMailIsNotDecided(t *testing.T) {
	w := httptest.NewRecorder()
	Page{Problem: func() string { return "the policy is not loaded" }}.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != "the policy is not loaded\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestClientsThatAskNothingDoNotKeepThePageFromEnding(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range maxConnections + 1 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	s := Serve([]net.Listener{ln}, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	s.Shutdown()
	for _, conn := range conns {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a connection is still open")
		}
		_ = conn.Close()
	}
}

func TestAListenerThatFailsIsToldOf(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := Serve([]net.Listener{ln}, http.NotFoundHandler(), slog.New(slog.NewTextHandler(&log, nil)))
	s.running.Wait()
	s.Shutdown()
	if want := "milterd goes on without it"; !strings.Contains(log.String(), want) {
		t.Errorf("log %q, expected %q", log.String(), want)
	}
}

// labeled gives two metrics, one of them with these labels.
type labeled []string

func (labeled) Describe(chan<- *prometheus.Desc) {}

func (l labeled) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.MustNewConstMetric(prometheus.NewDesc("milterd_y_total", "Another.", nil, nil), prometheus.CounterValue, 1)
	to <- prometheus.MustNewConstMetric(prometheus.NewDesc("milterd_x_total", "An example.", []string{"label"}, nil), prometheus.CounterValue, 1, l...)
}

func TestAValueThatCannotBeIsAnErrorAndNotAPanic(t *testing.T) {
	for _, labels := range []labeled{{"\xff"}, {}, {"a", "b"}} {
		var log testkit.Log
		registry := &Registry{Registry: prometheus.NewRegistry(), logger: log.Logger()}
		registry.MustRegister(labels)
		if all, err := registry.Gather(); err == nil || len(all) != 1 || all[0].GetName() != "milterd_y_total" {
			t.Errorf("labels %q: %v, %v", labels, all, err)
		}
	}
}

func TestADefectInTheMetricsEndsNothing(t *testing.T) {
	var log testkit.Log
	registry := NewRegistry(log.Logger())
	registry.MustRegister(labeled{})
	w := httptest.NewRecorder()
	Page{Metrics: registry.Handler()}.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "\ngo_goroutines ") || !strings.Contains(w.Body.String(), "\nmilterd_build_info{") {
		t.Errorf("the other metrics are not there: status %d\n%s", w.Code, w.Body)
	}
	for _, want := range []string{"giving the metrics panicked", "stack=", "not all metrics can be given"} {
		if !log.Has(want) {
			t.Errorf("log %q, expected %q", log.String(), want)
		}
	}
}
