package milter

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/milter/door"
	"milterd/policy"
)

type counters struct {
	door.Counters

	verdicts *prometheus.CounterVec
	// duration is how long callbacks took, by stage; the others are its parts.
	duration        *prometheus.HistogramVec
	mail, rcpt, eom stageTime
}

func newCounters() *counters {
	c := &counters{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "milterd_verdicts_total",
			Help: "Verdicts on MAIL, RCPT and ends of messages, by the check that decided (none: all passed) and what the MTA was told; mode shadow: would have been told.",
		}, []string{"stage", "check", "action", "mode"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "milterd_callback_duration_seconds", Help: "How long MTAs waited for a verdict, look-ups in the DNS included.",
			Buckets: []float64{.0001, .001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"stage"}),
	}
	for stage, part := range map[policy.Stage]*stageTime{policy.StageMail: &c.mail, policy.StageRcpt: &c.rcpt, policy.StageEOM: &c.eom} {
		part.Observer = c.duration.WithLabelValues(string(stage))
	}
	return c
}

type stageTime struct{ prometheus.Observer }

func (t stageTime) took(began time.Time) { t.Observe(time.Since(began).Seconds()) }

// verdict counts a verdict, and beside it what checks in shadow mode would have had the
// MTA told.
func (c *counters) verdict(v *policy.Verdict) {
	c.count(v.Stage, v.Check, v.Action, policy.ModeEnforce)
	for _, s := range v.Shadow {
		c.count(v.Stage, s.Check, s.Action, policy.ModeShadow)
	}
}

func (c *counters) count(stage policy.Stage, check string, action policy.Action, mode policy.Mode) {
	c.verdicts.WithLabelValues(string(stage), cmp.Or(check, "none"), string(action), string(mode)).Inc()
}

// Register has a registry read the server's counters.
func (s *Server) Register(r prometheus.Registerer) {
	s.counter.Register(r, "filter", s.guard.active)
	r.MustRegister(s.counter.verdicts, s.counter.duration)
}
