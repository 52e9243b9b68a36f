package socketmap

import "github.com/prometheus/client_golang/prometheus"

// Register has a registry read the server's counters.
func (s *Server) Register(r prometheus.Registerer) {
	s.counter.Register(r, "map", func() int { return s.Stats().Active })
	s.unknown.register(r, "unknown")
	for name, m := range s.maps {
		m.counter.register(r, name)
	}
}

// register has a registry read the counters of one map.
func (c *mapCounters) register(r prometheus.Registerer, name string) {
	for i, status := range statuses {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "milterd_map_lookups_total", Help: "Look-ups of sendmail's rules, by map (unknown: one that there is not) and answer.",
			ConstLabels: prometheus.Labels{"map": name, "status": string(status)},
		}, func() float64 { return float64(c[i].Load()) }))
	}
}

// Register has a registry read how many look-ups grants have answered.
func (a *Access) Register(r prometheus.Registerer) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "milterd_map_granted_lookups_total", Help: "Look-ups in the map access that a relay grant answered.",
	}, func() float64 { return float64(a.Granted()) }))
}
