package dnscheck

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/miekg/dns"
)

// Client is a Resolver that asks DNS servers and remembers their answers. It is
// meant for recursive resolvers, best one on the same host; it does not walk
// the DNS from its root by itself.
//
// Callers that ask the same question at the same time share one look-up. If the
// caller that began it gives up, another takes it over.
type Client struct {
	config  Config
	servers *servers
	cache   *otter.Cache[Question, *cacheEntry]
	stale   *otter.Cache[Question, *cacheEntry] // nil without Config.StaleTTL
	slots   chan struct{}
	closing context.Context
	close   context.CancelFunc
	stats   Stats
}

var _ Resolver = (*Client)(nil)

// NewClient makes a client; Close ends it.
func NewClient(config Config) (*Client, error) {
	config = config.withDefaults()
	c := &Client{config: config, slots: make(chan struct{}, config.MaxQueries)}
	var err error
	if c.servers, err = newServers(config); err != nil {
		return nil, err
	}
	if c.cache, err = newCache(config, c.lifetime); err != nil {
		return nil, err
	}
	if config.StaleTTL > 0 {
		c.stale, err = newCache(config, func(a *cacheEntry) time.Duration { return c.lifetime(a) + config.StaleTTL })
		if err != nil {
			c.cache.StopAllGoroutines()
			return nil, err
		}
	}
	c.closing, c.close = context.WithCancel(context.Background())
	return c, nil
}

// Close ends look-ups under way, which return ErrCanceled as all later ones do,
// and releases what the client holds.
func (c *Client) Close() error {
	c.close()
	c.servers.close()
	c.cache.StopAllGoroutines()
	if c.stale != nil {
		c.stale.StopAllGoroutines()
	}
	return nil
}

// Lookup answers from the cache or asks the servers. It returns ErrCanceled as
// soon as ctx is canceled, and ErrTimeout as soon as its deadline is over.
func (c *Client) Lookup(ctx context.Context, name string, qtype uint16) Result {
	c.stats.Lookups.Add(1)
	q, result, ok := c.known(name, qtype)
	if ok {
		return result
	}
	c.stats.Waiting.Add(1)
	defer c.stats.Waiting.Add(-1)
	a, err := c.cache.Get(ctx, q, otter.LoaderFunc[Question, *cacheEntry](c.fill))
	return c.result(a, err)
}

// LookupFresh asks the servers past the cache, which neither gives the answer nor keeps it.
func (c *Client) LookupFresh(ctx context.Context, name string, qtype uint16) Result {
	c.stats.Lookups.Add(1)
	q, result, ok := c.valid(name, qtype)
	if ok {
		return result
	}
	c.stats.Waiting.Add(1)
	defer c.stats.Waiting.Add(-1)
	a, err := c.load(ctx, q)
	return c.result(&a, err)
}

// result is what a caller is told of a look-up.
func (c *Client) result(a *cacheEntry, err error) Result {
	switch {
	case err == nil:
		return a.Result
	case errors.Is(err, context.DeadlineExceeded) && c.closing.Err() == nil:
		return temporary(ErrTimeout)
	}
	c.stats.Canceled.Add(1)
	return temporary(ErrCanceled)
}

func (c *Client) LookupCached(name string, qtype uint16) (Result, bool) {
	_, result, ok := c.known(name, qtype)
	if ok {
		c.stats.Lookups.Add(1)
	}
	return result, ok
}

// known is the result if there is nothing to ask, or else the question.
func (c *Client) known(name string, qtype uint16) (q Question, result Result, ok bool) {
	if q, result, ok = c.valid(name, qtype); ok {
		return q, result, true
	}
	a, ok := c.cache.GetIfPresent(q)
	if !ok {
		return q, Result{}, false
	}
	c.stats.Hits.Add(1)
	return q, a.Result, true
}

// valid is the result if the question cannot be asked, or else the question.
func (c *Client) valid(name string, qtype uint16) (q Question, result Result, ok bool) {
	name, ok = canonicalName(name)
	if !ok {
		return Question{}, Result{Status: NXDomain}, true
	}
	// A name with a place for a list's key is not for the network: Lists.Resolver
	// fills it in.
	if !supported(qtype) || strings.Contains(name, keyPlace) {
		return Question{}, temporary(ErrServFail), true
	}
	return Question{name, qtype}, Result{}, false
}

// fill is what the cache runs to have an answer: in the goroutine of the first caller,
// and the others wait. Its error is a context's: of a caller that gave up, or of a
// look-up that had no turn in time; nothing is remembered then, and the next caller
// runs it again.
func (c *Client) fill(ctx context.Context, q Question) (*cacheEntry, error) {
	a, err := c.load(ctx, q)
	if err != nil {
		return nil, err
	}
	if c.stale != nil {
		a = c.orStale(q, a)
	}
	return &a, nil
}

// load asks the servers when it is this look-up's turn.
func (c *Client) load(ctx context.Context, q Question) (cacheEntry, error) {
	if err := c.closing.Err(); err != nil {
		return cacheEntry{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	if err := c.acquire(ctx); err != nil {
		return cacheEntry{}, err
	}
	defer func() { <-c.slots }()
	return c.resolve(ctx, q)
}

func (c *Client) acquire(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	c.stats.Queued.Add(1)
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// orStale keeps a good answer for bad times, and in bad times gives it
// (RFC 8767). It is remembered as the temporary failure would have been.
func (c *Client) orStale(q Question, a cacheEntry) cacheEntry {
	if listError(&a) {
		return a
	}
	if a.Status != Temporary {
		c.stale.Set(q, &a)
		return a
	}
	if old, ok := c.stale.GetIfPresent(q); ok {
		c.stats.Stale.Add(1)
		return cacheEntry{old.Result, min(old.ttl, c.config.TemporaryTTL)}
	}
	return a
}

// resolve asks the servers and follows aliases from message to message.
func (c *Client) resolve(ctx context.Context, q Question) (cacheEntry, error) {
	follow := newChain(q)
	for {
		reply, failure, err := c.exchange(ctx, Question{follow.name, q.Type})
		if err != nil {
			return cacheEntry{}, err
		}
		if failure != nil {
			return cacheEntry{temporary(failure), unsaid}, nil
		}
		a, done := follow.read(reply)
		if done {
			if a.Status == Temporary {
				c.stats.Loops.Add(1)
			}
			return a, nil
		}
	}
}

// exchange asks one question of one server after the other until there is an
// answer. Without one, failure is ErrTimeout or ErrServFail; err is the end of
// the context, before that much could be told.
func (c *Client) exchange(ctx context.Context, q Question) (reply *dns.Msg, failure, err error) {
	failure = ErrTimeout
	tried := false
	var useless serverSet // answered, but cannot tell: asking again is in vain
	for attempt := range c.config.Attempts {
		now := c.config.now()
		for _, server := range c.servers.get(now).order(now) {
			if slices.Contains(useless, server) {
				continue
			}
			reply, err := c.ask(ctx, server, q, attempt == 0)
			switch {
			case err == nil && c.useful(reply):
				server.answered()
				return reply, nil, nil
			case err == nil:
				server.answered()
				failure = ErrServFail
				useless = append(useless, server)
			case ctx.Err() != nil:
				// After a whole try without an answer the servers are known not to
				// answer, which saves the next caller the wait.
				if tried && errors.Is(ctx.Err(), context.DeadlineExceeded) {
					return nil, failure, nil
				}
				return nil, nil, ctx.Err()
			default:
				server.failed(c.config.now())
			}
			tried = true
		}
	}
	return nil, failure, nil
}

// useful says whether a reply settles the question.
func (c *Client) useful(reply *dns.Msg) bool {
	switch {
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		c.stats.ServFail.Add(1)
		return false
	case isReferral(reply):
		c.stats.Referrals.Add(1)
		return false
	}
	return true
}
