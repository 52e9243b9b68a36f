package dnscheck

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"
)

// What an answer takes in memory beside its strings: the record, and the entry
// with its key, value and places in the cache's tables, measured and rounded up.
const (
	recordBytes = 80
	entryBytes  = 250
)

// entryWeight is about the memory an answer takes.
func entryWeight(q Question, a *cacheEntry) uint32 {
	bytes := entryBytes + len(q.Name) + recordBytes*len(a.Records)
	for _, record := range a.Records {
		bytes += len(record.Host) + len(record.Text)
	}
	return uint32(bytes)
}

// newCache makes a cache whose answers live for lifetime.
func newCache(config Config, lifetime func(*cacheEntry) time.Duration) (*otter.Cache[Question, *cacheEntry], error) {
	// The cache has one bound. An entry that weighs at least its share of the
	// bytes makes that one serve for the number of entries as well.
	entries := int64(config.CacheEntries)
	least := uint32(min((config.CacheBytes+entries-1)/entries, 1<<30))
	cache, err := otter.New(&otter.Options[Question, *cacheEntry]{
		MaximumWeight: uint64(config.CacheBytes),
		Weigher: func(q Question, a *cacheEntry) uint32 {
			return max(least, entryWeight(q, a))
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[Question, *cacheEntry]) time.Duration {
			return lifetime(e.Value)
		}),
		Clock:  cacheClock{config.now},
		Logger: &otter.NoopLogger{},
	})
	if err != nil {
		return nil, fmt.Errorf("make dns cache: %w", err)
	}
	return cache, nil
}

// cacheClock lets the cache go by the client's clock.
type cacheClock struct{ now func() time.Time }

func (c cacheClock) NowNano() int64 { return c.now().UnixNano() }

func (c cacheClock) Tick(d time.Duration) <-chan time.Time { return time.Tick(d) }

// listError says that an answer is one by which DNS lists report that they did
// not look (127.255.255.0/24). It is not about the name, so its time to live does
// not count.
func listError(a *cacheEntry) bool {
	return slices.ContainsFunc(a.Records, func(r Record) bool {
		return r.Addr.Is4() && listErrors.Contains(r.Addr)
	})
}

var listErrors = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 255, 255, 0}), 24)

func (c *Client) lifetime(a *cacheEntry) time.Duration {
	switch {
	case a.Status == Temporary || listError(a):
		return max(c.config.TemporaryTTL, time.Millisecond)
	case a.Status == Found:
		return max(min(a.ttl, c.config.MaxTTL), c.config.MinTTL, time.Millisecond)
	}
	// An answer that does not say is remembered for the floor.
	return max(min(a.ttl, c.config.NegativeTTL, c.config.MaxTTL), c.config.MinTTL, time.Millisecond)
}
