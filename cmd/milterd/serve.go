package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"milterd/configs"
	"milterd/milter/logs"
	"milterd/milter/service"
	"milterd/milter/status"
)

// runServe answers sendmail until SIGTERM or SIGINT.
func runServe(o *options, _, stderr io.Writer) (int, error) {
	// A signal that comes while milterd starts must not be lost, nor kill it:
	// SIGHUP would.
	hangups, ends := make(chan os.Signal, 1), make(chan os.Signal, 2)
	signal.Notify(hangups, syscall.SIGHUP)
	signal.Notify(ends, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(hangups)
	defer signal.Stop(ends)
	// Without a reader of the log mail goes on.
	signal.Ignore(syscall.SIGPIPE)

	log := logs.NewWriter(stderr)
	defer log.Close()
	r := newReloader(o.place(), log)
	defer r.close()
	if err := r.load(true); err != nil {
		return exitUsage, err
	}
	if r.config.Log.To == configs.LogSyslog {
		if err := log.ToSyslog(); err != nil {
			r.logger.Warn("log.to: no syslog, the log goes to stderr until milterd is restarted", "error", err)
		}
	}
	r.inForce("start")

	if err := r.openStores(); err != nil {
		return exitFailure, err
	}
	sockets, err := service.Open(r.config, r.logger)
	if err != nil {
		return exitFailure, err
	}
	if err := r.openRecorder(); err != nil {
		return exitFailure, errors.Join(err, sockets.Close())
	}
	return serve(r, newDoors(r), sockets, hangups, ends), nil
}

// serve serves at the doors and reloads until a signal ends it or a listener
// fails.
func serve(r *reloader, d *doors, s *service.Sockets, hangups, ends <-chan os.Signal) int {
	failures := make(chan error, len(s.Filter)+len(s.Map))
	var running sync.WaitGroup
	d.serve(s, r.logger, running.Go, failures)
	r.register(r.registry)
	d.register(r.registry)
	if r.recorder != nil {
		r.recorder.Register(r.registry)
	}
	// The page goes last: until then it tells how the end goes.
	page := status.Serve(s.Status, status.Page{
		Problem: d.problem, Metrics: r.registry.Handler(),
		Report: func() *status.Report { return r.report(d.problem()) },
		Access: func() status.Access { return r.page.Load().access },
	}, r.logger)
	defer page.Shutdown()
	reloading, stopReloading := context.WithCancel(context.Background())
	defer stopReloading()
	running.Go(func() { r.run(reloading, hangups) })
	if r.grants != nil {
		r.grants.Run(reloading, running.Go)
	}
	running.Go(func() { r.limits.Run(reloading) })
	running.Go(func() { s.Watchdog(reloading, r.logger) })
	service.Notify(r.logger, daemon.SdNotifyReady)

	code, within := exitOK, r.start.Listen.Shutdown
	select {
	case sig := <-ends:
		r.logger.Info("shutting down: messages in progress may finish", "signal", sig.String(), "within", within)
	case err := <-failures:
		r.logger.Error("shutting down: a listener failed", "error", err)
		code = exitFailure
	}
	service.Notify(r.logger, daemon.SdNotifyStopping)
	stopReloading()

	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	go func() {
		// A second signal ends the patience.
		select {
		case <-ends:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := d.shutdown(ctx); err != nil {
		r.logger.Warn("shutdown cut connections off", "error", err)
	}
	running.Wait()
	d.stopped(r.logger)
	return code
}
