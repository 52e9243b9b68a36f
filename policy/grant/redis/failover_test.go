package redis_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"milterd/integration/testkit"
	"milterd/policy"
	"milterd/policy/grant/redis"
)

// replicated are a server, its replica, and a Sentinel that knows both. ask asks that.
func replicated(t *testing.T) (master, replica *server, address string, ask func(...string) string) {
	t.Helper()
	testkit.Need(t, "redis-cli")
	master, replica = startServer(t, "--port", fmt.Sprint(freePort(t)), "--bind", "127.0.0.1"), startServer(t, "--port", fmt.Sprint(freePort(t)), "--bind", "127.0.0.1")
	replica.do("REPLICAOF", "127.0.0.1", portOf(master))
	testkit.Eventually(t, "the replica follows", func() bool {
		info, _ := replica.do("INFO", "replication").(string)
		return strings.Contains(info, "master_link_status:up")
	})
	address = sentinel(t, master, "sentinel down-after-milliseconds mail 1000\nsentinel failover-timeout mail 5000\n")
	ask = func(args ...string) string {
		out, _ := exec.Command("redis-cli", append([]string{"-p", address[strings.LastIndexByte(address, ':')+1:]}, args...)...).Output()
		return string(out)
	}
	testkit.Eventually(t, "the Sentinel knows the replica", func() bool { return strings.Contains(ask("INFO", "sentinel"), "slaves=1") })
	return master, replica, address, ask
}

func portOf(s *server) string { return s.do("CONFIG", "GET", "port").([]any)[1].(string) }

// TestASentinelMakesAnotherServerTheMaster: counts and blocks go on there.
func TestASentinelMakesAnotherServerTheMaster(t *testing.T) {
	master, replica, address, _ := replicated(t)
	l, log := limit(t, "l", policy.ModeEnforce, "100/24h"), new(testkit.Log)
	config := redis.Config{Addresses: []string{address}, Master: "mail"}
	a, b := host(t, config, log), host(t, config, new(testkit.Log))
	if n := send(t, a, 30, "shin", l) + send(t, b, 30, "shin", l); n != 60 {
		t.Fatalf("%d taken", n)
	}
	offset := func(s *server) string {
		info, _ := s.do("INFO", "replication").(string)
		_, rest, _ := strings.Cut(info, "master_repl_offset:")
		return strings.Fields(rest)[0]
	}
	testkit.Eventually(t, "the replica has all", func() bool { return offset(master) == offset(replica) })
	master.stop()
	// Nothing is refused meanwhile.
	if n := send(t, a, 10, "shin", l); n != 10 {
		t.Errorf("%d taken while there is no master, expected 10", n)
	}
	testkit.Eventually(t, "the replica is the master, and asked", func() bool {
		send(t, a, 1, "other", l)
		// A server that becomes the master closes the connections of its clients.
		info, _ := exec.Command("redis-cli", "-s", replica.socket(), "INFO", "replication").Output()
		return strings.Contains(string(info), "role:master") && log.Has("works again")
	})
	if n := send(t, a, 100, "shin", l); n != 30 {
		t.Errorf("%d taken after that, expected the 30 that are left", n)
	}
	testkit.Eventually(t, "the other host asks there, too", func() bool {
		send(t, b, 1, "other", l)
		return send(t, b, 1, "shin", l) == 0
	})
}

// TestAnOrderlyFailover makes the replica the master while mail is counted: what it had not
// heard of by then is not forgotten.
func TestAnOrderlyFailover(t *testing.T) {
	_, replica, address, ask := replicated(t)
	l := limit(t, "l", policy.ModeEnforce, "1000000/31d")
	k := host(t, redis.Config{Addresses: []string{address}, Master: "mail"}, new(testkit.Log))
	var taken atomic.Int64
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 4 {
		running.Go(func() {
			for ctx.Err() == nil {
				taken.Add(int64(send(t, k, 1, "shin", l)))
			}
		})
	}
	goesOn := func(what string) {
		at := taken.Load()
		testkit.Eventually(t, what, func() bool { return taken.Load() > at+500 })
	}
	goesOn("some are taken")
	testkit.Eventually(t, "the Sentinel begins", func() bool { return strings.HasPrefix(ask("SENTINEL", "FAILOVER", "mail"), "OK") })
	testkit.Eventually(t, "the replica is the master", func() bool {
		return strings.Contains(ask("SENTINEL", "get-master-addr-by-name", "mail"), portOf(replica))
	})
	goesOn("some are taken by the new one")
	stop()
	running.Wait()
	queries := []policy.LimitQuery{{Limit: l, Key: "shin", Rates: l.Rates}}
	k.Count(t.Context(), "shin", queries)
	// Room for one comes each 3 seconds; what was under way may count twice.
	if n := queries[0].Answer.Used; n < int(taken.Load())-50 || n > int(taken.Load())+50 {
		t.Errorf("%d are counted, %d were taken", n, taken.Load())
	}
}
