package milter

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/policy"
)

// Register has a registry read the server's counters.
func (s *Server) Register(r prometheus.Registerer) {
	s.counter.Register(r, "filter", s.guard.active)
	r.MustRegister(verdictMetrics{s.counter})
}

var verdictsTotal = prometheus.NewDesc("milterd_verdicts_total",
	"Verdicts on MAIL, RCPT and ends of messages, by the check that decided (none: all passed) and what the MTA was told; mode shadow: would have been told.",
	[]string{"stage", "check", "action", "mode"}, nil)

// verdictMetrics is a prometheus.Collector: which verdicts there are shows in time.
type verdictMetrics struct{ *counters }

// Describe says what Collect sends.
func (verdictMetrics) Describe(to chan<- *prometheus.Desc) { to <- verdictsTotal }

// Collect sends the verdicts so far.
func (m verdictMetrics) Collect(to chan<- prometheus.Metric) {
	for key, n := range m.snapshot(0).Verdicts {
		mode := policy.ModeEnforce
		if key.Shadow {
			mode = policy.ModeShadow
		}
		to <- prometheus.MustNewConstMetric(verdictsTotal, prometheus.CounterValue, float64(n),
			string(key.Stage), cmp.Or(key.Check, "none"), string(key.Action), string(mode))
	}
}
