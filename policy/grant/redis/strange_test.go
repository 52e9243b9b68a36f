package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"milterd/policy/grant"
	"milterd/policy/grant/redis"
)

func TestStrangeValuesAreNoGrants(t *testing.T) {
	s := startServer(t)
	store := s.open(nil)
	key := redis.DefaultPrefix + "grant:addr:203.0.113.1"
	for _, tt := range []struct {
		name string
		set  []any
	}{
		{"no expiry", []any{"SET", key, "1\t1700000000000\tdovecot\tshin"}},
		{"too long to live", []any{"SET", key, "1\t1700000000000\tdovecot\tshin", "EX", 90000}},
		{"another version", []any{"SET", key, "2\t1700000000000\tdovecot\tshin", "EX", 60}},
		{"no time", []any{"SET", key, "1\tnow\tdovecot\tshin", "EX", 60}},
		{"a time before all", []any{"SET", key, "1\t-1\tdovecot\tshin", "EX", 60}},
		{"a time after all", []any{"SET", key, "1\t9223372036854775807\tdovecot\tshin", "EX", 60}},
		{"no source", []any{"SET", key, "1\t1700000000000\t\tshin", "EX", 60}},
		{"a part is missing", []any{"SET", key, "1\t1700000000000\tdovecot", "EX", 60}},
		{"control characters", []any{"SET", key, "1\t1700000000000\tdovecot\tshin\n", "EX", 60}},
		{"a long user", []any{"SET", key, "1\t1700000000000\tdovecot\t" + strings.Repeat("a", 400), "EX", 60}},
		{"a value of a megabyte", []any{"SET", key, "1\t1700000000000\tdovecot\t" + strings.Repeat("a", 1<<20), "EX", 60}},
		{"nothing", []any{"SET", key, "", "EX", 60}},
		{"another type", []any{"HSET", key, "user", "shin"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.do("FLUSHALL")
			s.do(tt.set...)
			before := store.Failures()
			if holds(t, store, first) {
				t.Error("held")
			}
			if store.Failures() == before {
				t.Error("not counted")
			}
			// A login puts it right, and so does a revocation.
			for _, user := range []string{"kim", "shin", ""} {
				s.do("DEL", key)
				s.do(tt.set...)
				if change := put(t, store, first, user, time.Hour); user != "" && change.Grant.User != user || !holds(t, store, first) {
					t.Errorf("after a login: %+v", change)
				}
			}
			s.do("DEL", key)
			s.do(tt.set...)
			if ok, err := store.Delete(t.Context(), first); !ok || err != nil {
				t.Errorf("revoke: %v %v", ok, err)
			}
			if n := s.do("EXISTS", key); n != int64(0) {
				t.Error("the key is there")
			}
		})
	}
}

func TestStrangeKeysAreLeftOutOfTheList(t *testing.T) {
	s := startServer(t)
	store := s.open(func(c *redis.Config) { c.Prefix = "a*[b]?\\:" })
	put(t, store, first, "shin", time.Hour)
	put(t, store, other, "addr:", time.Hour)
	for _, name := range []string{"not an address", "::ffff:203.0.113.7", "fe80::1%eth0", ""} {
		s.do("SET", `a*[b]?\:addr:`+name, "1\t1700000000000\tdovecot\tshin", "EX", 60)
	}
	s.do("SET", "abbb:addr:203.0.113.5", "1\t1700000000000\tdovecot\tshin", "EX", 60)
	got := make(map[string]string)
	if err := store.List(t.Context(), func(g grant.Grant) bool { got[g.Addr.String()] = g.User; return true }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"203.0.113.1": "shin", "2001:db8::1": "addr:"}, got); diff != "" {
		t.Errorf("want - got +:\n%s", diff)
	}
	n := 0
	if err := store.List(t.Context(), func(grant.Grant) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("told %d, %v", n, err)
	}
}
