package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// pollInterval is how often a condition is looked at again.
	pollInterval = 5 * time.Millisecond
	// startTimeout bounds how long a daemon may take to begin to listen.
	startTimeout = 30 * time.Second
	// stopTimeout bounds how long a daemon may take to end before it is killed.
	// milterd gives messages in progress 10 s (listen.shutdown).
	stopTimeout = 45 * time.Second
	// maxLogLines bounds what a Log remembers.
	maxLogLines = 200_000
)

// Poll calls ready until it says so, fails, or the time is up.
func Poll(timeout time.Duration, what string, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		ok, err := ready()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: not within %s", what, timeout)
		case <-tick.C:
		}
	}
}

// Log collects the lines that a daemon writes.
type Log struct {
	mu    sync.Mutex
	lines []string
}

// add appends one line.
func (l *Log) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) < maxLogLines {
		l.lines = append(l.lines, line)
	}
}

// Len is the number of lines so far: a mark for Since.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// Since returns the lines after a mark.
func (l *Log) Since(mark int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines[min(mark, len(l.lines)):]...)
}

// String is the whole log.
func (l *Log) String() string { return strings.Join(l.Since(0), "\n") }

// FindAll returns the lines after a mark that hold all of the texts.
func (l *Log) FindAll(mark int, texts ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
lines:
	for _, line := range l.lines[min(mark, len(l.lines)):] {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		found = append(found, line)
	}
	return found
}

// Wait waits for a line after a mark that holds all of the texts.
func (l *Log) Wait(timeout time.Duration, mark int, texts ...string) (string, error) {
	lines, err := l.WaitCount(timeout, mark, 1, texts...)
	if err != nil {
		return "", err
	}
	return lines[0], nil
}

// WaitCount waits for n such lines, or more, and returns what there is.
func (l *Log) WaitCount(timeout time.Duration, mark, n int, texts ...string) (lines []string, err error) {
	err = Poll(timeout, fmt.Sprintf("%d log lines with %q", n, texts), func() (bool, error) {
		lines = l.FindAll(mark, texts...)
		return len(lines) >= n, nil
	})
	return lines, err
}

// copyFrom reads lines until the end.
func (l *Log) copyFrom(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			l.add(strings.TrimRight(line, "\r\n"))
		}
		if err != nil {
			return
		}
	}
}

// process is a daemon in a process group of its own.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and err is set
	err  error
}

// launch starts a daemon whose output goes to log.
func launch(log *Log, name string, args ...string) (*process, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	p.cmd.Dir = "/"
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = p.cmd.Start()
	_ = write.Close()
	if err != nil {
		_ = read.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		log.copyFrom(read)
		_ = read.Close()
	})
	go func() {
		p.err = p.cmd.Wait()
		// Children of the daemon may hold its output open.
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		copying.Wait()
		close(p.done)
	}()
	return p, nil
}

// ended reports whether the daemon has ended, as an error that says how.
func (p *process) ended() error {
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s ended: %w", p.name, p.err)
		}
		return fmt.Errorf("%s ended", p.name)
	default:
		return nil
	}
}

// signal sends a signal to the daemon itself.
func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// stop asks the daemon to end, waits, and kills it if it does not.
func (p *process) stop(s syscall.Signal) error {
	if err := p.signal(s); err != nil {
		return err
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s did not end within %s of %s", p.name, stopTimeout, s)
}
