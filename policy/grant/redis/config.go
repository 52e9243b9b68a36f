package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says where the server is, or the servers. Package configs checks the values.
type Config struct {
	// Addresses are host:port, redis://host:port, rediss://host:port (with TLS) or the path
	// of a unix socket. One is a server; several are nodes of a Redis Cluster, or with Master
	// the Sentinels that know which server that is.
	Addresses []string
	Master    string
	// Cluster: the one address is a node of a Redis Cluster, too.
	Cluster bool
	// CA holds certificates (PEM) that sign those of the servers; empty for the system's.
	CA []byte
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

// DefaultPrefix is the default of Config.Prefix. What stands in braces decides which node of
// a cluster has a key (its hash tag): one has all, as scripts change several keys at once.
const DefaultPrefix = "{milterd}:"

const (
	// poolSize bounds the connections.
	poolSize = 32
	// maxTimeout bounds what the library does for no operation, such as asking again which
	// node of a cluster has what; operations end with their contexts.
	maxTimeout = 5 * time.Second
)

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	c.Prefix, c.Timeout = cmp.Or(c.Prefix, DefaultPrefix), cmp.Or(c.Timeout, 300*time.Millisecond)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) clustered() bool { return c.Master == "" && (c.Cluster || len(c.Addresses) > 1) }

func (c Config) options() (*redis.UniversalOptions, error) {
	o := &redis.UniversalOptions{
		MasterName: c.Master, IsClusterMode: c.Cluster,
		Username: c.Username, Password: c.Password, DB: c.DB,
		// A caller waits once: the breaker decides about trying again.
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: maxTimeout, ReadTimeout: maxTimeout, WriteTimeout: maxTimeout, PoolTimeout: maxTimeout,
		ContextTimeoutEnabled: true,
		PoolSize:              poolSize, MaxActiveConns: poolSize, PipelinePoolSize: -1,
		// A value and what pipelines need is small.
		ReadBufferSize: 4096, WriteBufferSize: 4096,
		// Only what every server of the last ten years understands.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	var config *tls.Config
	for _, address := range c.Addresses {
		address, secure := strings.CutPrefix(strings.TrimPrefix(address, "redis://"), "rediss://")
		if secure && config == nil {
			var err error
			if config, err = c.tls(); err != nil {
				return nil, err
			}
		}
		o.Addrs = append(o.Addrs, address)
	}
	var sentinels []string
	if c.Master != "" {
		sentinels = o.Addrs
	}
	o.Dialer = dialer(config, sentinels)
	return o, nil
}

// tls is how connections are encrypted.
func (c Config) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, errors.New("no certificate in the file of authorities")
		}
	}
	return config, nil
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
