// Bench compares milterd's filter door with an empty filter on sendmail's own library:
// what a session costs in processor time, how many there are a second, and what they
// take of system calls, allocations and memory.
//
//	go run ./integration/bench [-rounds N] [-fields] [-json FILE] [-against MILTERD]
//	go run ./integration/bench -reload 1000000
//
// All filters run side by side, each as a process of its own, and agree with the MTA on
// the same steps. In each round they take turns; what counts are the ratios within one
// round. README.md in this directory has the last figures.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// countedAtOnce is how many sessions there are at a time while system calls and
// allocations are counted.
const countedAtOnce = 16

func main() {
	var (
		rounds   = flag.Int("rounds", 7, "rounds")
		sessions = flag.Int("sessions", 2000, "sessions of a filter in a round; a quarter of them one at a time")
		counted  = flag.Int("counted", 600, "sessions in which system calls and allocations are counted")
		idlers   = flag.Int("idle", 5000, "idle connections whose memory is measured")
		fields   = flag.Bool("fields", false, "milterd scrubs headers, so that header fields are sent")
		million  = flag.Bool("million", true, "a milterd with a table of 1,000,000 lines as well")
		file     = flag.String("json", "", "file for the figures")
		milterd  = flag.String("milterd", "", "the milterd to measure; empty: that of this source")
		against  = flag.String("against", "", "another milterd, to compare with")
		only     = flag.String("only", "", "filters to measure beside "+baseline+", by name, with commas; empty: all")
		reload   = flag.Int("reload", 0, "measure instead how soon a saved table of so many lines is in force")
		o        options
		empty    = flag.String("empty", "", "serve the empty filter on go-milter at this socket, and nothing more")
		metrics  = flag.String("metrics", "", "where it tells what it has allocated")
		actions  = flag.Uint("actions", 0, "what it negotiates")
		steps    = flag.Uint("steps", 0, "what it negotiates")
	)
	flag.Parse()
	o = options{uint32(*actions), uint32(*steps)}
	err := error(nil)
	if *empty != "" {
		err = serveEmpty(*empty, *metrics, o)
	} else {
		b := bench{rounds: *rounds, sessions: *sessions, counted: *counted, idle: *idlers, fields: *fields, million: *million, milterd: *milterd, against: *against, only: *only, reload: *reload}
		err = b.run(*file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	rounds, sessions, counted, idle int
	fields, million                 bool
	milterd, against                string
	only                            string
	reload                          int

	dir     string
	filters []*filter
	scripts []script
}

func (b *bench) run(file string) (err error) {
	if b.dir, err = os.MkdirTemp("", "milterd-bench"); err != nil {
		return err
	}
	defer func() {
		for _, f := range b.filters {
			err = errors.Join(err, f.stop())
		}
		err = errors.Join(err, os.RemoveAll(b.dir))
	}()
	if b.milterd == "" {
		if b.milterd, err = buildMilterd(b.dir); err != nil {
			return err
		}
	}
	if b.reload > 0 {
		return b.reloads(b.reload, os.Stdout)
	}
	dns, err := startDNS()
	if err != nil {
		return err
	}
	defer dns.Close()
	if err := b.start(dns.Addr()); err != nil {
		return err
	}
	r := &report{Rounds: b.rounds, Steps: "header fields waived"}
	if b.fields {
		r.Steps = fmt.Sprintf("%d header fields sent", len(fields))
	}
	if r.Samples, err = b.sample(); err != nil {
		return err
	}
	r.Rows = rows(r.Samples)
	for _, f := range b.filters {
		o, err := b.once(f)
		if err != nil {
			return f.failed(err)
		}
		r.Once = append(r.Once, o)
	}
	if file != "" {
		err = r.write(file)
	}
	return errors.Join(err, r.print(os.Stdout))
}

// settings are the milterds that are measured. The first negotiates for all filters.
func (b *bench) settings() []setting {
	all := []setting{{name: "milterd", program: b.milterd, lines: 100_000}}
	if b.against != "" {
		all = append(all, setting{name: "milterd-other", program: b.against, lines: 100_000},
			setting{name: "milterd-other-all-checks", program: b.against, lines: 100_000, more: allChecks})
	}
	all = append(all,
		setting{name: "milterd-all-checks", program: b.milterd, lines: 100_000, more: allChecks},
		setting{name: "milterd-warn", program: b.milterd, lines: 100_000, more: "log: {level: warn}\n"},
		setting{name: "milterd-recording", program: b.milterd, lines: 100_000, more: "record: {dir: DIR.recordings}\n"})
	if b.million {
		all = append(all, setting{name: "milterd-million", program: b.milterd, lines: 1_000_000})
	}
	if b.fields {
		for i := range all {
			all[i].more += "received: {whose: [authenticated, relayed]}\n"
		}
	}
	return slices.DeleteFunc(all, func(s setting) bool { return !b.wants(s.name) })
}

func (b *bench) wants(name string) bool {
	return b.only == "" || slices.Contains(strings.Split(b.only, ","), name)
}

// start starts all filters.
func (b *bench) start(dns string) error {
	for _, s := range b.settings() {
		f, err := startMilterd(b.dir, dns, s)
		if err != nil {
			return err
		}
		b.filters = append(b.filters, f)
	}
	if len(b.filters) == 0 {
		return fmt.Errorf("no milterd among %s", b.only)
	}
	o, err := negotiated(b.filters[0].socket)
	if err != nil {
		return err
	}
	for n := range clients {
		b.scripts = append(b.scripts, newScript(n, o))
	}
	empty := []func(string, options) (*filter, error){startEmptyC}
	if b.wants(library) {
		empty = append(empty, startEmptyGo)
	}
	for _, start := range empty {
		f, err := start(b.dir, o)
		if err != nil {
			return err
		}
		b.filters = append(b.filters, f)
	}
	for _, f := range b.filters {
		if got, err := negotiated(f.socket); err != nil || got != o {
			return fmt.Errorf("%s negotiates %x (%v), expected %x as milterd", f.name, got, err, o)
		}
		// Each client's look-ups are in the cache after this.
		if _, err := load(f.socket, b.scripts, 2*len(b.scripts), countedAtOnce); err != nil {
			return f.failed(err)
		}
	}
	return nil
}

// sample runs the rounds. The order of the filters turns from round to round.
func (b *bench) sample() ([]sample, error) {
	var all []sample
	for round := range b.rounds {
		for _, atOnce := range []int{1, 16, 256} {
			sessions := b.sessions
			if atOnce == 1 {
				sessions /= 4
			}
			for i := range b.filters {
				f := b.filters[(i+round)%len(b.filters)]
				before, err := f.cpu()
				if err != nil {
					return nil, err
				}
				took, err := load(f.socket, b.scripts, sessions, atOnce)
				if err != nil {
					return nil, f.failed(err)
				}
				after, err := f.cpu()
				if err != nil {
					return nil, err
				}
				all = append(all, sample{f.name, atOnce, round, float64((after - before).Nanoseconds()) / 1e3 / float64(sessions), float64(sessions) / took.Seconds()})
			}
		}
	}
	return all, nil
}

// once measures what does not vary.
func (b *bench) once(f *filter) (o once, err error) {
	o.Filter = f.name
	if f.metrics != "" {
		if o.Allocations, err = b.allocations(f); err != nil {
			return o, err
		}
	}
	if o.Syscalls, err = b.syscalls(f); err != nil {
		return o, err
	}
	before, err := f.resident()
	if err != nil {
		return o, err
	}
	closeAll, err := idle(f.socket, b.scripts, b.idle)
	if err != nil {
		return o, err
	}
	defer closeAll()
	after, err := f.resident()
	o.Idle = float64(after-before) / 1024 / float64(b.idle)
	return o, err
}

// allocations is those of a session. To ask costs some as well: so it is asked twice.
func (b *bench) allocations(f *filter) (float64, error) {
	var counts [3]float64
	for i := range counts {
		if i == 2 {
			if _, err := load(f.socket, b.scripts, b.counted, countedAtOnce); err != nil {
				return 0, err
			}
		}
		var err error
		if counts[i], err = f.allocations(); err != nil {
			return 0, err
		}
	}
	return (counts[2] - counts[1] - (counts[1] - counts[0])) / float64(b.counted), nil
}

var straceTotal = regexp.MustCompile(`(?m)^\s*100\.00\s+\S+\s+(?:\d+\s+)?(\d+)(?:\s+\d+)?\s+total`)

// syscalls has strace count the system calls of a session; 0 without strace.
func (b *bench) syscalls(f *filter) (float64, error) {
	if _, err := exec.LookPath("strace"); err != nil {
		return 0, nil
	}
	file := filepath.Join(b.dir, "strace")
	strace := exec.Command("strace", "-c", "-f", "-o", file, "-p", strconv.Itoa(f.process.Process.Pid))
	var said strings.Builder
	strace.Stderr = &said
	if err := strace.Start(); err != nil {
		return 0, err
	}
	if err := attached(f.process.Process.Pid); err != nil {
		return 0, errors.Join(err, strace.Process.Kill(), strace.Wait())
	}
	_, err := load(f.socket, b.scripts, b.counted, countedAtOnce)
	err = errors.Join(err, strace.Process.Signal(syscall.SIGINT))
	_ = strace.Wait() // it ends by the signal
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	total := straceTotal.FindSubmatch(text)
	if total == nil {
		return 0, fmt.Errorf("strace has no total: %s%s", text, said.String())
	}
	calls, err := strconv.Atoi(string(total[1]))
	return float64(calls) / float64(b.counted), err
}

// attached waits until a debugger holds all threads of a process.
func attached(pid int) error {
	for began := time.Now(); time.Since(began) < patience; time.Sleep(10 * time.Millisecond) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil {
			return err
		}
		held := 0
		for _, thread := range threads {
			status, err := os.ReadFile(thread)
			if err == nil && !strings.Contains(string(status), "TracerPid:\t0\n") {
				held++
			}
		}
		if held > 0 && held == len(threads) {
			return nil
		}
	}
	return fmt.Errorf("strace does not attach to %d", pid)
}
