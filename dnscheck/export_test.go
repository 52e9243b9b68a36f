package dnscheck

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// WithClock is the config with a clock of the test's.
func (c Config) WithClock(now func() time.Time) Config {
	c.now = now
	return c
}

// ReadReply reads a message, without its id, as the answer to a question.
func ReadReply(message []byte, name string, qtype uint16) (Result, bool) {
	q := Question{name, qtype}
	query := newQuery(q, true)
	id := []byte{byte(query.Id >> 8), byte(query.Id)}
	reply, ok := readReply(append(id, message...), query)
	if !ok {
		return Result{}, false
	}
	a, done := newChain(q).read(reply)
	return a.Result, done
}

// Servers are the addresses a client asks now.
func Servers(c *Client) []string {
	var addrs []string
	for _, s := range c.servers.get(c.config.now()) {
		addrs = append(addrs, s.addr.String())
	}
	return addrs
}

// KeepsSockets says whether sockets to a server are used for several queries.
func KeepsSockets(addr netip.AddrPort) bool { return newServer(addr).keeps }

// FillCache puts n answers for different clients into a cache with the bounds
// of the config, and returns what keeps it alive and how many it holds.
func FillCache(config Config, n int) (cache any, entries int, err error) {
	config = config.withDefaults()
	c, err := newCache(config, func(*cacheEntry) time.Duration { return time.Hour })
	if err != nil {
		return nil, 0, err
	}
	defer c.StopAllGoroutines()
	for i := range n {
		addr := netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
		a := &cacheEntry{Result: Result{Status: NXDomain}}
		if i%2 == 0 {
			a = &cacheEntry{Result: found([]Record{{Type: dns.TypePTR, TTL: 300, Host: fmt.Sprintf("host-%d.isp.example.", i)}})}
		}
		c.Set(Question{ReverseName(addr), dns.TypePTR}, a)
	}
	c.CleanUp()
	return c, c.EstimatedSize(), nil
}
