package dovecot

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Register has a registry read the server's counters.
func (s *Server) Register(r prometheus.Registerer) {
	counter := func(name, help string, labels prometheus.Labels, n *atomic.Uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(n.Load()) }))
	}
	n := &s.count
	for kind, n := range map[string]*atomic.Uint64{"allow": &n.allows, "report": &n.reports, "forbidden": &n.forbidden, "malformed": &n.malformed} {
		counter("milterd_dovecot_requests_total", "Requests to the Dovecot auth policy server, by kind; forbidden: without the secret.", prometheus.Labels{"kind": kind}, n)
	}
	for kind, n := range map[string]*atomic.Uint64{"login": &n.logins, "unsuccessful": &n.unsuccessful, "ignored": &n.ignored} {
		counter("milterd_dovecot_reports_total", "Logins that Dovecot reported; unsuccessful: they failed, ignored: not of POP or IMAP, or without an address or a name.", prometheus.Labels{"kind": kind}, n)
	}
	counter("milterd_dovecot_failed_grants_total", "Logins that Dovecot reported and the store could not take.", nil, &n.failed)
}
