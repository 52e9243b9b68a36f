package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says where the server is.
type Config struct {
	// Address is host:port, the path of a unix socket, or a URL:
	// redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], and rediss:// for TLS.
	Address string
	// Username and Password log in, where the server asks for that.
	Username, Password string
	// DB is the number of the database.
	DB int
	// TLS, where set, is how to speak TLS. rediss:// does without.
	TLS *tls.Config
	// Prefix begins the names of all keys. Default: DefaultPrefix.
	Prefix string
	// Timeout bounds one operation. Default: 300 ms.
	Timeout time.Duration
	// PoolSize bounds the connections. Default: 32.
	PoolSize int
	// Logger hears of values that are not relay grants. Default: none.
	Logger *slog.Logger
	// Now is the clock by which the end of a grant is told, and a server that failed
	// is left alone. Default: time.Now.
	Now func() time.Time
}

// The defaults of a Config.
const (
	DefaultPrefix   = "milterd:grant:"
	DefaultTimeout  = 300 * time.Millisecond
	DefaultPoolSize = 32
)

// maxPrefix bounds a prefix.
const maxPrefix = 128

// withDefaults fills in what was left out, and refuses what cannot be. No error
// shows the password, nor an address that may have one in it.
func (c Config) withDefaults() (Config, error) {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.PoolSize == 0 {
		c.PoolSize = DefaultPoolSize
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
	case c.PoolSize < 0:
		return c, fmt.Errorf("pool of %d connections", c.PoolSize)
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
		Network: "tcp", Addr: c.Address,
		Username: c.Username, Password: c.Password, DB: c.DB, TLSConfig: c.TLS,
		// Whoever waits, waits once: the breaker decides about trying again.
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: c.Timeout, ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, PoolTimeout: c.Timeout,
		ContextTimeoutEnabled: true,
		PoolSize:              c.PoolSize, MaxActiveConns: c.PoolSize, PipelinePoolSize: -1,
		// A value and what pipelines need is small.
		ReadBufferSize: 4096, WriteBufferSize: 4096,
		// Only what every server of the last ten years understands.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	var err error
	switch {
	case c.Address == "":
		err = errors.New("no address")
	case strings.HasPrefix(c.Address, "/"):
		o.Network = "unix"
	case strings.Contains(c.Address, "://"):
		err = fromURL(o, c.Address)
	default:
		err = checkHostPort(c.Address)
	}
	if err != nil {
		return nil, err
	}
	if o.TLSConfig != nil && o.TLSConfig.ServerName == "" && o.Network == "tcp" {
		host, _, _ := net.SplitHostPort(o.Addr)
		o.TLSConfig = o.TLSConfig.Clone()
		o.TLSConfig.ServerName = host
	}
	return o, nil
}

// fromURL takes over what a URL says. The errors of package url show the URL, and
// with it the password, so they are not passed on.
func fromURL(o *redis.Options, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("address is not a URL such as redis://host:6379/0")
	}
	switch u.Scheme {
	case "redis":
	case "rediss":
		if o.TLSConfig == nil {
			o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	default:
		return fmt.Errorf("address has the scheme %.20q, expected redis or rediss", u.Scheme)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return errors.New("address has more than scheme, user, password, host, port and database")
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	o.Addr = net.JoinHostPort(u.Hostname(), port)
	if err := checkHostPort(o.Addr); err != nil {
		return err
	}
	if name := u.User.Username(); name != "" {
		o.Username = name
	}
	if password, ok := u.User.Password(); ok {
		o.Password = password
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 {
			return errors.New("address has a database that is not a number")
		}
	}
	return nil
}

func checkHostPort(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return errors.New("address is not host:port, the path of a unix socket, or a URL")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("address has a port that is not a number from 1 to 65535")
	}
	return nil
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
