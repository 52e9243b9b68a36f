package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
)

// Milterd is the daemon under test.
type Milterd struct {
	// Log is what it wrote to its standard error, over all its lives.
	Log *Log

	binary  string
	config  string
	socket  string
	process *process
}

// StartMilterd starts another milterd, with a configuration of its own in
// ConfigDir, and waits until its socket answers. It ends with the Env.
func (e *Env) StartMilterd(name, config, socket string) (*Milterd, error) {
	if err := e.WriteFile(name, config); err != nil {
		return nil, err
	}
	m := &Milterd{binary: e.world.Binary, config: ConfigDir + "/" + name, socket: socket, Log: new(Log)}
	if err := m.Start(); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, m.Stop)
	return m, nil
}

// Start starts the daemon and waits until its socket answers.
func (m *Milterd) Start() error {
	mark := m.Log.Len()
	p, err := launch(m.Log, m.binary, "-config", m.config)
	if err != nil {
		return err
	}
	m.process = p
	err = Poll(startTimeout, "milterd's socket", func() (bool, error) {
		if err := p.ended(); err != nil {
			return false, err
		}
		for _, door := range []string{m.socket, filepath.Join(filepath.Dir(m.socket), "map.sock")} {
			conn, err := net.Dial("unix", door)
			if err != nil {
				// There need be no map door; one of a milterd that was killed refuses until it is open.
				return door != m.socket && errors.Is(err, fs.ErrNotExist), nil
			}
			if err := conn.Close(); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		return errors.Join(err, p.stop(syscall.SIGKILL), fmt.Errorf("its log: %q", m.Log.Since(mark)))
	}
	return nil
}

// PID is the process ID, for reading its limits and its memory.
func (m *Milterd) PID() int { return m.process.cmd.Process.Pid }

// Running reports whether the daemon is alive.
func (m *Milterd) Running() bool { return m.process.ended() == nil }

// Reload sends SIGHUP.
func (m *Milterd) Reload() error { return m.process.signal(syscall.SIGHUP) }

// Stop ends the daemon as an administrator would and waits.
func (m *Milterd) Stop() error { return m.process.stop(syscall.SIGTERM) }

// Terminate asks the daemon to end and does not wait.
func (m *Milterd) Terminate() error { return m.process.signal(syscall.SIGTERM) }

// Ended is closed when the daemon has ended.
func (m *Milterd) Ended() <-chan struct{} { return m.process.done }

// ExitCode is the daemon's exit status once it has ended.
func (m *Milterd) ExitCode() int { return m.process.cmd.ProcessState.ExitCode() }

// Kill ends the daemon at once, as the kernel would.
func (m *Milterd) Kill() error { return m.process.stop(syscall.SIGKILL) }
