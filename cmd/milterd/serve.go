package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"milterd/configs"
	"milterd/milter"
)

// shutdownTimeout is how long messages in progress get to finish after SIGTERM.
// systemd waits 90 s before it kills.
const shutdownTimeout = 30 * time.Second

// runServe answers sendmail until SIGTERM or SIGINT.
func runServe(from place, stderr io.Writer) int {
	// A signal that comes while milterd starts must not be lost, nor kill it:
	// SIGHUP would.
	hangups, ends := make(chan os.Signal, 1), make(chan os.Signal, 2)
	signal.Notify(hangups, syscall.SIGHUP)
	signal.Notify(ends, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(hangups)
	defer signal.Stop(ends)
	// Without a reader of the log mail goes on.
	signal.Ignore(syscall.SIGPIPE)

	log := newLogWriter(stderr)
	defer log.close()
	r := newReloader(from, log)
	defer r.close()
	if err := r.load(true); err != nil {
		for _, line := range complaints(err) {
			fmt.Fprintf(stderr, "milterd: %s\n", line)
		}
		return exitUsage
	}
	r.inForce("start")

	listeners, err := listen(r.config.Listen)
	if err != nil {
		fmt.Fprintf(stderr, "milterd: %v\n", err)
		return exitFailure
	}
	server := milter.NewServer(milter.Config{
		Current:        func() milter.Snapshot { return *r.current.Load() },
		Logger:         r.logger,
		MaxConnections: r.config.Listen.MaxConnections,
	})
	return serve(r, server, listeners, hangups, ends)
}

// serve runs the server and the reloader until a signal ends them or a listener
// fails.
func serve(r *reloader, server *milter.Server, listeners []net.Listener, hangups, ends <-chan os.Signal) int {
	failures := make(chan error, len(listeners))
	var running sync.WaitGroup
	for _, ln := range listeners {
		r.logger.Info("listening", "address", ln.Addr().Network()+":"+ln.Addr().String())
		running.Go(func() {
			if err := server.Serve(ln); err != nil {
				failures <- err
			}
		})
	}
	reloading, stopReloading := context.WithCancel(context.Background())
	defer stopReloading()
	running.Go(func() { r.run(reloading, hangups) })
	notify(r.logger, daemon.SdNotifyReady)

	status := exitOK
	select {
	case sig := <-ends:
		r.logger.Info("shutting down: messages in progress may finish", "signal", sig.String(), "within", shutdownTimeout)
	case err := <-failures:
		r.logger.Error("shutting down: a listener failed", "error", err)
		status = exitFailure
	}
	notify(r.logger, daemon.SdNotifyStopping)
	stopReloading()

	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	go func() {
		// A second signal ends the patience.
		select {
		case <-ends:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := server.Shutdown(ctx); err != nil {
		r.logger.Warn("shutdown cut connections off", "error", err)
	}
	running.Wait()
	stats := server.Stats()
	r.logger.Info("stopped", "connections", stats.Connections, "refused", stats.Refused,
		"malformed", stats.Malformed, "panics", stats.Panics)
	return status
}

// listen opens the configured sockets, or takes over those that the service
// manager has opened (systemd.socket(5)): then the addresses in the configuration
// do not count.
func listen(config configs.Listen) ([]net.Listener, error) {
	inherited, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("take over sockets: %w", err)
	}
	if len(inherited) > 0 {
		for _, ln := range inherited {
			if ln == nil {
				return nil, errors.New("take over sockets: one is not a listening stream socket")
			}
		}
		return inherited, nil
	}
	var listeners []net.Listener
	for _, address := range config.Milter {
		ln, err := milter.Listen(address, config.SocketMode, config.SocketGroup)
		if err != nil {
			for _, open := range listeners {
				err = errors.Join(err, open.Close())
			}
			return nil, err
		}
		listeners = append(listeners, ln)
	}
	return listeners, nil
}

// notify tells the service manager about a state, if there is one that listens.
func notify(logger *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		logger.Warn("cannot notify the service manager", "error", err)
	}
}
