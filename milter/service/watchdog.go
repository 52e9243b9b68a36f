package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"milterd/milter/status"
)

// Notify tells the service manager about a state, if there is one that listens.
func Notify(logger *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		logger.Warn("cannot notify the service manager", "error", err)
	}
}

// Watchdog tells the service manager that milterd is alive, if it wants to know
// (WatchdogSec=), as long as every door answers. A door that does not answer once is
// asked again before the service manager's patience ends.
func (s *Sockets) Watchdog(ctx context.Context, logger *slog.Logger) {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		logger.Warn("cannot tell what the service manager's watchdog wants", "error", err)
	}
	if within == 0 {
		return
	}
	ticker := time.NewTicker(within / 3)
	defer ticker.Stop()
	for {
		if err := s.hang(); err != nil {
			logger.Error("a door does not answer; the service manager will start milterd anew", "error", err, "within", within)
		} else {
			Notify(logger, daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// hang asks at each door, and returns the error of one that keeps its client waiting.
// One that is full and closes the connection at once does its work: sendmail puts mail
// off then, and a restart would cut off the messages in progress.
func (s *Sockets) hang() error {
	return errors.Join(hang(status.Filter, s.Filter), hang(status.Map, s.Map))
}

func hang(name string, listeners []net.Listener) error {
	for _, ln := range listeners {
		err := status.AskAt(name, ln.Addr().Network(), ln.Addr().String())
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EAGAIN) {
			return err
		}
	}
	return nil
}
