package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	// envInside tells the second copy of the program that it is the one to do
	// the work: the directory of the run, and the namespaces it must have left.
	envInside = "MILTERD_TEST_INSIDE"
	// envRace asks for a race-enabled milterd.
	envRace = "MILTERD_TEST_RACE"
	// runPrefix begins the name of the directory of a run, the process ID and a
	// random part follow.
	runPrefix = "milterd-harness-"

	namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID |
		syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC
)

// World is what Main makes: the place that environments are started in.
type World struct {
	// Missing is what this machine lacks, nil when environments can be started.
	Missing error
	// Binary is the milterd that was built for this run.
	Binary string
	// Race says that Binary was built with the race detector, which needs several
	// times the memory. The environment variable MILTERD_TEST_RACE asks for it.
	Race bool

	dir    string
	mu     sync.Mutex
	active *Env
}

// Main runs run inside a world of its own and returns its result, which is
// meant for os.Exit. It does so by starting the program again, with the same
// arguments; the first copy only builds milterd and waits.
//
// If the machine lacks something, run is called at once, without a world:
// World.Missing then says why.
func Main(run func(*World) int) int {
	if inside := os.Getenv(envInside); inside != "" {
		w, err := enter(inside)
		if err != nil {
			fmt.Fprintf(os.Stderr, "harness: %v\n", err)
			return 1
		}
		return run(w)
	}
	if err := missing(); err != nil {
		return run(&World{Missing: err})
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintf(os.Stderr, "harness: %v\n", err)
		return 1
	}
	return code
}

// missing says what this machine lacks.
func missing() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("namespaces need Linux, this is %s", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("namespaces need root")
	}
	for _, need := range []struct{ path, pkg string }{
		{"/usr/sbin/sendmail", "sendmail-bin"},
		{stockMC, "sendmail-cf"},
		{"/usr/sbin/makemap", "sendmail-bin"},
		{"/usr/bin/m4", "m4"},
		{"/usr/sbin/saslpasswd2", "sasl2-bin"},
	} {
		if _, err := os.Stat(need.path); err != nil {
			return fmt.Errorf("%s is missing, package %s has it", need.path, need.pkg)
		}
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("ip is missing, package iproute2 has it")
	}
	return nil
}

// outside builds milterd, starts this program again in new namespaces, and
// waits for it.
func outside() (int, error) {
	sweep()
	dir, err := os.MkdirTemp("", runPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// sendmail's users come through here to nothing secret, but must come through.
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	if err := Build(filepath.Join(dir, "milterd")); err != nil {
		return 0, err
	}
	own, err := ownNamespaces()
	if err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envInside+"="+dir+" "+own)
	// Pdeathsig follows the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s in new namespaces: %w", self, err)
	}
	stop := passSignals(cmd.Process)
	defer stop()
	err = cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		if exit.ExitCode() < 0 {
			return 0, err
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// passSignals hands signals on to the inner process. That one is the init of
// its PID namespace: when it ends, so does every process it started.
func passSignals(inner *os.Process) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if s != syscall.SIGQUIT { // a stack dump is wanted of that one
					s = syscall.SIGKILL
				}
				_ = inner.Signal(s)
			}
		}
	})
	return func() {
		signal.Stop(signals)
		cancel()
		passing.Wait()
	}
}

// Build makes a milterd binary at path.
func Build(path string) error {
	args := []string{"build", "-o", path}
	if os.Getenv(envRace) != "" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "milterd/cmd/milterd")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build milterd: %w\n%s", err, out)
	}
	return nil
}

// sweep removes the directories of runs that were killed. Their namespaces
// went with their processes.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), runPrefix+"*"))
	for _, dir := range dirs {
		name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), runPrefix), "-")
		pid, err := strconv.Atoi(name)
		if err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir)
		}
	}
}

// ownNamespaces names the mount and network namespaces of this process.
func ownNamespaces() (string, error) {
	mnt, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return "", err
	}
	net, err := os.Readlink("/proc/self/ns/net")
	return mnt + " " + net, err
}

// enter makes the world, as the first thing the second copy does.
func enter(inside string) (*World, error) {
	dir, left, _ := strings.Cut(inside, " ")
	own, err := ownNamespaces()
	if err != nil {
		return nil, err
	}
	// Everything below would harm the machine if it were done outside.
	leftMnt, leftNet, _ := strings.Cut(left, " ")
	ownMnt, ownNet, _ := strings.Cut(own, " ")
	if os.Getpid() != 1 || leftMnt == "" || leftNet == "" || leftMnt == ownMnt || leftNet == ownNet {
		return nil, fmt.Errorf("%s is set, but this process is not in namespaces of its own", envInside)
	}
	if err := os.Unsetenv(envInside); err != nil {
		return nil, err
	}
	if err := makeFiles(dir); err != nil {
		return nil, fmt.Errorf("private file system: %w", err)
	}
	if err := makeNetwork(); err != nil {
		return nil, fmt.Errorf("private network: %w", err)
	}
	return &World{dir: dir, Binary: filepath.Join(dir, "milterd"), Race: os.Getenv(envRace) != ""}, nil
}
