package milter

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/milter/door"
	"milterd/policy"
)

// Stats is a snapshot of a server's counters.
type Stats struct {
	door.Stats
	// Verdicts counts what was decided.
	Verdicts map[VerdictKey]uint64
}

// VerdictKey tells the counted verdicts apart.
type VerdictKey struct {
	Stage policy.Stage
	// Check is the check that decided, empty where every check passed.
	Check string
	// Action is what the MTA was told to do.
	Action policy.Action
	// Shadow: a check in shadow mode would have had the MTA told so. It is counted
	// beside the verdict that was given.
	Shadow bool
}

type counters struct {
	door.Counters

	mu       sync.Mutex
	verdicts map[VerdictKey]uint64

	// duration is how long callbacks took, by stage; the others are its parts.
	duration        *prometheus.HistogramVec
	mail, rcpt, eom stageTime
}

func newCounters() *counters {
	c := &counters{verdicts: make(map[VerdictKey]uint64), duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "milterd_callback_duration_seconds", Help: "How long MTAs waited for a verdict, look-ups in the DNS included.",
		Buckets: []float64{.0001, .001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"stage"})}
	for stage, part := range map[policy.Stage]*stageTime{policy.StageMail: &c.mail, policy.StageRcpt: &c.rcpt, policy.StageEOM: &c.eom} {
		part.Observer = c.duration.WithLabelValues(string(stage))
	}
	return c
}

// stageTime is how long the callbacks of one stage took.
type stageTime struct{ prometheus.Observer }

// took counts a callback that began at a moment.
func (t stageTime) took(began time.Time) { t.Observe(time.Since(began).Seconds()) }

func (c *counters) verdict(v *policy.Verdict) {
	c.mu.Lock()
	c.verdicts[VerdictKey{v.Stage, v.Check, v.Action, false}]++
	for _, s := range v.Shadow {
		c.verdicts[VerdictKey{v.Stage, s.Check, s.Action, true}]++
	}
	c.mu.Unlock()
}

func (c *counters) snapshot(active int) Stats {
	s := Stats{Stats: c.Stats(active)}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Verdicts = make(map[VerdictKey]uint64, len(c.verdicts))
	for k, n := range c.verdicts {
		s.Verdicts[k] = n
	}
	return s
}
