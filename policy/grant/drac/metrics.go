package drac

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Register has a registry read the server's counters.
func (s *Server) Register(r prometheus.Registerer) {
	n := &s.counter
	for result, n := range map[string]*atomic.Uint64{
		"granted": &n.granted, "refused": &n.refused, "failed": &n.failed, "denied": &n.denied, "malformed": &n.malformed,
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "milterd_drac_calls_total", Help: "Datagrams to the DRAC server, by result; denied: from a host that may not grant.",
			ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(n.Load()) }))
	}
}
