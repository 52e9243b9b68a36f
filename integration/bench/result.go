package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// baseline is the filter that the others are compared with.
const baseline = "empty-C"

// sample is what one filter did in one round.
type sample struct {
	Filter string `json:"filter"`
	AtOnce int    `json:"at_once"`
	Round  int    `json:"round"`
	// CPU is the processor time of a session in µs, Rate sessions a second.
	CPU  float64 `json:"cpu_us"`
	Rate float64 `json:"sessions_per_s"`
}

// once is what is measured once a filter. What was not measured is 0.
type once struct {
	Filter      string  `json:"filter"`
	Syscalls    float64 `json:"syscalls_per_session"`
	Allocations float64 `json:"allocations_per_session"`
	Idle        float64 `json:"kib_per_idle_connection"`
}

// spread is a median, with the least and the greatest.
type spread struct{ Median, Low, High float64 }

func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]}
}

// row is one line of the table: the spreads over all rounds. The ratios are to the
// baseline in the same round.
type row struct {
	Filter    string `json:"filter"`
	AtOnce    int    `json:"at_once"`
	CPU       spread `json:"cpu_us"`
	CPURatio  spread `json:"cpu_ratio"`
	Rate      spread `json:"sessions_per_s"`
	RateRatio spread `json:"sessions_ratio"`
}

func rows(samples []sample) []row {
	type at struct {
		filter        string
		atOnce, round int
	}
	found := make(map[at]sample)
	for _, s := range samples {
		found[at{s.Filter, s.AtOnce, s.Round}] = s
	}
	var all []row
	for _, s := range samples {
		if slices.ContainsFunc(all, func(r row) bool { return r.Filter == s.Filter && r.AtOnce == s.AtOnce }) {
			continue
		}
		var cpu, cpuRatio, rate, rateRatio []float64
		for _, t := range samples {
			base, ok := found[at{baseline, t.AtOnce, t.Round}]
			if !ok || t.Filter != s.Filter || t.AtOnce != s.AtOnce {
				continue
			}
			cpu, cpuRatio = append(cpu, t.CPU), append(cpuRatio, t.CPU/base.CPU)
			rate, rateRatio = append(rate, t.Rate), append(rateRatio, t.Rate/base.Rate)
		}
		all = append(all, row{s.Filter, s.AtOnce, spreadOf(cpu), spreadOf(cpuRatio), spreadOf(rate), spreadOf(rateRatio)})
	}
	slices.SortStableFunc(all, func(a, b row) int { return cmp.Compare(a.AtOnce, b.AtOnce) })
	return all
}

// report is all that was measured.
type report struct {
	Steps   string   `json:"steps"`
	Rounds  int      `json:"rounds"`
	Rows    []row    `json:"rows"`
	Once    []once   `json:"once"`
	Samples []sample `json:"samples"`
}

func (r *report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s; %d rounds: median (least to greatest)\n", r.Steps, r.Rounds)
	fmt.Fprintln(t, "filter\tat once\tCPU µs/session\tto "+baseline+"\tsessions/s\tto "+baseline+"\t")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.2f (%.2f to %.2f)\t%.0f\t%.2f (%.2f to %.2f)\t\n", row.Filter, row.AtOnce,
			row.CPU.Median, row.CPURatio.Median, row.CPURatio.Low, row.CPURatio.High,
			row.Rate.Median, row.RateRatio.Median, row.RateRatio.Low, row.RateRatio.High)
	}
	fmt.Fprintln(t, "\t\t\t\t\t\t")
	fmt.Fprintln(t, "filter\tsyscalls/session\tallocations/session\tKiB/idle connection\t")
	for _, o := range r.Once {
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.1f\t\n", o.Filter, o.Syscalls, o.Allocations, o.Idle)
	}
	return t.Flush()
}

func (r *report) write(file string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
