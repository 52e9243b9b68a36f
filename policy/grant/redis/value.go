package redis

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"milterd/policy/grant"
)

// maxValue bounds what is read of a value. The longest honest one is
// shorter.
const maxValue = 511

// noKey is what PTTL says of a key that is not there.
const noKey = -2

// wrongType says that a key holds something else than a text.
func wrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }

// read asks for the grants of addresses, and returns those that are there.
func (s *Store) read(ctx context.Context, addrs []netip.Addr) ([]grant.Grant, error) {
	if len(addrs) == 0 {
		return nil, nil
	}
	values := make([]*redis.StringCmd, len(addrs))
	lefts := make([]*redis.DurationCmd, len(addrs))
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, addr := range addrs {
			key := s.addrKey(addr)
			values[i] = p.GetRange(ctx, key, 0, maxValue)
			lefts[i] = p.PTTL(ctx, key)
		}
		return nil
	})
	if err != nil && !wrongType(err) {
		return nil, err
	}
	var grants []grant.Grant
	for i, addr := range addrs {
		value, err := values[i].Result()
		left, leftErr := lefts[i].Result()
		if err != nil && !wrongType(err) || leftErr != nil {
			return nil, errors.Join(err, leftErr)
		}
		if left == noKey {
			continue
		}
		g, err := parse(addr, value, left, err)
		if err != nil {
			s.noteUnreadable(s.addrKey(addr), err)
			continue
		}
		g.Expires = s.config.Now().Add(left)
		grants = append(grants, g)
	}
	return grants, nil
}

// parse reads the value of an address' key, and the time it has left. err is how
// reading it ended.
func parse(addr netip.Addr, value string, left time.Duration, err error) (grant.Grant, error) {
	switch {
	case err != nil:
		return grant.Grant{}, err
	case left <= 0:
		return grant.Grant{}, errors.New("it does not expire")
	case left > grant.MaxTTL:
		return grant.Grant{}, fmt.Errorf("it expires in %v, later than any grant", left)
	case len(value) > maxValue:
		return grant.Grant{}, fmt.Errorf("its value is longer than %d octets", maxValue)
	}
	parts := strings.SplitN(value, "\t", 4)
	if len(parts) != 4 || parts[0] != "1" {
		return grant.Grant{}, errors.New("its value has another form")
	}
	since, err := parseSince(parts[1])
	if err != nil {
		return grant.Grant{}, err
	}
	login := grant.Login{Addr: addr, Source: parts[2], User: parts[3]}
	if err := login.Valid(); err != nil {
		return grant.Grant{}, err
	}
	return grant.Grant{Addr: addr, User: login.User, Source: login.Source, Since: since}, nil
}

func (s *Store) noteUnreadable(key string, why error) {
	s.unreadable.Add(1)
	s.tellUnreadable.Do(func() {
		s.config.Logger.Warn("a key in redis is not a relay grant", "key", fmt.Sprintf("%.200q", key), "reason", why)
	})
}
