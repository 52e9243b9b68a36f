package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Client is the connection to a server, a cluster, or the server that Sentinels know of. It
// starts, and goes on, without them.
type Client struct {
	config  Config
	client  redis.UniversalClient
	breaker breaker
	// timeout bounds an operation: see SetTimeout.
	timeout atomic.Int64
	// node is the node of a cluster that has a key.
	node func(ctx context.Context, key string) (*redis.Client, error)
}

// Open makes a client. It does not wait for the server.
func Open(c Config) (*Client, error) {
	c = c.withDefaults()
	options, err := c.options()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	opened := &Client{config: c, breaker: breaker{now: c.Now}}
	opened.SetTimeout(c.Timeout)
	if c.clustered() {
		cluster := redis.NewClusterClient(options.Cluster())
		opened.client, opened.node = cluster, cluster.MasterForKey
		return opened, nil
	}
	var server *redis.Client
	if c.Master != "" {
		server = redis.NewFailoverClient(options.Failover())
	} else {
		server = redis.NewClient(options.Simple())
	}
	opened.client, opened.node = server, func(context.Context, string) (*redis.Client, error) { return server, nil }
	return opened, nil
}

// SetTimeout bounds operations from now on, instead of Config.Timeout.
func (c *Client) SetTimeout(timeout time.Duration) { c.timeout.Store(int64(timeout)) }

func (c *Client) Close() error {
	if err := c.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

func (c *Client) Ping(ctx context.Context) error {
	return c.do(ctx, "ping", func(ctx context.Context) error { return c.client.Ping(ctx).Err() })
}

// do runs one operation of the server, unless it is known not to answer.
func (c *Client) do(ctx context.Context, what string, operation func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		// The caller is late already: that says nothing about the server.
		return fmt.Errorf("redis: %s: %w", what, err)
	}
	if !c.breaker.allow() {
		return fmt.Errorf("redis: %s: %w", what, ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.timeout.Load()))
	defer cancel()
	err := recovered(ctx, operation)
	c.breaker.done(err)
	if err != nil {
		return fmt.Errorf("redis: %s: %w", what, err)
	}
	return nil
}

// recovered runs an operation. A reply that go-redis has no answer for is an error of the
// server's, and not the end of the process.
func recovered(ctx context.Context, operation func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errReply, p)
		}
	}()
	return operation(ctx)
}
