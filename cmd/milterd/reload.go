package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/coreos/go-systemd/v22/daemon"

	"milterd/configs"
	"milterd/policy"
)

// reloader keeps the policy in force up to date with its files. A new policy is
// read and validated as a whole before it takes the old one's place; while
// anything is wrong with it, the old one stays.
type reloader struct {
	// path is the -config flag, empty without one.
	path    string
	stderr  io.Writer
	logger  *slog.Logger
	level   slog.LevelVar
	watcher *watcher

	// policy is what new sessions are judged by.
	policy atomic.Pointer[policy.Policy]

	// config is what policy was made from, start is what milterd started with.
	// They belong to the goroutine that loads.
	config, start *configs.Config
	warnings      []string
}

func newReloader(path string, stderr io.Writer) *reloader {
	return &reloader{path: path, stderr: stderr, watcher: newWatcher(pollInterval)}
}

// load reads everything anew and puts it in force, or changes nothing.
func (r *reloader) load() error {
	// Files are noted before they are read: what changes meanwhile shows as a
	// change afterwards.
	configFile := r.path
	if configFile == "" {
		configFile = defaultConfig
	}
	r.watcher.refresh()
	r.watcher.add(configFile)
	config, err := loadConfig(r.path)
	if err != nil {
		return err
	}
	files := append(config.Files(), configFile)
	r.watcher.add(files...)
	p, warnings, err := config.Policy()
	if err != nil {
		return err
	}
	r.watcher.keep(files...)

	if r.start == nil {
		r.start = config
		r.logger = newLogger(r.stderr, config.Log.Format, &r.level)
	}
	r.level.Set(logLevel(config.Log.Level))
	r.config, r.warnings = config, warnings
	r.policy.Store(p)
	return nil
}

// run reloads on SIGHUP and when files change, until ctx ends.
func (r *reloader) run(ctx context.Context, hangups <-chan os.Signal) {
	for {
		reason, ok := r.watcher.next(ctx, hangups)
		if !ok {
			return
		}
		r.reload(reason)
	}
}

// reload loads, and says what came of it.
func (r *reloader) reload(reason string) {
	notify(r.logger, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
	defer notify(r.logger, daemon.SdNotifyReady)
	if err := r.load(); err != nil {
		for _, line := range complaints(err) {
			r.logger.Error("reload failed, the old policy stays in force", "reason", reason, "problem", line)
		}
		return
	}
	r.inForce(reason)
	if !reflect.DeepEqual(r.start.Listen, r.config.Listen) {
		r.logger.Warn("a change under listen: takes effect at the next start only", "config", r.config.Name())
	}
	if r.start.Log.Format != r.config.Log.Format {
		r.logger.Warn("a change of log.format takes effect at the next start only", "config", r.config.Name())
	}
}

// inForce logs what sessions are judged by from now on.
func (r *reloader) inForce(reason string) {
	p := r.policy.Load()
	name := r.config.Name()
	if name == "" {
		name = "built in"
	}
	r.logger.Info("policy in force", "reason", reason, "config", name, "mode", string(r.config.Mode),
		"hostname", p.Hostname, "access", p.Access.Name(), "entries", p.Access.Len(),
		"features", strings.Join(configs.FeatureNames(p.Features), " "),
		"local", p.Local.Len(), "relay", p.Relay.Len())
	for _, w := range r.warnings {
		r.logger.Warn("configuration: " + w)
	}
}

// newLogger makes the log; level can change while it is in use.
func newLogger(w io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// logLevel is the level of a name that the configuration has validated.
func logLevel(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
