package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says where the server is.
type Config struct {
	// Address is host:port, redis://host:port, rediss://host:port (with TLS) or the path
	// of a unix socket.
	Address string
	// Username and Password log in, if the server asks for that.
	Username, Password string
	// DB is the number of the database.
	DB int
	// Prefix begins the names of all keys. Default: DefaultPrefix.
	Prefix string
	// Timeout bounds one operation. Default: 300 ms.
	Timeout time.Duration
	// Logger hears of values that are not relay grants. Default: none.
	Logger *slog.Logger
	// Now is the clock by which the end of a grant is told, and a server that failed
	// is left alone. Default: time.Now.
	Now func() time.Time
}

// The defaults of a Config.
const (
	DefaultPrefix  = "milterd:grant:"
	DefaultTimeout = 300 * time.Millisecond
)

const (
	// poolSize bounds the connections.
	poolSize = 32
	// maxPrefix bounds a prefix, in octets.
	maxPrefix = 128
)

// withDefaults fills in what was left out, and refuses what cannot be.
func (c Config) withDefaults() (Config, error) {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.Timeout < 0:
		return c, fmt.Errorf("timeout %v is negative", c.Timeout)
	case c.DB < 0:
		return c, fmt.Errorf("database %d", c.DB)
	case len(c.Prefix) > maxPrefix || strings.ContainsFunc(c.Prefix, unicode.IsControl):
		return c, fmt.Errorf("prefix %.*q, expected at most %d octets without control characters", maxPrefix, c.Prefix, maxPrefix)
	}
	return c, nil
}

// options are go-redis' own.
func (c Config) options() (*redis.Options, error) {
	o := &redis.Options{
		Network: "tcp", Addr: strings.TrimPrefix(c.Address, "redis://"),
		Username: c.Username, Password: c.Password, DB: c.DB,
		// A caller waits once: the breaker decides about trying again.
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: c.Timeout, ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, PoolTimeout: c.Timeout,
		ContextTimeoutEnabled: true,
		PoolSize:              poolSize, MaxActiveConns: poolSize, PipelinePoolSize: -1,
		// A value and what pipelines need is small.
		ReadBufferSize: 4096, WriteBufferSize: 4096,
		// Only what every server of the last ten years understands.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if strings.HasPrefix(c.Address, "/") {
		o.Network, o.Dialer = "unix", dialer(nil)
		return o, nil
	}
	address, withTLS := strings.CutPrefix(o.Addr, "rediss://")
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(address, "@/") {
		// Not shown: a password may stand in it.
		return nil, errors.New("address is not host:port, redis://host:port, rediss://host:port or the path of a unix socket")
	}
	var config *tls.Config
	if withTLS {
		config = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	}
	o.Addr, o.Dialer = address, dialer(config)
	return o, nil
}

// RouteLibraryLog sends what go-redis would write to standard error to logger, at
// debug level: the keeper logs what matters of it. The library has one logger for
// the whole process, so this is for its beginning.
func RouteLibraryLog(logger *slog.Logger) { redis.SetLogger(libraryLog{logger}) }

type libraryLog struct{ logger *slog.Logger }

func (l libraryLog) Printf(ctx context.Context, format string, args ...any) {
	if l.logger.Enabled(ctx, slog.LevelDebug) {
		l.logger.DebugContext(ctx, "go-redis: "+fmt.Sprintf(format, args...))
	}
}
