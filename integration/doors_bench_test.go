package integration_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"milterd/integration/harness"
)

// What one round of BenchmarkDoors is made of: sessions of one envelope without a
// message, from so many clients at once, on an access table of so many lines more.
const (
	doorSessions = 400
	doorClients  = 4
	doorLines    = 10_000
)

const (
	hashAccess = "FEATURE(`access_db', , `skip')dnl\n"
	bothDoors  = "include(`/etc/mail/m4/milterd.m4')dnl\n"
	// noFeatures takes out the FEATUREs of the stock file that need the access table, and the
	// argument of delay_checks that does.
	noFeatures = "define(`stock_FEATURE', defn(`FEATURE'))dnl\n" +
		"define(`FEATURE', `ifelse(`$1', `greet_pause',, `$1', `conncontrol',, `$1', `ratecontrol',, " +
		"`$1', `delay_checks', `stock_FEATURE(`delay_checks')', `stock_FEATURE($@)')')dnl\n"
	oneQuestion = "define(`MILTERD_NO_ACCESS', `')dnl\n" + bothDoors
)

// BenchmarkDoors compares what a real sendmail costs with milterd and without it. The
// kinds take turns, and an iteration is one round of each:
//
//	go test ./integration -run '^$' -bench Doors -benchtime 5x -v
//
// It tells the processor time of sendmail and milterd together for an SMTP session, and
// the sessions a second; both also as ratios to filter-door in the same round, or to
// bare-filter-door for the kinds without the FEATUREs that need the access table.
func BenchmarkDoors(b *testing.B) {
	needWorld(b)
	options, err := harness.ReadScene("scenes/doors")
	if err != nil {
		b.Fatal(err)
	}
	var table strings.Builder
	table.WriteString(options.Files["access"])
	for i := range doorLines {
		fmt.Fprintf(&table, "Connect:100.%d.%d.%d\tREJECT\n", 64+i%64, i/64%256, i%251)
	}
	options.Files["access"] = table.String()
	options.DNS = append(options.DNS, "20.2.0.192.in-addr.arpa. PTR line20.access.example.", "line20.access.example. A 192.0.2.20")
	// The harness itself gives sendmail's own table what the scene begins with.
	_, rest, found := strings.Cut(table.String(), "# But for these clients.")
	if !found {
		b.Fatal("the scene's access table does not begin with the limits for everybody")
	}
	options.Access = rest
	emptyC, err := compileEmptyC(b.TempDir())
	if err != nil {
		b.Skipf("the empty filter: %v", err)
	}

	kinds := []doorKind{
		{name: "no-filter", base: "filter-door", include: hashAccess},
		{name: "dnsbl", base: "filter-door", include: hashAccess + "FEATURE(`dnsbl', `bl.access.example')dnl\n"},
		{name: "empty-C", base: "filter-door", include: hashAccess + harness.FilterLines, tap: emptyC},
		{name: "filter-door", base: "filter-door", include: hashAccess + harness.FilterLines},
		{name: "map-door", base: "filter-door", include: bothDoors},
		{name: "bare-filter-door", base: "bare-filter-door", include: noFeatures + hashAccess + harness.FilterLines},
		{name: "bare-one-question", base: "bare-filter-door", include: noFeatures + oneQuestion},
	}
	for b.Loop() {
		for i := range kinds {
			o := options
			o.Include = kinds[i].include
			if kinds[i].tap != nil {
				o.Tap = kinds[i].tap
				o.Config += "\nlisten: {milter: \"local:" + harness.TappedSocket + "\"}\n"
			}
			wall, cpu, err := doorRound(o)
			if err != nil {
				b.Fatalf("%s: %v", kinds[i].name, err)
			}
			kinds[i].rate = append(kinds[i].rate, doorSessions/wall.Seconds())
			kinds[i].cpu = append(kinds[i].cpu, float64(cpu.Microseconds())/doorSessions)
		}
	}
	reportDoors(b, kinds)
}

// doorKind is one way to run sendmail, and what its rounds were like.
type doorKind struct {
	name string
	// base is the kind that it is compared with.
	base string
	// include stands in place of access_db in sendmail.mc, tap in place of milterd.
	include   string
	tap       func() (func() error, error)
	cpu, rate []float64 // µs a session, sessions a second
}

func reportDoors(b *testing.B, kinds []doorKind) {
	var out strings.Builder
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "kind\tCPU µs/session\tto base\tsessions/s\tto base\tbase\t")
	for _, k := range kinds {
		base := kinds[slices.IndexFunc(kinds, func(other doorKind) bool { return other.name == k.base })]
		cpuRatio, rateRatio := make([]float64, len(k.cpu)), make([]float64, len(k.cpu))
		for round := range k.cpu {
			cpuRatio[round], rateRatio[round] = k.cpu[round]/base.cpu[round], k.rate[round]/base.rate[round]
		}
		fmt.Fprintf(t, "%s\t%.0f\t%s\t%.0f\t%s\t%s\t\n", k.name, medianOf(k.cpu), spreadText(cpuRatio), medianOf(k.rate), spreadText(rateRatio), k.base)
		b.ReportMetric(medianOf(k.cpu), k.name+":cpu-µs/session")
		b.ReportMetric(medianOf(cpuRatio), k.name+":cpu-to-base")
	}
	t.Flush()
	b.ReportMetric(0, "ns/op")
	b.Logf("medians of %d rounds (least to greatest)\n%s", len(kinds[0].cpu), out.String())
}

func medianOf(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func spreadText(values []float64) string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", medianOf(values), slices.Min(values), slices.Max(values))
}

// compileEmptyC makes the empty filter on libmilter, which takes milterd's place. It
// negotiates what milterd does as shipped.
func compileEmptyC(dir string) (tap func() (stop func() error, err error), err error) {
	const actions, steps = "0x120", "0xf33f0"
	program := filepath.Join(dir, "empty")
	if out, err := exec.Command("gcc", "-O2", "-o", program, "bench/testdata/empty.c", "-lmilter", "-lpthread").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return func() (func() error, error) {
		filter := exec.Command(program, "local:"+harness.Socket, actions, steps)
		if err := filter.Start(); err != nil {
			return nil, err
		}
		stop := func() error {
			err := filter.Process.Signal(syscall.SIGTERM)
			_ = filter.Wait() // libmilter's exit status says nothing
			return err
		}
		err := harness.Poll(20*time.Second, "the empty filter listens", func() (bool, error) {
			_, err := os.Stat(harness.Socket)
			return err == nil, nil
		})
		return stop, err
	}, nil
}

// doorRound runs all sessions of a round on a server of their own, and returns how long
// they took, and the processor time of the server from its start to its end.
func doorRound(o harness.Options) (wall, cpu time.Duration, err error) {
	env, err := world.Start(o)
	if err != nil {
		return 0, 0, err
	}
	before, err := childrenTime()
	begun := time.Now()
	errs := make([]error, doorClients)
	var working sync.WaitGroup
	for i := range doorClients {
		working.Go(func() {
			for range doorSessions / doorClients {
				if errs[i] = envelopeFrom("192.0.2.20"); errs[i] != nil {
					return
				}
			}
		})
	}
	working.Wait()
	wall = time.Since(begun)
	// What the server's processes took is known once they have ended.
	if err := errors.Join(append(errs, err, env.Close())...); err != nil {
		return 0, 0, err
	}
	after, err := childrenTime()
	return wall, after - before, err
}

// envelopeFrom is one session, up to the recipient.
func envelopeFrom(addr string) error {
	conn, err := harness.Dial(addr, harness.ServerAddr4+":25")
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ReadReply(); err != nil {
		return err
	}
	return sayAll(conn, "EHLO line20.access.example", "MAIL FROM:<a@good.example>", "RCPT TO:<shin@example.test>", "RSET", "QUIT")
}

// childrenTime is the processor time of all children that have ended, and theirs.
func childrenTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
