package redis_test

import (
	"cmp"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"milterd/integration/testkit"
	"milterd/policy/grant"
	"milterd/policy/grant/redis"
)

// model is a store that cannot be wrong: a list of grants in the order of logins.
type model struct {
	grants []grant.Grant
	clock  *testkit.Clock
}

func (m *model) expire() {
	m.grants = slices.DeleteFunc(m.grants, func(g grant.Grant) bool { return !g.Expires.After(m.clock.Now()) })
}

func (m *model) put(login grant.Login, ttl time.Duration, maxPerUser int) grant.Change {
	m.expire()
	at := slices.IndexFunc(m.grants, func(g grant.Grant) bool { return g.Addr == login.Addr })
	g := grant.Grant{Addr: login.Addr, User: login.User, Source: login.Source, Since: m.clock.Now(), Expires: m.clock.Now().Add(ttl)}
	change := grant.Change{Grant: g}
	if at >= 0 {
		old := m.grants[at]
		m.grants = slices.Delete(m.grants, at, at+1)
		if old.User != "" && g.User != "" && old.User != g.User {
			change.Replaced = old.User
		} else {
			change.Renewed = true
			change.Grant.Since = old.Since
			change.Grant.User = cmp.Or(g.User, old.User)
		}
	}
	m.grants = append(m.grants, change.Grant)
	if change.Grant.User == "" || maxPerUser <= 0 {
		return change
	}
	count := 0
	for i := len(m.grants) - 1; i >= 0; i-- {
		if m.grants[i].User != change.Grant.User {
			continue
		}
		if count++; count > maxPerUser {
			change.Displaced = append(change.Displaced, m.grants[i].Addr)
			m.grants = slices.Delete(m.grants, i, i+1)
		}
	}
	return change
}

func (m *model) get(addr netip.Addr) (grant.Grant, bool) {
	m.expire()
	at := slices.IndexFunc(m.grants, func(g grant.Grant) bool { return g.Addr == addr })
	if at < 0 {
		return grant.Grant{}, false
	}
	return m.grants[at], true
}

func (m *model) remove(which func(grant.Grant) bool) []netip.Addr {
	m.expire()
	var gone []netip.Addr
	m.grants = slices.DeleteFunc(m.grants, func(g grant.Grant) bool {
		if which(g) {
			gone = append(gone, g.Addr)
		}
		return which(g)
	})
	return gone
}

// subject is a store under test.
type subject struct {
	open func(now func() time.Time) (grant.Store, error)
	// reopens: what it holds is there again after it was closed.
	reopens bool
	// ownClock: the store goes by a clock that the test cannot set.
	ownClock bool
	// clean empties it.
	clean func()
}

// comparison is a store beside its model.
type comparison struct {
	subject
	model   *model
	store   grant.Store
	options gocmp.Options
	logins  int
}

var (
	someAddrs = rapid.SampledFrom([]netip.Addr{
		netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.3"),
		netip.MustParseAddr("203.0.113.4"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"),
	})
	someUsers = rapid.SampledFrom([]string{"", "shin", "kim@example.test", "日本 user*[?]\\", "1"})
)

func compareStores(t *testing.T, s subject) {
	options := gocmp.Options{
		cmpopts.EquateEmpty(),
		cmpopts.SortSlices(netip.Addr.Less),
		cmpopts.SortSlices(func(a, b grant.Grant) bool { return a.Addr.Less(b.Addr) }),
		gocmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	}
	if s.ownClock {
		options = append(options, cmpopts.IgnoreFields(grant.Grant{}, "Since", "Expires"))
	}
	rapid.Check(t, func(rt *rapid.T) {
		if s.clean != nil {
			s.clean()
		}
		c := &comparison{subject: s, options: options, model: &model{clock: testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}}
		c.openStore(rt)
		defer func() { c.check(rt, "close", nil, nil, c.store.Close()) }()
		actions := map[string]func(*rapid.T){"": c.look, "login": c.login, "revoke": c.revoke, "revoke user": c.revokeUser}
		if !s.ownClock {
			actions["time passes"], actions["sweep"] = c.pass, c.sweep
		}
		if s.reopens {
			actions["reopen"] = func(rt *rapid.T) {
				c.check(rt, "close", nil, nil, c.store.Close())
				c.openStore(rt)
			}
		}
		rt.Repeat(actions)
	})
}

func (c *comparison) check(rt *rapid.T, what string, want, got any, err error) {
	if diff := gocmp.Diff(want, got, c.options); err != nil || diff != "" {
		rt.Fatalf("%s: error %v, want - got +:\n%s", what, err, diff)
	}
}

func (c *comparison) openStore(rt *rapid.T) {
	store, err := c.open(c.model.clock.Now)
	if err != nil {
		rt.Fatal(err)
	}
	c.store = store
}

func (c *comparison) login(rt *rapid.T) {
	login := grant.Login{Addr: someAddrs.Draw(rt, "addr"), User: someUsers.Draw(rt, "user"), Source: "test"}
	limit := rapid.IntRange(0, 3).Draw(rt, "limit")
	// No two grants end at the same time, be the clock as it may.
	c.logins++
	ttl := 30*time.Minute + time.Duration(c.logins)*time.Minute
	change, err := c.store.Put(rt.Context(), login, ttl, limit)
	c.check(rt, "put", c.model.put(login, ttl, limit), change, err)
}

func (c *comparison) revoke(rt *rapid.T) {
	addr := someAddrs.Draw(rt, "addr")
	held, err := c.store.Delete(rt.Context(), addr)
	gone := c.model.remove(func(g grant.Grant) bool { return g.Addr == addr })
	c.check(rt, "delete", len(gone) > 0, held, err)
}

func (c *comparison) revokeUser(rt *rapid.T) {
	user := someUsers.Filter(func(u string) bool { return u != "" }).Draw(rt, "user")
	gone, err := c.store.DeleteUser(rt.Context(), user)
	c.check(rt, "delete user", c.model.remove(func(g grant.Grant) bool { return g.User == user }), gone, err)
}

func (c *comparison) look(rt *rapid.T) {
	addr := someAddrs.Draw(rt, "addr")
	g, ok, err := c.store.Get(rt.Context(), addr)
	want, wantOK := c.model.get(addr)
	c.check(rt, "get", []any{want, wantOK}, []any{g, ok}, err)
	var listed []grant.Grant
	err = c.store.List(rt.Context(), func(g grant.Grant) bool { listed = append(listed, g); return true })
	c.check(rt, "list", c.model.grants, listed, err)
}

func (c *comparison) pass(rt *rapid.T) {
	c.model.clock.Advance(time.Duration(rapid.IntRange(1, 60).Draw(rt, "minutes")) * time.Minute)
}

func (c *comparison) sweep(rt *rapid.T) {
	c.model.expire()
	gone, err := c.store.Expire(rt.Context(), 1000)
	for _, g := range gone {
		_, held := c.model.get(g.Addr)
		c.check(rt, "sweep of "+g.Addr.String(), false, held, err)
	}
	c.check(rt, "left after a sweep", len(c.model.grants), c.store.Len(), err)
}

func TestMemoryDoesWhatItsModelDoes(t *testing.T) {
	compareStores(t, subject{
		open: func(now func() time.Time) (grant.Store, error) { return grant.NewMemory(0, now), nil },
	})
}

func TestFileDoesWhatItsModelDoes(t *testing.T) {
	path, file := t.TempDir(), 0
	compareStores(t, subject{
		open: func(now func() time.Time) (grant.Store, error) {
			return grant.OpenFile(grant.FileConfig{Path: filepath.Join(path, string(rune('a'+file%26))), Now: now})
		},
		clean: func() {
			// Each run begins with a new file, or one that has been emptied.
			file++
			store, err := grant.OpenFile(grant.FileConfig{Path: filepath.Join(path, string(rune('a'+file%26))), Now: farFuture})
			if err = errors.Join(err, store.Close()); err != nil {
				t.Fatal(err)
			}
		},
	})
}

func farFuture() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }

func TestServerDoesWhatItsModelDoes(t *testing.T) {
	s := startServer(t)
	compareStores(t, subject{
		ownClock: true, reopens: true,
		clean: func() { s.do("FLUSHALL") },
		open: func(func() time.Time) (grant.Store, error) {
			return redis.New(redis.Config{Addresses: []string{s.socket()}, Timeout: testkit.Patience})
		},
	})
}
