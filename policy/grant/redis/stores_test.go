package redis_test

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"milterd/policy/grant"
	"milterd/policy/grant/bolt"
	"milterd/policy/grant/redis"
)

// model is a store that cannot be wrong: a list of grants in the order of logins.
type model struct {
	grants []grant.Grant
	now    time.Time
}

func (m *model) expire() {
	m.grants = slices.DeleteFunc(m.grants, func(g grant.Grant) bool { return !g.Expires.After(m.now) })
}

func (m *model) put(login grant.Login, ttl time.Duration, maxPerUser int) grant.Change {
	m.expire()
	at := slices.IndexFunc(m.grants, func(g grant.Grant) bool { return g.Addr == login.Addr })
	g := grant.Grant{Addr: login.Addr, User: login.User, Source: login.Source, Since: m.now, Expires: m.now.Add(ttl)}
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
	addrs := rapid.SampledFrom([]netip.Addr{
		netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.3"),
		netip.MustParseAddr("203.0.113.4"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"),
	})
	users := rapid.SampledFrom([]string{"", "shin", "kim@example.test", "日本 user*[?]\\", "1"})
	rapid.Check(t, func(rt *rapid.T) {
		if s.clean != nil {
			s.clean()
		}
		m := &model{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		clock := func() time.Time { return m.now }
		store, err := s.open(clock)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() {
			if err := store.Close(); err != nil {
				rt.Error(err)
			}
		}()
		ctx := context.Background()
		check := func(what string, want, got any, err error) {
			if diff := gocmp.Diff(want, got, options); err != nil || diff != "" {
				rt.Fatalf("%s: error %v, want - got +:\n%s", what, err, diff)
			}
		}
		logins := 0
		actions := map[string]func(*rapid.T){
			"login": func(rt *rapid.T) {
				login := grant.Login{Addr: addrs.Draw(rt, "addr"), User: users.Draw(rt, "user"), Source: "test"}
				limit := rapid.IntRange(0, 3).Draw(rt, "limit")
				// No two grants end at the same time, be the clock as it may.
				logins++
				ttl := 30*time.Minute + time.Duration(logins)*time.Minute
				change, err := store.Put(ctx, login, ttl, limit)
				check("put", m.put(login, ttl, limit), change, err)
			},
			"revoke": func(rt *rapid.T) {
				addr := addrs.Draw(rt, "addr")
				held, err := store.Delete(ctx, addr)
				check("delete", len(m.remove(func(g grant.Grant) bool { return g.Addr == addr })) > 0, held, err)
			},
			"revoke user": func(rt *rapid.T) {
				user := users.Filter(func(u string) bool { return u != "" }).Draw(rt, "user")
				gone, err := store.DeleteUser(ctx, user)
				check("delete user", m.remove(func(g grant.Grant) bool { return g.User == user }), gone, err)
			},
			"": func(rt *rapid.T) {
				addr := addrs.Draw(rt, "addr")
				g, ok, err := store.Get(ctx, addr)
				want, wantOK := m.get(addr)
				check("get", []any{want, wantOK}, []any{g, ok}, err)
				var listed []grant.Grant
				err = store.List(ctx, func(g grant.Grant) bool { listed = append(listed, g); return true })
				check("list", m.grants, listed, err)
			},
		}
		if !s.ownClock {
			actions["time passes"] = func(rt *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(rt, "minutes")) * time.Minute)
			}
			actions["sweep"] = func(rt *rapid.T) {
				before := slices.Clone(m.grants)
				m.expire()
				gone, err := store.(grant.Expirer).Expire(ctx, 1000)
				for _, g := range gone {
					if g.Expires.After(m.now) || slices.ContainsFunc(m.grants, func(h grant.Grant) bool { return h.Addr == g.Addr }) {
						rt.Fatalf("%v was removed, but holds", g)
					}
				}
				check("sweep", true, len(gone) >= len(before)-len(m.grants), err)
			}
		}
		if s.reopens {
			actions["reopen"] = func(rt *rapid.T) {
				if err := store.Close(); err != nil {
					rt.Fatal(err)
				}
				if store, err = s.open(clock); err != nil {
					rt.Fatal(err)
				}
			}
		}
		rt.Repeat(actions)
	})
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
			return bolt.Open(bolt.Config{Path: filepath.Join(path, string(rune('a'+file%26))), Now: now})
		},
		clean: func() {
			// Each run begins with a new file, or one that has been emptied.
			file++
			store, err := bolt.Open(bolt.Config{Path: filepath.Join(path, string(rune('a'+file%26))), Now: farFuture})
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
			return redis.New(redis.Config{Address: s.socket(), Timeout: patience})
		},
	})
}
