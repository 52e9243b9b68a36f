// Package sources opens what the configuration says of relay grants: the store that keeps them, and
// the sources that tell of logins.
package sources

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/configs"
	"milterd/milter/door"
	"milterd/policy"
	"milterd/policy/grant"
	"milterd/policy/grant/control"
	"milterd/policy/grant/dovecot"
	"milterd/policy/grant/drac"
	"milterd/policy/grant/maillog"
	"milterd/policy/grant/redis"
	"milterd/policy/limits"
)

// Sources keep relay grants and hear of the logins that make them. They are what the doors ask about
// grants.
type Sources struct {
	keeper *grant.Keeper
	logger *slog.Logger
	// limits are what the control socket is asked about, too.
	limits *limits.Keeper
	// sources run until their context ends.
	sources   []func(context.Context) error
	closers   []func() error
	registers []func(prometheus.Registerer)
}

var _ door.Grants = (*Sources)(nil)

// Grant says whether a client holds a relay grant.
func (g *Sources) Grant(ctx context.Context, client netip.Addr) policy.GrantState {
	switch _, state := g.keeper.Grant(ctx, client); {
	case state == grant.Held:
		return policy.GrantHeld
	case state == grant.Temporary && g.keeper.Known(client):
		return policy.GrantTemporary
	case state == grant.Temporary:
		return policy.GrantUnknown
	}
	return policy.GrantNone
}

// Open opens the store and the sources; nil if none are configured. shared is nil without a Redis.
func Open(config *configs.Config, shared *redis.Client, counts *limits.Keeper, logger *slog.Logger) (*Sources, error) {
	if !config.GrantsConfigured() {
		return nil, nil
	}
	g := &Sources{logger: logger, limits: counts}
	store, err := openStore(&config.Grants, shared, logger)
	if err != nil {
		return nil, fmt.Errorf("grants: %w", err)
	}
	rules := rulesOf(config)
	rules.Store, rules.Logger = store, logger
	g.keeper = grant.New(rules)
	g.closers = append(g.closers, g.keeper.Close)
	g.registers = append(g.registers, g.keeper.Register)
	if file, ok := store.(*grant.File); ok {
		g.registers = append(g.registers, file.Register)
	}
	for _, open := range []func(*configs.Config) error{g.openControl, g.openDovecot, g.openLogs, g.openDRAC} {
		if err := open(config); err != nil {
			return nil, errors.Join(fmt.Errorf("grants: %w", err), g.Close())
		}
	}
	return g, nil
}

// OpenRedis opens the Redis that grants and limits share; nil if none is configured. It does
// not wait for it.
func OpenRedis(c *configs.Redis, logger *slog.Logger) (*redis.Client, error) {
	if len(c.Addresses) == 0 {
		return nil, nil
	}
	redis.RouteLibraryLog(logger)
	return redis.Open(redis.Config{
		Addresses: c.Addresses, Master: c.Master, Cluster: c.Cluster, CA: c.CA, Username: c.Username, Password: string(c.Password), DB: c.DB,
		Prefix: c.Prefix, Timeout: c.Timeout, Logger: logger,
	})
}

// openStore opens what keeps the grants; nil for memory.
func openStore(c *configs.Grants, shared *redis.Client, logger *slog.Logger) (grant.Store, error) {
	switch {
	case shared != nil:
		return shared.Grants(), nil
	case c.File != "":
		return grant.OpenFile(grant.FileConfig{Path: c.File, Max: c.Max, Logger: logger})
	}
	return nil, nil
}

// rulesOf are the rules that a reload can change.
func rulesOf(config *configs.Config) grant.Config {
	c := &config.Grants
	rules := grant.Config{
		Max: c.Max, TTL: c.TTL, MaxPerUser: c.MaxPerUser,
		// An empty list excludes nothing, a missing one what is usual.
		Exclude: append([]netip.Prefix{}, c.Exclude...), Require: c.Require,
	}
	if c.ExcludeOwn {
		rules.Own = ownAddresses
	}
	return rules
}

// ownAddresses are those of this machine. What cannot be listed is none: then only
// the configured networks are excluded.
func ownAddresses() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var own []netip.Addr
	for _, a := range addrs {
		if network, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(network.IP); ok {
				own = append(own, addr.Unmap())
			}
		}
	}
	return own
}

func (g *Sources) openControl(config *configs.Config) error {
	if config.Grants.Control == "" {
		return nil
	}
	// Who can write to it grants relays: it is for its owner alone, and for a group
	// that the configuration names for this and nothing else.
	mode := os.FileMode(0o600)
	if config.Grants.ControlGroup != "" {
		mode = 0o660
	}
	ln, err := door.Listen(config.Grants.Control, mode, config.Grants.ControlGroup)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	listener := door.NewListener(ln, func(err error, pause time.Duration) {
		g.logger.Warn("accept control connection, trying again", "error", err, "pause", pause)
	})
	server := control.NewServer(control.Config{Keeper: g.keeper, Limits: g.limits, Logger: g.logger})
	g.add(listener.Close, func(ctx context.Context) error { return server.Serve(ctx, listener) })
	return nil
}

func (g *Sources) openDovecot(config *configs.Config) error {
	c := config.Grants.Dovecot
	if c.Listen == "" {
		return nil
	}
	server, err := dovecot.New(dovecot.Config{Granter: g.keeper, Secret: string(c.Secret), Logger: g.logger})
	if err != nil {
		return err
	}
	ln, err := door.Listen(c.Listen, config.Listen.SocketMode, config.Listen.SocketGroup)
	if err != nil {
		return fmt.Errorf("dovecot: %w", err)
	}
	g.registers = append(g.registers, server.Register)
	g.add(ln.Close, func(ctx context.Context) error { return server.Serve(ctx, ln) })
	return nil
}

func (g *Sources) openLogs(config *configs.Config) error {
	for i, l := range config.Grants.Logs {
		format, err := maillog.Named(l.Format)
		if l.Regexp != "" {
			format, err = maillog.Pattern(l.Regexp)
		}
		if err != nil {
			return err
		}
		follower := maillog.New(maillog.Config{Path: l.File, Format: format, Granter: g.keeper, Logger: g.logger})
		// A log is its place in grants.logs: its path and its expression are private.
		label := prometheus.Labels{"log": strconv.Itoa(i + 1)}
		g.registers = append(g.registers, func(r prometheus.Registerer) {
			follower.Register(prometheus.WrapRegistererWith(label, r))
		})
		g.add(nil, func(ctx context.Context) error {
			follower.Run(ctx)
			return nil
		})
	}
	return nil
}

func (g *Sources) openDRAC(config *configs.Config) error {
	c := config.Grants.DRAC
	if c.Listen == "" {
		return nil
	}
	server := drac.NewServer(drac.Config{Keeper: g.keeper, Servers: c.Allow, ReservedPort: c.ReservedPort, Logger: g.logger})
	conn, err := door.ListenPacket(c.Listen)
	if err != nil {
		return fmt.Errorf("drac: %w", err)
	}
	g.registers = append(g.registers, server.Register)
	g.add(conn.Close, func(ctx context.Context) error { return server.Serve(ctx, conn) })
	if addr, ok := conn.LocalAddr().(*net.UDPAddr); ok && c.RPCBind {
		registration := drac.Rpcbind{Addr: addr.AddrPort(), Logger: g.logger}
		g.add(nil, func(ctx context.Context) error {
			registration.Run(ctx)
			return nil
		})
	}
	return nil
}

// add takes a source in, with what closes it if it never runs.
func (g *Sources) add(closer func() error, source func(context.Context) error) {
	if closer != nil {
		g.closers = append(g.closers, closer)
	}
	g.sources = append(g.sources, source)
}

// Run starts everything with start, which runs a function in a goroutine, until ctx
// ends. Without one of its sources milterd grants less, and goes on.
func (g *Sources) Run(ctx context.Context, start func(func())) {
	start(func() { g.keeper.Run(ctx) })
	for _, source := range g.sources {
		start(func() {
			if err := source(ctx); err != nil {
				g.logger.Error("a source of relay grants failed; milterd goes on without it until it is restarted", "error", err)
			}
		})
	}
}

func (g *Sources) Reload(c *configs.Config) { g.keeper.Reload(rulesOf(c)) }

func (g *Sources) Register(r prometheus.Registerer) {
	for _, register := range g.registers {
		register(r)
	}
}

// Close closes the store, and what never ran. Sources close their own.
func (g *Sources) Close() error {
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		if err := g.closers[i](); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
