package limits

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/policy"
)

// counters are what the metrics tell. Their labels are names of limits, which the
// configuration holds, and never what is counted for.
type counters struct {
	blocked, local, storeErrors atomic.Uint64
	limits                      sync.Map // name to *limitCounters
}

type limitCounters struct{ room, over, shadow, begun atomic.Uint64 }

func (c *counters) of(limit string) *limitCounters {
	if n, ok := c.limits.Load(limit); ok {
		return n.(*limitCounters)
	}
	n, _ := c.limits.LoadOrStore(limit, new(limitCounters))
	return n.(*limitCounters)
}

func (c *counters) asked(q *policy.LimitQuery) {
	n := c.of(q.Limit.Name)
	switch {
	case q.Answer.Wait <= 0:
		n.room.Add(1)
	case q.Enforced:
		n.over.Add(1)
	default:
		n.shadow.Add(1)
	}
}

func (c *counters) began(limit string) { c.of(limit).begun.Add(1) }

var (
	askedDesc = prometheus.NewDesc("milterd_limit_questions_total", "Questions to the limits, by limit and answer; shadow: no room, but the limit is in shadow mode.", []string{"limit", "result"}, nil)
	begunDesc = prometheus.NewDesc("milterd_limit_reached_total", "How often a limit began to refuse a login, client or sender.", []string{"limit"}, nil)
	nearDesc  = prometheus.NewDesc("milterd_limit_keys", "Logins, clients and senders that are near a limit, or that it refuses.", []string{"limit", "state"}, nil)
	countDesc = prometheus.NewDesc("milterd_limit_counts", "Counts that are kept in memory.", nil, nil)
	blockDesc = prometheus.NewDesc("milterd_limit_blocked_total", "Recipients put off because their sender's login is blocked by hand.", nil, nil)
	localDesc = prometheus.NewDesc("milterd_limit_local_total", "Questions answered by this host alone, as the shared store was away.", nil, nil)
	errorDesc = prometheus.NewDesc("milterd_limit_store_errors_total", "Operations of the shared store that failed.", nil, nil)
	toldDesc  = prometheus.NewDesc("milterd_limit_notify_total", "Runs of limits.notify: done, failed, or dropped as too many limits began to refuse at once.", []string{"result"}, nil)
	awayDesc  = prometheus.NewDesc("milterd_limit_store_away", "Whether the shared store is away, so that this host counts alone.", nil, nil)
)

var _ prometheus.Collector = (*Keeper)(nil)

// Describe implements prometheus.Collector.
func (k *Keeper) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{askedDesc, begunDesc, nearDesc, countDesc, blockDesc, localDesc, errorDesc, toldDesc, awayDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (k *Keeper) Collect(to chan<- prometheus.Metric) {
	total := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	near, over := make(map[string]int), make(map[string]int)
	for _, n := range k.Near() {
		if n.Since.IsZero() {
			near[n.Limit]++
		} else {
			over[n.Limit]++
		}
	}
	for _, l := range *k.rules.Load() {
		n := k.count.of(l.Name)
		total(askedDesc, n.room.Load(), l.Name, "room")
		total(askedDesc, n.over.Load(), l.Name, "over")
		total(askedDesc, n.shadow.Load(), l.Name, "shadow")
		total(begunDesc, n.begun.Load(), l.Name)
		gauge(nearDesc, near[l.Name], l.Name, "near")
		gauge(nearDesc, over[l.Name], l.Name, "over")
	}
	gauge(countDesc, k.memory.Len())
	total(blockDesc, k.count.blocked.Load())
	total(localDesc, k.count.local.Load())
	total(errorDesc, k.count.storeErrors.Load())
	total(toldDesc, k.notify.ran.Load(), "done")
	total(toldDesc, k.notify.failed.Load(), "failed")
	total(toldDesc, k.notify.dropped.Load(), "dropped")
	away := 0
	if k.away.Load() {
		away = 1
	}
	gauge(awayDesc, away)
}
