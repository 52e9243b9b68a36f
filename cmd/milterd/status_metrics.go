package main

import (
	"errors"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"milterd/dnscheck"
	"milterd/milter"
	"milterd/milter/door"
	"milterd/milter/socketmap"
	"milterd/policy"
	"milterd/policy/replay/record"
)

// scrapes is how many clients are given the metrics at one time; more get a 503.
const scrapes = 4

// newStatusPage makes the status page of a milterd that runs; recorder is nil where
// nothing is recorded.
func newStatusPage(r *reloader, d *doors, recorder *record.Recorder) statusPage {
	return statusPage{
		problem: func() string { return problem(r, d) },
		metrics: promhttp.HandlerFor(newRegistry(r, d, recorder), promhttp.HandlerOpts{
			// One number that cannot be had takes none of the others away.
			ErrorHandling:       promhttp.ContinueOnError,
			ErrorLog:            metricErrors{r},
			MaxRequestsInFlight: scrapes,
			Timeout:             statusRequestTimeout / 2,
		}),
	}
}

// metricErrors logs what keeps metrics from being given.
type metricErrors struct{ *reloader }

// Println is promhttp's form of a log.
func (e metricErrors) Println(v ...any) { e.logger.Warn("give the metrics", "error", v) }

func newRegistry(r *reloader, d *doors, recorder *record.Recorder) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&statusCollector{reloader: r, doors: d, recorder: recorder},
	)
	return registry
}

// statusCollector makes metrics of the counters that the parts of milterd keep
// anyway, when somebody asks: nothing is counted for the metrics alone. No counter is
// a difference of two that are read one after the other, as it could go down.
// metrics.md says what they mean.
type statusCollector struct {
	reloader *reloader
	doors    *doors
	recorder *record.Recorder
	panics   door.PanicLog
}

// errCollect stands for a defect in Collect.
var errCollect = errors.New("not all metrics can be given: an internal error")

// Describe says nothing: which metrics there are depends on the configuration.
func (c *statusCollector) Describe(chan<- *prometheus.Desc) {}

// Collect gives the metrics of this moment. It runs in a goroutine of the library's,
// where a panic would end mail as well.
func (c *statusCollector) Collect(to chan<- prometheus.Metric) {
	send := samples(to)
	defer func() {
		if value := recover(); value != nil {
			c.panics.Log(c.reloader.logger, "giving the metrics panicked", value)
			to <- prometheus.NewInvalidMetric(buildInfo.desc, errCollect)
		}
	}()
	send.build()
	send.filterDoor(c.doors.filter.Stats())
	send.mapDoor(c.doors.maps.Stats(), c.doors.access.Granted())
	send.policy(c.reloader.current.Load(), &c.reloader.outcome)
	if client := c.reloader.dns.slot.client.Load(); client != nil {
		send.dns(client.Stats())
	}
	if health := c.reloader.lists.Load(); health != nil {
		send.lists(health.States())
	}
	if g := c.reloader.grants; g != nil {
		send.grants(g)
	}
	if c.recorder != nil {
		send.recorder(c.recorder.Stats())
	}
}

// samples are metrics on their way to the page.
type samples chan<- prometheus.Metric

// metric is what the values of one name have in common.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("milterd_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("milterd_"+name, help, labels, nil), prometheus.GaugeValue}
}

// add sends one value. One that cannot be is an error of the whole page's, not a
// panic: it would end the process.
func (s samples) add(m metric, value float64, labels ...string) {
	sample, err := prometheus.NewConstMetric(m.desc, m.kind, value, labels...)
	if err != nil {
		sample = prometheus.NewInvalidMetric(m.desc, err)
	}
	s <- sample
}

func (s samples) count(m metric, n uint64, labels ...string) { s.add(m, float64(n), labels...) }

// flag sends 1 for true.
func (s samples) flag(m metric, on bool, labels ...string) {
	value := 0.0
	if on {
		value = 1
	}
	s.add(m, value, labels...)
}

var buildInfo = gauge("build_info", "What this milterd was built from; always 1.", "version", "revision", "goversion")

func (s samples) build() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	revision := ""
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			revision = setting.Value
		}
	}
	s.add(buildInfo, 1, info.Main.Version, revision, info.GoVersion)
}

// Metrics of the doors.
var (
	openConnections    = gauge("open_connections", "Connections from MTAs that are open.", "door")
	connections        = counter("connections_total", "Connections from MTAs, refused ones included.", "door")
	refusedConnections = counter("refused_connections_total", "Connections closed because listen.max_connections were open.", "door")
	acceptErrors       = counter("accept_errors_total", "Errors on the listening sockets that passed, such as too many open files.", "door")
	malformedRequests  = counter("malformed_requests_total", "Connections closed because the peer broke the protocol.", "door")
	panics             = counter("panics_total", "Requests that met a defect of milterd and were answered with a temporary failure.", "door")
	verdicts           = counter("verdicts_total", "Verdicts on MAIL, RCPT and ends of messages, by the check that decided (none: all passed) and what the MTA was told; mode shadow: would have been told.", "stage", "check", "action", "mode")
	mapLookups         = counter("map_lookups_total", "Look-ups of sendmail's rules, by map (unknown: one that there is not) and answer.", "map", "status")
	mapGrants          = counter("map_granted_lookups_total", "Look-ups in the map access that a relay grant answered.")
)

// The values of the label door.
const (
	filterDoor = "filter"
	mapDoor    = "map"
)

// door sends what both doors count.
func (s samples) door(name string, stats door.Stats) {
	s.add(openConnections, float64(stats.Active), name)
	s.count(connections, stats.Connections, name)
	s.count(refusedConnections, stats.Refused, name)
	s.count(acceptErrors, stats.AcceptErrors, name)
	s.count(malformedRequests, stats.Malformed, name)
	s.count(panics, stats.Panics, name)
}

func (s samples) filterDoor(stats milter.Stats) {
	s.door(filterDoor, stats.Stats)
	for key, n := range stats.Verdicts {
		check := key.Check
		if check == "" {
			check = "none"
		}
		mode := policy.ModeEnforce
		if key.Shadow {
			mode = policy.ModeShadow
		}
		s.count(verdicts, n, string(key.Stage), check, string(key.Action), string(mode))
	}
}

func (s samples) mapDoor(stats socketmap.Stats, granted uint64) {
	s.door(mapDoor, stats.Stats)
	for key, n := range stats.Lookups {
		name := key.Map
		if name == "" {
			name = "unknown"
		}
		s.count(mapLookups, n, name, string(key.Status))
	}
	s.count(mapGrants, granted)
}

// Metrics of the policy in force.
var (
	accessEntries     = gauge("access_entries", "Entries of the access table in force.")
	reloads           = counter("config_reloads_total", "Reloads since the start; a failed one is tried, and counted, again.", "result")
	lastReload        = gauge("config_last_reload_successful", "Whether the last reload succeeded; 0: an older policy is in force than the files hold.")
	lastReloadSuccess = gauge("config_last_reload_success_timestamp_seconds", "When a policy was put in force last, at the start or by a reload.")
)

func (s samples) policy(now *door.Snapshot, outcome *reloadOutcome) {
	if now != nil && now.Policy != nil {
		s.add(accessEntries, float64(now.Policy.Access.Len()))
	}
	s.count(reloads, outcome.succeeded.Load(), "success")
	s.count(reloads, outcome.failed.Load(), "failure")
	s.flag(lastReload, !outcome.failing.Load())
	s.add(lastReloadSuccess, float64(outcome.last.Load()))
}

// Metrics of the DNS. A reload that changes the section dns begins them anew.
var (
	dnsLookups      = counter("dns_lookups_total", "Look-ups in the DNS that checks asked for.")
	dnsCacheAnswers = counter("dns_cache_answers_total", "Look-ups answered from the cache; stale: after the answer's time (dns.stale).", "age")
	dnsQueries      = counter("dns_queries_total", "Messages sent to DNS servers, retries included.")
	dnsTCPQueries   = counter("dns_tcp_queries_total", "Messages sent to DNS servers over TCP, because an answer was truncated.")
	dnsFailures     = counter("dns_failures_total", "Tries that brought no answer, by reason; loop: look-ups with too many aliases.", "reason")
	dnsIgnored      = counter("dns_ignored_messages_total", "Messages that did not answer the question, possibly forged.")
	dnsCanceled     = counter("dns_canceled_lookups_total", "Look-ups that nobody waited for any more.")
	dnsCrowded      = counter("dns_crowded_lookups_total", "Look-ups that waited because too many others were under way.")
	dnsWaiting      = gauge("dns_waiting_lookups", "Look-ups that are under way or wait.")
	dnsCacheEntries = gauge("dns_cache_entries", "Answers in the cache.")
	dnsCacheBytes   = gauge("dns_cache_bytes", "About the memory that the cache takes.")
	listBypassed    = gauge("dns_list_bypassed", "Whether a DNS list is left out, because it is dead or lists everything.", "list", "for")
)

func (s samples) dns(stats dnscheck.Stats) {
	s.count(dnsLookups, stats.Lookups)
	s.count(dnsCacheAnswers, stats.Hits, "fresh")
	s.count(dnsCacheAnswers, stats.Stale, "stale")
	s.count(dnsQueries, stats.Queries)
	s.count(dnsTCPQueries, stats.TCP)
	s.count(dnsFailures, stats.Timeouts, "timeout")
	s.count(dnsFailures, stats.Network, "network")
	s.count(dnsFailures, stats.ServFail, "servfail")
	s.count(dnsFailures, stats.Lame, "lame")
	s.count(dnsFailures, stats.Loops, "loop")
	s.count(dnsIgnored, stats.Ignored)
	s.count(dnsCanceled, stats.Canceled)
	s.count(dnsCrowded, stats.Crowded)
	s.add(dnsWaiting, float64(stats.Waiting))
	s.add(dnsCacheEntries, float64(stats.Entries))
	s.add(dnsCacheBytes, float64(stats.Bytes))
}

func (s samples) lists(states []dnscheck.ListHealth) {
	for _, list := range states {
		s.flag(listBypassed, list.Problem != "", list.List, list.For)
	}
}

// Metrics of the recorder.
var (
	recorderRecorded = counter("recorder_recorded_total", "Sessions, or parts of long ones, that were written.")
	recorderDropped  = counter("recorder_dropped_total", "Sessions, or parts of long ones, that found record.buffer full.")
	recorderLost     = counter("recorder_lost_total", "Sessions, or parts of long ones, that could not be written.")
	recorderLeftOut  = counter("recorder_left_out_total", "Messages that cannot be recorded so that they replay.")
	recorderCut      = counter("recorder_cut_total", "Messages beyond what is kept of one client, and those with too many recipients.")
	recorderBytes    = counter("recorder_written_bytes_total", "Octets written, before compression.")
	recorderFiles    = counter("recorder_files_total", "Files begun.")
	recorderFailing  = gauge("recorder_failing", "Whether the last attempt to write failed.")
)

func (s samples) recorder(stats record.Stats) {
	s.count(recorderRecorded, stats.Recorded)
	s.count(recorderDropped, stats.Dropped)
	s.count(recorderLost, stats.Lost)
	s.count(recorderLeftOut, stats.LeftOut)
	s.count(recorderCut, stats.Cut)
	s.count(recorderBytes, stats.Bytes)
	s.count(recorderFiles, stats.Files)
	s.flag(recorderFailing, stats.Failing)
}
