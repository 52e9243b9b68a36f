package redis_test

import (
	"strings"
	"testing"
	"time"

	"milterd/policy/grant"
	"milterd/policy/grant/redis"
)

// FuzzValue: what is read as a grant is within all bounds.
func FuzzValue(f *testing.F) {
	f.Add("1\t1700000000000\tdovecot\tshin", int64(time.Minute))
	f.Add("1\t1700000000000\tdrac\t", int64(1))
	f.Add("1\t1700000000000\tdovecot\ta\tb", int64(-1))
	f.Fuzz(func(t *testing.T, value string, left int64) {
		g, err := redis.Parse(first, value, time.Duration(left), nil)
		if err != nil {
			return
		}
		if err := (grant.Login{Addr: g.Addr, User: g.User, Source: g.Source}).Valid(); err != nil {
			t.Fatal(err)
		}
		if left <= 0 || left > int64(grant.MaxTTL) || g.Since.UTC().Year() > 9999 || !strings.HasPrefix(value, "1\t") {
			t.Fatalf("%q, %d left: %+v", value, left, g)
		}
	})
}
