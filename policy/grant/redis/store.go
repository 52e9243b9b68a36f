package redis

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"milterd/policy/grant"
)

var _ grant.Store = (*Store)(nil)

// seenAddrs bounds the grants that are remembered here, for Known and for the
// report of what expires.
const seenAddrs = 100_000

// Store is a grant.Store in a server. It starts, and goes on, without the server.
type Store struct {
	*Client
	prefix string
	// seen are the grants that the server told of, mine those made here.
	seen, mine *grant.Memory
	unreadable atomic.Uint64
	// tellUnreadable bounds the lines about values that are not grants.
	tellUnreadable rate.Sometimes
}

func (c *Client) Grants() *Store {
	return &Store{
		Client: c,
		prefix: c.config.Prefix + "grant:",
		seen:   grant.NewMemory(seenAddrs, c.config.Now),
		mine:   grant.NewMemory(seenAddrs, c.config.Now),

		tellUnreadable: rate.Sometimes{Interval: time.Minute},
	}
}

func (s *Store) addrKey(addr netip.Addr) string { return s.prefix + "addr:" + addr.String() }

func (s *Store) Put(ctx context.Context, login grant.Login, ttl time.Duration, maxPerUser int) (grant.Change, error) {
	var reply []any
	err := s.do(ctx, "grant", func(ctx context.Context) (err error) {
		reply, err = put.Run(ctx, s.client, []string{s.addrKey(login.Addr)}, s.prefix, login.Addr.String(),
			login.User, login.Source, ttl.Milliseconds(), maxPerUser).Slice()
		return err
	})
	if redis.IsOOMError(err) {
		return grant.Change{}, fmt.Errorf("%w: the server's memory is full", grant.ErrFull)
	}
	if err != nil {
		return grant.Change{}, err
	}
	change, err := s.change(login, ttl, reply)
	if err != nil {
		return grant.Change{}, fmt.Errorf("redis: grant: %w", err)
	}
	for _, addr := range change.Displaced {
		s.forget(addr)
	}
	s.remember(s.seen, change.Grant)
	s.remember(s.mine, change.Grant)
	return change, nil
}

// change reads the answer of the script put.
func (s *Store) change(login grant.Login, ttl time.Duration, reply []any) (grant.Change, error) {
	if len(reply) != 5 {
		return grant.Change{}, fmt.Errorf("answer of %d parts", len(reply))
	}
	renewed, _ := reply[0].(int64)
	sinceText, _ := reply[1].(string)
	user, _ := reply[2].(string)
	replaced, _ := reply[3].(string)
	displaced, _ := reply[4].([]any)
	since, err := parseSince(sinceText)
	if err == nil {
		err = grant.ValidUser(user)
	}
	if err != nil {
		return grant.Change{}, err
	}
	if grant.ValidUser(replaced) != nil {
		replaced = ""
	}
	change := grant.Change{
		Grant: grant.Grant{Addr: login.Addr, User: user, Source: login.Source,
			Since: since, Expires: s.config.Now().Add(ttl)},
		Renewed: renewed == 1, Replaced: replaced,
	}
	for _, part := range displaced {
		text, _ := part.(string)
		if addr, err := netip.ParseAddr(text); err == nil {
			change.Displaced = append(change.Displaced, grant.Canonical(addr))
		}
	}
	return change, nil
}

func (s *Store) Get(ctx context.Context, addr netip.Addr) (grant.Grant, bool, error) {
	var grants []grant.Grant
	err := s.do(ctx, "look up grant", func(ctx context.Context) (err error) {
		grants, err = s.read(ctx, []netip.Addr{addr})
		return err
	})
	if err != nil {
		return grant.Grant{}, false, err
	}
	if len(grants) == 0 {
		// Delete of a Memory has no error.
		_, _ = s.seen.Delete(ctx, addr)
		return grant.Grant{}, false, nil
	}
	s.remember(s.seen, grants[0])
	return grants[0], true, nil
}

func (s *Store) Delete(ctx context.Context, addr netip.Addr) (bool, error) {
	var n int64
	err := s.do(ctx, "revoke grant", func(ctx context.Context) (err error) {
		n, err = remove.Run(ctx, s.client, []string{s.addrKey(addr)}, s.prefix, addr.String()).Int64()
		return err
	})
	if err != nil {
		return false, err
	}
	s.forget(addr)
	return n > 0, nil
}

func (s *Store) DeleteUser(ctx context.Context, user string) ([]netip.Addr, error) {
	var texts []string
	err := s.do(ctx, "revoke grants of a user", func(ctx context.Context) (err error) {
		texts, err = removeUser.Run(ctx, s.client, []string{s.prefix + "user:" + user}, s.prefix, user).StringSlice()
		return err
	})
	if err != nil {
		return nil, err
	}
	var gone []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			s.forget(grant.Canonical(addr))
			gone = append(gone, grant.Canonical(addr))
		}
	}
	return gone, nil
}

// page is how many keys a List asks for at a time.
const page = 500

// List calls fn for each grant. Each page of keys has the time of one operation; a grant may
// be told twice while the server's table of keys is growing or shrinking.
func (s *Store) List(ctx context.Context, fn func(grant.Grant) bool) error {
	prefix := s.prefix + "addr:"
	for cursor := uint64(0); ; {
		var grants []grant.Grant
		err := s.do(ctx, "list grants", func(ctx context.Context) error {
			node, err := s.node(ctx, prefix)
			if err != nil {
				return err
			}
			keys, next, err := node.Scan(ctx, cursor, glob(prefix)+"*", page).Result()
			if err != nil {
				return err
			}
			cursor = next
			grants, err = s.read(ctx, s.addrs(keys, prefix))
			return err
		})
		if err != nil {
			return err
		}
		for _, g := range grants {
			if !fn(g) {
				return nil
			}
		}
		if cursor == 0 {
			return nil
		}
	}
}

// addrs are the addresses in names of keys; what is none is left out.
func (s *Store) addrs(keys []string, prefix string) []netip.Addr {
	var addrs []netip.Addr
	for _, key := range keys {
		addr, err := netip.ParseAddr(strings.TrimPrefix(key, prefix))
		if err != nil || addr != grant.Canonical(addr) {
			s.noteUnreadable(key, errors.New("its name has no address"))
			continue
		}
		addrs = append(addrs, addr)
	}
	return addrs
}

// glob quotes what a pattern of SCAN gives a meaning to.
func glob(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}

// Expire reports grants made here that the server has no more. While the server
// does not answer, it is this that tries again, so that mail seldom has to.
func (s *Store) Expire(ctx context.Context, max int) ([]grant.Grant, error) {
	if s.breaker.open() {
		if err := s.Ping(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := s.seen.Expire(ctx, seenAddrs); err != nil {
		return nil, err
	}
	due, err := s.mine.Expire(ctx, max)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	asked := make([]netip.Addr, len(due))
	for i, g := range due {
		asked[i] = g.Addr
	}
	var left []grant.Grant
	err = s.do(ctx, "look up expired grants", func(ctx context.Context) (err error) {
		left, err = s.read(ctx, asked)
		return err
	})
	now := s.config.Now()
	if err != nil {
		for _, g := range due {
			g.Expires = now.Add(again)
			s.remember(s.mine, g)
		}
		return nil, err
	}
	held := make(map[netip.Addr]bool, len(left))
	for _, g := range left {
		held[g.Addr] = true
		if g.Expires.Before(now.Add(again)) {
			s.remember(s.mine, g)
		}
	}
	var gone []grant.Grant
	for _, g := range due {
		if !held[g.Addr] {
			gone = append(gone, g)
		}
	}
	return gone, nil
}

// again is when a grant is asked about again that should have expired: the clocks
// here and there may differ that much. What has longer left was renewed elsewhere.
const again = 2 * time.Second

// Known says whether the address held a grant when the server last told of it,
// and would hold it still.
func (s *Store) Known(addr netip.Addr) bool {
	_, ok, err := s.seen.Get(context.Background(), addr)
	return ok && err == nil
}

// Failures counts the values that were not grants.
func (s *Store) Failures() uint64 { return s.unreadable.Load() }

// remember keeps a grant here; where there is no room, it is not remembered.
func (s *Store) remember(m *grant.Memory, g grant.Grant) { _, _ = m.Restore(g) }

func (s *Store) forget(addr netip.Addr) {
	// Delete of a Memory has no error.
	_, _ = s.seen.Delete(context.Background(), addr)
	_, _ = s.mine.Delete(context.Background(), addr)
}

func parseSince(text string) (time.Time, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 || ms > maxMilli {
		return time.Time{}, errors.New("its first login is not a time")
	}
	return time.UnixMilli(ms), nil
}

// maxMilli is the end of the year 9999, beyond which times cannot be written.
const maxMilli = 253402300799999

// Len says that the number of grants is not known: the server is not asked for it.
func (s *Store) Len() int { return -1 }
