package maillog

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/policy/grant"
)

type Config struct {
	// Path is the log file. It may be missing.
	Path string
	// Format is how its server logs logins.
	Format Format
	// Granter is asked for a grant at each login.
	Granter grant.Granter
	// Poll is how often the file is looked at if no event of the file system
	// tells of a change; default one second.
	Poll time.Duration
	// Logger is where failures and their ends are logged; default is nowhere.
	Logger *slog.Logger
	// Now is the clock, by which the years and zones are told that lines leave out;
	// default is time.Now.
	Now func() time.Time
}

const (
	// defaultPoll is the default of Config.Poll.
	defaultPoll = time.Second
	// unmatched is how many lines without any login are a reason to say that this
	// may be the wrong file or format.
	unmatched = 10_000
)

// Follower reads a log as it grows.
type Follower struct {
	config Config
	logger *slog.Logger
	parse  Parser
	count  counters
	// problem is why the file cannot be read, as logged.
	problem string
}

// counters count what a Follower has done since it began: see Register.
type counters struct {
	lines, logins, failed, long, rotated, truncated, recovered atomic.Uint64
	open                                                       atomic.Bool
}

// Register has a registry read the follower's counters. Its label log is given by r.
func (f *Follower) Register(r prometheus.Registerer) {
	n := &f.count
	grant.Counter(r, "milterd_login_log_lines_total", "Lines read from a log of logins.", nil, n.lines.Load)
	grant.Counter(r, "milterd_login_log_long_lines_total", "Lines passed over because no login is that long.", nil, n.long.Load)
	grant.Counter(r, "milterd_login_log_logins_total", "Logins found in a log.", nil, n.logins.Load)
	grant.Counter(r, "milterd_login_log_failed_grants_total", "Logins found in a log that the store could not take.", nil, n.failed.Load)
	grant.Counter(r, "milterd_login_log_recovered_bytes_total", "Octets of a truncated log that were found in its copy.", nil, n.recovered.Load)
	for kind, n := range map[string]*atomic.Uint64{"rotated": &n.rotated, "truncated": &n.truncated} {
		grant.Counter(r, "milterd_login_log_rotations_total", "Ends of a log's file, by kind.", prometheus.Labels{"kind": kind}, n.Load)
	}
	grant.Gauge(r, "milterd_login_log_open", "Whether there is a file to read.", grant.OneIf(&n.open))
}

// New makes a Follower. It opens nothing yet.
func New(c Config) *Follower {
	c.Poll = cmp.Or(c.Poll, defaultPoll)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Follower{config: c, logger: cmp.Or(c.Logger, slog.New(slog.DiscardHandler)), parse: c.Format.Parser()}
}

// line handles one line; a login from before after is none that is new. A failure of the
// Granter is its own to log; the user will log in again.
func (f *Follower) line(ctx context.Context, line []byte, after time.Time) {
	lines := f.count.lines.Add(1)
	text := string(line)
	login, ok := f.parse(text)
	if !ok {
		if lines == unmatched && f.count.logins.Load() == 0 {
			f.logger.Warn("no login in many lines of the log; is it the right file, and the right format?",
				"file", f.config.Path, "format", f.config.Format.name, "lines", lines)
		}
		return
	}
	at, _ := timeOf(text, f.config.Now())
	if !at.IsZero() && at.Before(after) {
		return
	}
	f.count.logins.Add(1)
	made := grant.Login{Addr: login.Addr, User: login.User, Source: "maillog:" + f.config.Format.name, At: at}
	if _, err := f.config.Granter.Login(ctx, made); err != nil {
		f.count.failed.Add(1)
	}
}

// report logs why the file cannot be read, once, and when it can be again.
func (f *Follower) report(errs ...error) {
	problem := ""
	if err := errors.Join(errs...); err != nil {
		problem = err.Error()
	}
	switch {
	case problem == f.problem:
	case problem == "":
		f.logger.Info("login log is read again", "file", f.config.Path)
	default:
		f.logger.Warn("login log cannot be read", "file", f.config.Path, "error", problem)
	}
	f.problem = problem
}
