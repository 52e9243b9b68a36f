package door

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Counters are the counters that both doors have.
type Counters struct {
	// Connections counts the connections from MTAs since the start, refused ones
	// included, and Refused those that were closed because there were too many.
	Connections, Refused atomic.Uint64
	// AcceptErrors counts the temporary errors of Accept, e.g. too many open files.
	AcceptErrors atomic.Uint64
	// Malformed counts the connections closed because of a malformed frame or
	// request, one that stopped half-way included.
	Malformed atomic.Uint64
	// Panics counts the callbacks or look-ups that panicked and were answered with
	// a temporary failure.
	Panics atomic.Uint64
}

// Register has a registry read the counters of the door with this name; active counts
// its open connections.
func (c *Counters) Register(r prometheus.Registerer, name string, active func() int) {
	r = prometheus.WrapRegistererWith(prometheus.Labels{"door": name}, r)
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "milterd_open_connections", Help: "Connections from MTAs that are open.",
	}, func() float64 { return float64(active()) }))
	counter := func(name, help string, n *atomic.Uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) }))
	}
	counter("milterd_connections_total", "Connections from MTAs, refused ones included.", &c.Connections)
	counter("milterd_refused_connections_total", "Connections closed because listen.max_connections were open.", &c.Refused)
	counter("milterd_accept_errors_total", "Errors on the listening sockets that passed, such as too many open files.", &c.AcceptErrors)
	counter("milterd_malformed_requests_total", "Connections closed because the peer broke the protocol.", &c.Malformed)
	counter("milterd_panics_total", "Requests that met a defect of milterd and were answered with a temporary failure.", &c.Panics)
}
