package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// filter is a running filter.
type filter struct {
	name string
	// socket is where it takes connections, metrics where it tells what it has
	// allocated; empty if it does not.
	socket, metrics string
	process         *exec.Cmd
	log             *os.File
}

// start starts a filter that will listen on dir/name.sock, and waits until it does.
func start(dir, name, metrics string, command ...string) (*filter, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	f := &filter{name: name, socket: filepath.Join(dir, name+".sock"), metrics: metrics, process: exec.Command(command[0], command[1:]...), log: log}
	f.process.Stdout, f.process.Stderr = log, log
	if err := f.process.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), log.Close())
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err = negotiated(f.socket); err == nil {
			return f, nil
		}
		if time.Since(began) > patience {
			return nil, errors.Join(fmt.Errorf("%s does not answer: %w; see %s", name, err, log.Name()), f.stop())
		}
	}
}

func (f *filter) stop() error {
	err := f.process.Process.Signal(syscall.SIGTERM)
	_ = f.process.Wait() // libmilter's exit status says nothing
	return errors.Join(err, f.log.Close())
}

// cpu is the processor time that the filter has taken, from the clock that the kernel
// keeps for the process (clock_getcpuclockid).
func (f *filter) cpu() (time.Duration, error) {
	const schedulerClock = 2
	var spec syscall.Timespec
	id := uintptr(^f.process.Process.Pid<<3 | schedulerClock)
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&spec)), 0); errno != 0 {
		return 0, fmt.Errorf("processor time of %s: %w", f.name, errno)
	}
	return time.Duration(spec.Nano()), nil
}

// resident is the memory of the filter in the machine, in octets.
func (f *filter) resident() (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	text, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.Atoi(text)
	return kib << 10, err
}

// allocations is how many objects the filter has allocated.
func (f *filter) allocations() (float64, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", f.metrics)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	response, err := client.Get("http://localhost/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut("\n"+string(text), "\ngo_memstats_mallocs_total ")
	number, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(number, 64)
}

//go:embed testdata/empty.c
var emptyC []byte

// startEmptyC compiles and starts the empty filter on libmilter.
func startEmptyC(dir string, o options) (*filter, error) {
	source, program := filepath.Join(dir, "empty.c"), filepath.Join(dir, "empty")
	if err := os.WriteFile(source, emptyC, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command("gcc", "-O2", "-o", program, source, "-lmilter", "-lpthread").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the empty filter (packages gcc, libmilter-dev): %w: %s", err, out)
	}
	return start(dir, baseline, "", program, "local:"+filepath.Join(dir, baseline+".sock"), fmt.Sprint(o.actions), fmt.Sprint(o.steps))
}

// library is the empty filter on go-milter.
const library = "go-milter"

// startEmptyGo starts this program as that filter.
func startEmptyGo(dir string, o options) (*filter, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	socket, metrics := filepath.Join(dir, library+".sock"), filepath.Join(dir, library+".http")
	return start(dir, library, metrics, self, "-empty", socket, "-metrics", metrics, "-actions", fmt.Sprint(o.actions), "-steps", fmt.Sprint(o.steps))
}
