package testkit

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric is the value of a counter or gauge that something has registered, such as
// Metric(t, keeper, "milterd_grant_logins_total", "granted"): labels are the values of its
// labels, in the order of their names.
func Metric(t testing.TB, of interface{ Register(prometheus.Registerer) }, name string, labels ...string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	of.Register(registry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			var values []string
			for _, label := range metric.GetLabel() {
				values = append(values, label.GetValue())
			}
			if slices.Equal(values, labels) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s{%s}", name, strings.Join(labels, ","))
	return 0
}
