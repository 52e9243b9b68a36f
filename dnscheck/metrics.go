package dnscheck

import "github.com/prometheus/client_golang/prometheus"

// Register has a registry read the counters of the Client in force, which begin anew with
// another, and how the DNS lists are.
func (l *Live) Register(r prometheus.Registerer) { r.MustRegister(collector{l}) }

// collector is a prometheus.Collector: which lists there are changes with a reload.
type collector struct{ *Live }

// Describe sends nothing.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of this moment.
func (c collector) Collect(to chan<- prometheus.Metric) {
	c.Stats().collect(to)
	c.health.collect(to)
}

func (s Stats) collect(to chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, value float64, labels prometheus.Labels) {
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), kind, value)
	}
	count := func(name, help string, n uint64) { send(prometheus.CounterValue, name, help, float64(n), nil) }
	count("milterd_dns_lookups_total", "Look-ups in the DNS that checks asked for.", s.Lookups)
	count("milterd_dns_queries_total", "Messages sent to DNS servers, retries included.", s.Queries)
	count("milterd_dns_tcp_queries_total", "Messages sent to DNS servers over TCP, because an answer was truncated.", s.TCP)
	count("milterd_dns_ignored_messages_total", "Messages that did not answer the question, possibly forged.", s.Ignored)
	count("milterd_dns_canceled_lookups_total", "Look-ups that nobody waited for any more.", s.Canceled)
	count("milterd_dns_crowded_lookups_total", "Look-ups that waited because too many others were under way.", s.Crowded)
	for age, n := range map[string]uint64{"fresh": s.Hits, "stale": s.Stale} {
		send(prometheus.CounterValue, "milterd_dns_cache_answers_total", "Look-ups answered from the cache; stale: after the answer's time (dns.stale).",
			float64(n), prometheus.Labels{"age": age})
	}
	for reason, n := range map[string]uint64{"timeout": s.Timeouts, "network": s.Network, "servfail": s.ServFail, "lame": s.Lame, "loop": s.Loops} {
		send(prometheus.CounterValue, "milterd_dns_failures_total", "Tries that brought no answer, by reason; loop: look-ups with too many aliases.",
			float64(n), prometheus.Labels{"reason": reason})
	}
	send(prometheus.GaugeValue, "milterd_dns_waiting_lookups", "Look-ups that are under way or wait.", float64(s.Waiting), nil)
	send(prometheus.GaugeValue, "milterd_dns_cache_entries", "Answers in the cache.", float64(s.Entries), nil)
	send(prometheus.GaugeValue, "milterd_dns_cache_bytes", "About the memory that the cache takes.", float64(s.Bytes), nil)
}

var listBypassed = prometheus.NewDesc("milterd_dns_list_bypassed", "Whether a DNS list is left out, because it is dead or lists everything.", []string{"list", "for"}, nil)

func (h *Health) collect(to chan<- prometheus.Metric) {
	for _, list := range h.States() {
		bypassed := 0.0
		if list.Problem != "" {
			bypassed = 1
		}
		to <- prometheus.MustNewConstMetric(listBypassed, prometheus.GaugeValue, bypassed, list.List, list.For)
	}
}
