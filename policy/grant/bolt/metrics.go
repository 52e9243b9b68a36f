package bolt

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Register has a registry read how the writing goes.
func (s *Store) Register(r prometheus.Registerer) {
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("milterd_grant_file_pending", "Grants that wait to be written to grants.file.", func() float64 { return float64(s.Stats().Pending) })
	gauge("milterd_grant_file_failing", "Whether the last transaction of grants.file failed.", func() float64 {
		if s.Stats().Problem != "" {
			return 1
		}
		return 0
	})
	for result, n := range map[string]*atomic.Uint64{"success": &s.writes, "failure": &s.failures} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "milterd_grant_file_writes_total", Help: "Transactions of grants.file.", ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(n.Load()) }))
	}
}
