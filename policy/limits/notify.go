package limits

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"milterd/policy"
	"milterd/policy/printable"
)

// The bounds of what runs to notify people.
const (
	// notifyAtOnce is how many programs run at a time, notifyWaiting how many beginnings
	// wait for one of them. What is beyond is dropped: mail never waits.
	notifyAtOnce  = 4
	notifyWaiting = 100
	notifyTimeout = 30 * time.Second
	// notifyGrace is how long what a program has left behind may keep its output open.
	notifyGrace = time.Second
	// maxSaid is how much of a failed program's output is logged, in octets.
	maxSaid = 512
)

// beginning is a limit that begins to refuse.
type beginning struct {
	Near
	count policy.LimitCount
	// wait is the time until there is room, in seconds.
	wait int
	// invented: see policy.LimitQuery.
	invented bool
}

// notifier runs a program once for each beginning.
type notifier struct {
	logger  *slog.Logger
	command atomic.Pointer[[]string]
	waiting chan beginning
	timeout time.Duration

	ran, failed, dropped atomic.Uint64
	// drops are told once a minute.
	drops rate.Sometimes
}

func newNotifier(logger *slog.Logger) *notifier {
	n := &notifier{logger: logger, waiting: make(chan beginning, notifyWaiting), timeout: notifyTimeout, drops: rate.Sometimes{Interval: time.Minute}}
	n.command.Store(new([]string))
	return n
}

// tell has the program run, soon and without waiting for it.
func (n *notifier) tell(b beginning) {
	if len(*n.command.Load()) == 0 {
		return
	}
	// Invented names leave half of the places to others.
	if !b.invented || len(n.waiting) < notifyWaiting/2 {
		select {
		case n.waiting <- b:
			return
		default:
		}
	}
	n.dropped.Add(1)
	n.drops.Do(func() {
		n.logger.Warn("limits.notify: too many limits begin to refuse at once, some are told in the log alone", "dropped", n.dropped.Load())
	})
}

// run runs programs until ctx ends, which ends those that run.
func (n *notifier) run(ctx context.Context) {
	var running sync.WaitGroup
	for range notifyAtOnce {
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case b := <-n.waiting:
					n.start(ctx, b)
				}
			}
		})
	}
	running.Wait()
}

// start runs the program for one beginning, and waits for it.
func (n *notifier) start(ctx context.Context, b beginning) {
	command := *n.command.Load()
	if len(command) == 0 {
		return // a reload has taken it away
	}
	limited, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	var said saying
	cmd := exec.CommandContext(limited, command[0], command[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = b.environment(), "/", &said, &said
	// What it has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = notifyGrace
	err := cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		n.ran.Add(1)
		return
	case ctx.Err() != nil:
		err = errors.New("milterd ends")
	case limited.Err() != nil:
		err = errors.New("not done after " + n.timeout.String())
	}
	n.failed.Add(1)
	n.logger.Warn("limits.notify: the program failed", "program", command[0], "limit", b.Limit, string(b.By), b.Key, "error", err, "output", printable.Text(strings.TrimSpace(string(said))))
}

// environment is what the program knows: the facts, and where programs are. Everything
// that comes from a client is printable and the value of one variable. The names do not
// begin with MILTERD_, as those are for milterd itself, which the program may run.
func (b *beginning) environment() []string {
	mode := policy.ModeEnforce
	if b.Shadow {
		mode = policy.ModeShadow
	}
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LIMIT_NAME=" + b.Limit,
		"LIMIT_MODE=" + string(mode),
		"LIMIT_BY=" + string(b.By),
		"LIMIT_KEY=" + b.Key,
		"LIMIT_COUNT=" + string(b.count),
		"LIMIT_RATE=" + b.Rate,
		"LIMIT_USED=" + strconv.Itoa(b.Used),
		"LIMIT_WAIT=" + strconv.Itoa(b.wait),
		"LIMIT_SINCE=" + b.Since.UTC().Format(time.RFC3339),
	}
}

// saying is the beginning of what a program prints. The rest is read and forgotten.
type saying []byte

func (s *saying) Write(p []byte) (int, error) {
	*s = append(*s, p[:min(len(p), maxSaid-len(*s))]...)
	return len(p), nil
}
