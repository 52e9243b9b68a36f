package dnscheck

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Stats counts what a Client does. The counters never go down.
type Stats struct {
	Lookups   atomic.Uint64 // questions the client was asked
	Hits      atomic.Uint64 // answered from the cache
	Stale     atomic.Uint64 // answered from the cache after their time (Config.StaleTTL)
	Queries   atomic.Uint64 // messages sent to servers, retries and TCP included
	TCP       atomic.Uint64 // of these, over TCP, because the answer was truncated
	Timeouts  atomic.Uint64 // tries without an answer in time
	Network   atomic.Uint64 // tries that failed otherwise: refused, unreachable
	ServFail  atomic.Uint64 // answers SERVFAIL, REFUSED and the like
	Referrals atomic.Uint64 // answers that only point to other servers
	Loops     atomic.Uint64 // look-ups that ran out of steps along aliases
	Ignored   atomic.Uint64 // messages that did not answer the question: possibly forged
	Canceled  atomic.Uint64 // look-ups given up by the caller
	Queued    atomic.Uint64 // look-ups that found MaxQueries others under way and waited
	Waiting   atomic.Int64  // look-ups under way or waiting at this moment
}

// Stats is what the client has done so far; it goes on counting.
func (c *Client) Stats() *Stats { return &c.stats }

// Register has a registry read the counters of the Client in force, which begin anew with
// another, and how the DNS lists are.
func (l *Live) Register(r prometheus.Registerer) { r.MustRegister(collector{l}, l.health.duration) }

// collector is a prometheus.Collector: which lists there are changes with a reload.
type collector struct{ *Live }

func (collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(to chan<- prometheus.Metric) {
	c.client.Load().collect(to)
	c.health.collect(to)
}

func (c *Client) collect(to chan<- prometheus.Metric) {
	s := &c.stats
	send := func(kind prometheus.ValueType, name, help string, value float64, labels prometheus.Labels) {
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), kind, value)
	}
	count := func(name, help string, n *atomic.Uint64, labels prometheus.Labels) {
		send(prometheus.CounterValue, name, help, float64(n.Load()), labels)
	}
	count("milterd_dns_lookups_total", "Look-ups in the DNS that checks asked for.", &s.Lookups, nil)
	count("milterd_dns_queries_total", "Messages sent to DNS servers, retries included.", &s.Queries, nil)
	count("milterd_dns_tcp_queries_total", "Messages sent to DNS servers over TCP, because an answer was truncated.", &s.TCP, nil)
	count("milterd_dns_ignored_messages_total", "Messages that did not answer the question, possibly forged.", &s.Ignored, nil)
	count("milterd_dns_canceled_lookups_total", "Look-ups that nobody waited for any more.", &s.Canceled, nil)
	count("milterd_dns_crowded_lookups_total", "Look-ups that waited because too many others were under way.", &s.Queued, nil)
	for age, n := range map[string]*atomic.Uint64{"fresh": &s.Hits, "stale": &s.Stale} {
		count("milterd_dns_cache_answers_total", "Look-ups answered from the cache; stale: after the answer's time (dns.stale).",
			n, prometheus.Labels{"age": age})
	}
	for reason, n := range map[string]*atomic.Uint64{"timeout": &s.Timeouts, "network": &s.Network, "servfail": &s.ServFail, "lame": &s.Referrals, "loop": &s.Loops} {
		count("milterd_dns_failures_total", "Tries that brought no answer, by reason; loop: look-ups with too many aliases.",
			n, prometheus.Labels{"reason": reason})
	}
	send(prometheus.GaugeValue, "milterd_dns_waiting_lookups", "Look-ups that are under way or wait.", float64(s.Waiting.Load()), nil)
	send(prometheus.GaugeValue, "milterd_dns_cache_entries", "Answers in the cache.", float64(c.cache.EstimatedSize()), nil)
	send(prometheus.GaugeValue, "milterd_dns_cache_bytes", "About the memory that the cache takes.", float64(c.cache.WeightedSize()), nil)
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
