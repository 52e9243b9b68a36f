package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"milterd/configs"
	"milterd/configs/watch"
	"milterd/dnscheck"
	"milterd/dnscheck/answers"
	"milterd/milter/door"
	"milterd/milter/logs"
	"milterd/milter/service"
	"milterd/milter/status"
	"milterd/milter/tally"
	"milterd/policy"
	"milterd/policy/grant/redis"
	"milterd/policy/grant/sources"
	"milterd/policy/limits"
	"milterd/policy/replay/record"
)

// pollInterval is how often files are looked at if no event tells of a change.
const pollInterval = 30 * time.Second

// reloader keeps the policy in force up to date with its files. A new policy is
// read and validated as a whole before it takes the old one's place; while
// anything is wrong with it, the old one stays.
type reloader struct {
	from   configs.Place
	stderr io.Writer
	logger *slog.Logger
	level  slog.LevelVar
	// registry has the metrics of what begins to count.
	registry *status.Registry
	watcher  *watch.Watcher

	current atomic.Pointer[door.Snapshot] // what new sessions are judged by
	dns     atomic.Pointer[dnscheck.Live] // nil before any check has asked
	nat     *door.NATGuard
	// grants and limits are nil before openStores; grants also if none are configured.
	grants   *sources.Sources
	limits   *limits.Keeper
	shared   *redis.Client    // they share it; nil without one
	recorder *record.Recorder // nil if nothing is recorded

	// config is what policy was made from, start is what milterd started with, asks
	// are the look-ups in force. They belong to the goroutine that loads.
	config, start *configs.Config
	asks          *answers.Lookups
	warnings      []string
	told          []string // the warnings of the policy in force that were logged
	counts        reloadCounts
	failure       string // what kept the last reading from being put in force

	tally *tally.Tally              // what becomes of mail, whatever is in force
	page  atomic.Pointer[pageFacts] // what the status page tells of all this
}

func newReloader(from configs.Place, stderr io.Writer) *reloader {
	return &reloader{from: from, stderr: stderr, watcher: watch.New(pollInterval), tally: tally.New(time.Now())}
}

// publish puts a policy in force, with its look-ups, nil for none, and the grants.
func (r *reloader) publish(p *policy.Policy, lookups *answers.Lookups) {
	r.asks = lookups
	now := &door.Snapshot{Policy: p, Lookups: lookups, Grants: r.held(), Limits: r.counting(p)}
	r.tally.Names(p.LoginName)
	if r.config.NATGuard == configs.NATGuardAuto {
		now.NAT = r.nat
	}
	r.current.Store(now)
}

// load reads everything anew and puts it in force, or changes nothing. asked says
// that an administrator wants it (SIGHUP, or the start), rather than that a file
// happened to change.
func (r *reloader) load(asked bool) error {
	configFile := r.from.File()
	r.watcher.Refresh()
	r.watcher.Add(configFile)
	config, missing, err := r.from.Load()
	if r.config != nil && r.config.Name() != "" && (missing != "" || errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("%s: no such file any more; what it said stays in force until it is there again", configFile)
	}
	if err != nil {
		return err
	}
	files := append(config.Files(), configFile)
	r.watcher.Add(files...)
	p, warnings, err := config.Policy()
	if err != nil {
		return err
	}
	lost, gone := config.Emptied(r.config)
	if len(lost) > 0 && (gone || !asked) {
		// A program that takes a file away, or empties it, may be about to write it anew.
		meant := ""
		if !gone {
			meant = "; if that is meant: systemctl reload milterd (SIGHUP)"
		}
		return errors.New(strings.Join(lost, meant+"\n") + meant)
	}
	if r.logger == nil {
		r.logger = logs.New(r.stderr, config.Log.Format == "json", config.Log.To == configs.LogSyslog, &r.level)
		r.registry = status.NewRegistry(r.logger)
		r.nat = door.NewNATGuard(r.logger)
	}
	lookups, err := r.lookups(config)
	if err != nil {
		return err
	}
	if r.grants != nil {
		r.grants.Reload(config)
	}
	if r.shared != nil {
		r.shared.SetTimeout(config.Redis.Timeout)
	}
	r.watcher.InForce(files...)

	if r.start == nil {
		r.start = config
	}
	_ = r.level.UnmarshalText([]byte(config.Log.Level)) // a name that the configuration has validated
	if missing != "" {
		warnings = append([]string{missing}, warnings...)
	}
	r.warnings = append(warnings, lost...)
	r.config = config
	r.counts.last.Store(time.Now().Unix())
	r.publish(p, lookups)
	return nil
}

// run reloads on SIGHUP and when files change, until ctx ends.
func (r *reloader) run(ctx context.Context, hangups <-chan os.Signal) {
	for {
		why, ok := r.watcher.Next(ctx, hangups)
		switch {
		case !ok:
			return
		case why.Unfinished != "":
			r.failed(why.Unfinished+" changed", fmt.Errorf("%s: still being written after %v, and smaller than the one in force; "+
				"it is read once it is left alone", why.Unfinished, watch.UnfinishedLimit), false)
		default:
			r.reload(why.Reason)
		}
	}
}

// reload loads, and says what came of it. A failure is tried again at every poll,
// and logged again then only if it is another one.
func (r *reloader) reload(reason string) {
	if reason != watch.Retrying {
		service.Notify(r.logger, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
		defer service.Notify(r.logger, daemon.SdNotifyReady)
	}
	if err := r.load(reason == watch.Hangup); err != nil {
		r.failed(reason, err, reason == watch.Retrying && err.Error() == r.failure)
		return
	}
	r.counts.reloaded(nil)
	if reason == watch.Hangup {
		// Something may have been mended that has DNS lists bypassed.
		if live := r.dns.Load(); live != nil {
			live.Health().Recheck()
		}
	}
	r.inForce(reason)
	for _, w := range r.config.NeedRestart(r.start) {
		r.logger.Warn(w, "config", r.config.Name())
	}
}

// failed notes, and logs unless it is known, that a new policy could not be put in
// force.
func (r *reloader) failed(reason string, err error, known bool) {
	r.watcher.Failed()
	r.counts.reloaded(err)
	r.failure = err.Error()
	r.tellPage(r.failure)
	if known {
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		r.logger.Error("reload failed, the old policy stays in force", "reason", reason, "problem", line)
	}
}

// inForce logs what sessions are judged by from now on.
func (r *reloader) inForce(reason string) {
	f := r.tellPage("")
	r.logger.Info("policy in force", "reason", reason, "config", cmp.Or(f.Config, "built in"), "mode", f.Mode,
		"hostname", f.Hostname, "access", f.Access, "entries", f.Entries, "features", f.Features, "local", f.Local, "relay", f.Relay)
	// What was told before and still holds is told again only if somebody asks for it.
	for _, w := range f.Warnings {
		if reason == watch.Hangup || !slices.Contains(r.told, w) {
			r.logger.Warn("configuration: " + w)
		}
	}
	r.told = f.Warnings
}
