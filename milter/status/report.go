package status

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"milterd/milter/tally"
	"milterd/policy/printable"
)

// Report is what the page shows, and milterd -report prints.
type Report struct {
	Version string `json:"version,omitempty"`
	// Problem is why mail is not decided; empty while it is.
	Problem string `json:"problem,omitempty"`
	// Recordings says where the sessions come from, if they are not of a running milterd.
	Recordings string `json:"recordings,omitempty"`
	// Private: whom mail is from and for is hidden.
	Private bool `json:"private,omitempty"`
	*tally.Snapshot
	// Stops are those whose mail is stopped now; nil for recordings.
	Stops   *Stops   `json:"stops,omitempty"`
	InForce *InForce `json:"in_force,omitempty"`
	// State has the numbers of the metrics.
	State []Group `json:"state,omitempty"`
}

// InForce is what mail is judged by.
type InForce struct {
	// Config is the file of the configuration, empty for the built-in one.
	Config   string `json:"config,omitempty"`
	Mode     string `json:"mode"`
	Hostname string `json:"hostname"`
	Access   string `json:"access"`
	Entries  int    `json:"entries"`
	Features string `json:"features,omitempty"`
	// Local and Relay are how many names the classes w and R have.
	Local int       `json:"local"`
	Relay int       `json:"relay"`
	Since time.Time `json:"since"`
	// Shared is the private address that nearly all clients have, as something hides their
	// own (nat_guard); empty if there is none.
	Shared string `json:"shared_address,omitempty"`
	// Failure is what keeps the files as they are now from being in force.
	Failure  string   `json:"failure,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Settings are the keys that the environment sets or the file holds.
	Settings []Setting `json:"settings,omitempty"`
}

// Setting is a key of the configuration, and where it is set: FILE:LINE, or the variable.
type Setting struct {
	Key   string `json:"key"`
	Place string `json:"place"`
}

// Group is what one part of milterd counts.
type Group struct {
	Title  string  `json:"title"`
	Values []Value `json:"values"`
}

// Value is one number.
type Value struct {
	Name   string  `json:"name"`
	Help   string  `json:"help"`
	Labels string  `json:"labels,omitempty"`
	Value  float64 `json:"value"`
}

// groups are the parts of milterd, by what their metrics begin with.
var groups = []struct{ title, prefixes string }{
	{"Doors", "open_connections connections_total refused_connections accept_errors malformed panics map_"},
	{"Reloads", "config_ access_"},
	{"DNS lists, resolver and cache", "dns_"},
	{"Relay grants", "grant login_log"},
	{"Limits", "limit_"},
	{"Recorder", "recorder_"},
}

// State reads the metrics that the page shows: those that are about milterd and no
// histograms.
func State(from prometheus.Gatherer) []Group {
	// What cannot be had is left out; the log tells why.
	families, _ := from.Gather()
	state := make([]Group, len(groups))
	for _, family := range families {
		name, ours := strings.CutPrefix(family.GetName(), "milterd_")
		i := slices.IndexFunc(groups, func(g struct{ title, prefixes string }) bool {
			return slices.ContainsFunc(strings.Fields(g.prefixes), func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		})
		if !ours || i < 0 || family.GetType() == dto.MetricType_HISTOGRAM {
			continue
		}
		state[i].Title = groups[i].title
		for _, m := range family.GetMetric() {
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			state[i].Values = append(state[i].Values, Value{name, family.GetHelp(), labels(m.GetLabel()), value})
		}
	}
	return slices.DeleteFunc(state, func(g Group) bool { return g.Title == "" })
}

func labels(pairs []*dto.LabelPair) string {
	var texts []string
	for _, p := range pairs {
		texts = append(texts, printable.Text(p.GetValue()))
	}
	return strings.Join(texts, " ")
}

// Find leaves the verdicts in that have a text in one of the fields that name whom or
// what they are about, in any case.
func (r *Report) Find(text string) {
	text = strings.ToLower(strings.TrimSpace(text))
	if text == "" {
		return
	}
	r.Verdicts = slices.DeleteFunc(r.Verdicts, func(v tally.Verdict) bool {
		return !slices.ContainsFunc([]string{v.Client, v.Name, v.PTR, v.Helo, v.Queue, v.From, v.To, v.User, v.Check, v.Action},
			func(field string) bool { return strings.Contains(strings.ToLower(field), text) })
	})
}

// refusals are the checks that refused, the most frequent first.
func refusals(b *tally.Bar) []tally.Name {
	var all []tally.Name
	for name, n := range b.Refused {
		all = append(all, tally.Name{Name: name, Count: n})
	}
	slices.SortFunc(all, tally.MostFirst)
	return all
}
