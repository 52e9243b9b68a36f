package status

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"milterd/milter/door"
)

// maxScrapes is how many clients are given the metrics at one time; more get a 503.
const maxScrapes = 4

// Registry has the metrics of all parts of milterd, each registered by the part that
// counts: nothing is counted for the metrics alone. No counter is a difference of two
// that are read one after the other, as it could go down. milterd-metrics(7) says
// what they mean.
type Registry struct {
	*prometheus.Registry
	logger *slog.Logger
	panics door.PanicLog
}

var _ prometheus.Registerer = (*Registry)(nil)

// NewRegistry makes a registry with the metrics of every Go program, and with what this
// one was built from.
func NewRegistry(logger *slog.Logger) *Registry {
	r := &Registry{Registry: prometheus.NewRegistry(), logger: logger}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if info, ok := debug.ReadBuildInfo(); ok {
		build := prometheus.Labels{"version": info.Main.Version, "revision": "", "goversion": info.GoVersion}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				build["revision"] = setting.Value
			}
		}
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "milterd_build_info", Help: "What this milterd was built from; always 1.", ConstLabels: build,
		}, func() float64 { return 1 }))
	}
	return r
}

// Register adds metrics to the page.
func (r *Registry) Register(c prometheus.Collector) error {
	return r.Registry.Register(guarded{c, r})
}

// MustRegister does so, and panics if one is there already.
func (r *Registry) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// guarded keeps a panic in Collect from ending mail as well: it runs in a goroutine of
// the library's.
type guarded struct {
	prometheus.Collector
	registry *Registry
}

// errCollect stands for a defect in Collect.
var errCollect = errors.New("not all metrics can be given: an internal error")

// Collect gives the metrics of this moment.
func (g guarded) Collect(to chan<- prometheus.Metric) {
	defer func() {
		if value := recover(); value != nil {
			g.registry.panics.Log(g.registry.logger, "giving the metrics panicked", value)
			to <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(errCollect), errCollect)
		}
	}()
	g.Collector.Collect(to)
}

// Handler answers with the metrics, as Prometheus reads them.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		// One number that cannot be had takes none of the others away.
		ErrorHandling:       promhttp.ContinueOnError,
		ErrorLog:            errorLog{r.logger},
		MaxRequestsInFlight: maxScrapes,
		Timeout:             requestTimeout / 2,
	})
}

type errorLog struct{ *slog.Logger }

// Println is promhttp's form of a log.
func (l errorLog) Println(v ...any) { l.Warn("give the metrics", "error", v) }
