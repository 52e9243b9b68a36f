package dnscheck

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// retireAfter is how long a Client that has been replaced still answers the
// look-ups that began with it. They are over long before.
const retireAfter = time.Minute

// Live is the Resolver of a running daemon: the Client in force, which a reload
// exchanges, with its cache, and the Health of the lists in force. Connections that
// began before have the new Client too.
type Live struct {
	log    *slog.Logger
	client atomic.Pointer[Client]
	health *Health
	// config is what client was made from. It belongs to the goroutine that calls Use.
	config  Config
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup
}

var _ Resolver = (*Live)(nil)

// NewLive begins to look after lists; Close ends that. log may be nil.
func NewLive(config Config, log *slog.Logger) (*Live, error) {
	l := &Live{log: log, health: NewHealth(log)}
	if err := l.Use(config, nil); err != nil {
		return nil, err
	}
	l.closing, l.close = context.WithCancel(context.Background())
	l.running.Go(func() { l.health.Run(l.closing) })
	return l, nil
}

// Use puts a Client with these settings in force, unless it is already, and has these
// lists probed, and no others; nil for none. On an error everything stays as it was.
func (l *Live) Use(config Config, lists *Lists) error {
	client := l.client.Load()
	if client == nil || !reflect.DeepEqual(l.config, config) {
		logged := config
		logged.Log = l.log
		var err error
		if client, err = NewClient(logged); err != nil {
			return err
		}
		l.config = config
		if old := l.client.Swap(client); old != nil {
			l.running.Go(func() {
				select {
				case <-time.After(retireAfter):
				case <-l.closing.Done():
				}
				_ = old.Close()
			})
		}
	}
	l.health.Watch(lists, client)
	return nil
}

func (l *Live) Health() *Health { return l.health }

func (l *Live) Close() {
	l.close()
	l.running.Wait()
	_ = l.client.Load().Close()
}

func (l *Live) Lookup(ctx context.Context, name string, qtype uint16) Result {
	return l.client.Load().Lookup(ctx, name, qtype)
}

func (l *Live) LookupCached(name string, qtype uint16) (Result, bool) {
	return l.client.Load().LookupCached(name, qtype)
}
