package record

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Register has a registry read the recorder's counters.
func (r *Recorder) Register(to prometheus.Registerer) {
	counter := func(name, help string, n *atomic.Uint64) {
		to.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) }))
	}
	counter("milterd_recorder_recorded_total", "Sessions, or parts of long ones, that were written.", &r.recorded)
	counter("milterd_recorder_dropped_total", "Sessions, or parts of long ones, that found record.buffer full.", &r.dropped)
	counter("milterd_recorder_lost_total", "Sessions, or parts of long ones, that could not be written.", &r.lost)
	counter("milterd_recorder_left_out_total", "Messages that cannot be recorded so that they replay.", &r.leftOut)
	counter("milterd_recorder_cut_total", "Messages beyond what is kept of one client, and those with too many recipients.", &r.cut)
	counter("milterd_recorder_written_bytes_total", "Octets written, before compression.", &r.bytes)
	counter("milterd_recorder_files_total", "Files begun.", &r.files)
	to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "milterd_recorder_failing", Help: "Whether the last attempt to write failed.",
	}, func() float64 {
		if r.failing.Load() {
			return 1
		}
		return 0
	}))
}
