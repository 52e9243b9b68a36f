package limits_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/harness/harnesstest"
)

const (
	patience     = 20 * time.Second
	secondSocket = "/run/milterd/second.sock"
	redis        = "redis: {address: " + harness.RedisAddr + "}\n"
	limited      = "limits: {file: /run/milterd/limits, rules: {logins: {rate: 100/24h"
	enforced     = limited + "}}}\n"
	shadowed     = limited + ", mode: shadow}}}\n"
	rest         = "domains: {hostname: mx.example.test, local: [example.test]}\naccess: {file: access}\n"
	listen       = "listen: {milter: 'local:" + secondSocket + "', map: []}\n"
)

var world *harness.World

func TestMain(m *testing.M) {
	os.Exit(harness.Main(func(w *harness.World) int {
		world = w
		return harnesstest.Run(m)
	}))
}

// start runs sendmail and a milterd with further sections.
func start(t *testing.T, sections string, missing ...error) *harness.Env {
	t.Helper()
	harnesstest.Need(t, world, missing...)
	options, err := harness.ReadScene("scene")
	if err != nil {
		t.Fatal(err)
	}
	options.Config += sections
	for _, file := range []string{"/run/milterd/limits", "/run/milterd/limits2"} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return harnesstest.Start(t, world, options)
}

// result is what became of a burst.
type result struct {
	taken, over atomic.Int64
	mu          sync.Mutex
	other       []string
}

// reply counts the reply to a recipient.
func (r *result) reply(reply harness.Reply, err error) bool {
	switch {
	case err == nil && strings.HasPrefix(reply.First(), "451 4.7.1 Too much mail (limit 100/24h)."):
		r.over.Add(1)
		return false
	case err == nil && reply.Code == 250:
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.other = append(r.other, fmt.Sprint(reply.First(), err))
	return false
}

// burst sends messages of a login over connections to both ports at once.
func burst(login string, connections, messages int) *result {
	r := new(result)
	r.burst(login, connections, messages)
	return r
}

func (r *result) burst(login string, connections, messages int) {
	var running sync.WaitGroup
	for i := range connections {
		running.Go(func() { r.connection(login, []string{"587", "1587"}[i%2], messages/connections) })
	}
	running.Wait()
}

// connection sends messages over one connection.
func (r *result) connection(login, port string, messages int) {
	conn, err := harness.Dial("203.0.113.8", net.JoinHostPort(harness.ServerAddr4, port))
	if err != nil {
		r.reply(harness.Reply{}, err)
		return
	}
	defer conn.Close()
	if _, err = conn.ReadReply(); err == nil {
		_, err = conn.Command("EHLO laptop.lan")
	}
	if err == nil {
		_, err = conn.Auth("PLAIN", login, "secret")
	}
	for range messages {
		if err == nil {
			_, err = conn.Command("MAIL FROM:<" + login + "@example.test>")
		}
		if err != nil {
			r.reply(harness.Reply{}, err)
			return
		}
		var reply harness.Reply
		if reply, err = conn.Command("RCPT TO:<x@other.example>"); !r.reply(reply, err) {
			_, err = conn.Command("RSET")
			continue
		}
		if _, err = conn.Command("DATA"); err == nil {
			if reply, err = conn.Command("Subject: burst\r\n\r\nHello\r\n."); err == nil && reply.Code == 250 {
				r.taken.Add(1)
			}
		}
	}
}

// want demands how many were taken, and that all others were over the limit.
func (r *result) want(t *testing.T, what string, sent, least, most int) {
	t.Helper()
	taken, over := int(r.taken.Load()), int(r.over.Load())
	t.Logf("%s: %d sent, %d taken, %d over the limit, %d other replies", what, sent, taken, over, len(r.other))
	if taken < least || taken > most || taken+over != sent || len(r.other) > 0 {
		t.Errorf("%s: expected %d to %d taken; others %.500q", what, least, most, r.other)
	}
}

// queued demands that all messages that were taken, and no others, are in the queue.
func queued(t *testing.T, env *harness.Env, taken int) {
	t.Helper()
	files, err := env.Queue()
	if err != nil || len(files) != taken {
		t.Errorf("%d messages are in the queue, %d were taken; %v", len(files), taken, err)
	}
}

// hosts are two milterds with one Redis.
func hosts(t *testing.T, limits string) (*harness.Env, *harness.Milterd, *harness.Redis) {
	t.Helper()
	env := start(t, redis+limits, harness.MissingRedis())
	server, err := env.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	// Each host has a snapshot of its own.
	second, err := env.StartMilterd("second.yaml", listen+rest+redis+strings.Replace(limits, "/limits,", "/limits2,", 1), secondSocket)
	if err != nil {
		t.Fatal(err)
	}
	return env, second, server
}

func TestABurstStopsAtTheLimitOnTwoHosts(t *testing.T) {
	env, second, _ := hosts(t, shadowed)
	burst("shin", 4, 120).want(t, "in shadow mode", 120, 120, 120)
	for _, m := range []*harness.Milterd{env.Milterd, second} {
		if _, err := m.Log.Wait(patience, 0, "a limit is reached, mail would be put off"); err != nil {
			t.Error(err)
		}
	}
	// Enforced by a reload alone: what was counted stays.
	scene, err := os.ReadFile("scene/milterd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	reload := func(m *harness.Milterd, name, config string) {
		t.Helper()
		mark := m.Log.Len()
		if err := errors.Join(env.WriteFile(name, config), m.Reload()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Log.Wait(patience, mark, `msg="policy in force"`, "reason=SIGHUP"); err != nil {
			t.Fatal(err)
		}
	}
	reload(env.Milterd, "milterd.yaml", string(scene)+redis+enforced)
	reload(second, "second.yaml", listen+rest+redis+strings.Replace(enforced, "/limits,", "/limits2,", 1))
	burst("shin", 2, 10).want(t, "after the reload", 10, 0, 0)
	burst("mari", 20, 2000).want(t, "2,000 over 20 connections", 2000, 100, 100)
	burst("hana", 2, 10).want(t, "another login", 10, 10, 10)
	queued(t, env, 120+100+10)
}

// TestRedisGoesAndComesInABurst: nothing is refused while it is away, no host takes more
// than the limit by its own count though the new server has nothing, and no mail is lost.
func TestRedisGoesAndComesInABurst(t *testing.T) {
	env, _, server := hosts(t, enforced)
	r, over := new(result), make(chan struct{})
	go func() {
		defer close(over)
		r.burst("mari", 8, 800)
	}()
	for i, change := range []func() error{server.Kill, server.Start} {
		if err := harness.Poll(patience, "a part of the burst", func() (bool, error) { return r.taken.Load() >= 25*int64(i+1), nil }); err != nil {
			t.Error(err)
		}
		if err := change(); err != nil {
			t.Error(err)
		}
	}
	<-over
	r.want(t, "Redis goes and comes", 800, 100, 200)
	queued(t, env, int(r.taken.Load()))
}

// TestRedisIsLostInABurst: without Redis each host takes what was left when it asked last,
// some 40 here, so that two hosts take about twice that, and nothing else is refused.
func TestRedisIsLostInABurst(t *testing.T) {
	env, second, server := hosts(t, enforced)
	burst("shin", 4, 60).want(t, "before", 60, 60, 60)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	burst("shin", 4, 200).want(t, "without Redis", 200, 40, 100)
	for _, m := range []*harness.Milterd{env.Milterd, second} {
		if _, err := m.Log.Wait(patience, 0, "the shared store of the limits is away"); err != nil {
			t.Error(err)
		}
	}
	// It has lost everything.
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	marks := []int{env.Milterd.Log.Len(), second.Log.Len()}
	if err := harness.Poll(patience, "Redis is asked again", func() (bool, error) {
		burst("hana", 2, 2)
		return len(env.Milterd.Log.Since(marks[0])) > 0 && strings.Contains(strings.Join(env.Milterd.Log.Since(0), ""), "works again") &&
			strings.Contains(strings.Join(second.Log.Since(0), ""), "works again"), nil
	}); err != nil {
		t.Fatal(err)
	}
	burst("shin", 4, 100).want(t, "after Redis lost all", 100, 0, 0)
}

func TestCountsOutlastAKill(t *testing.T) {
	env := start(t, enforced)
	if _, err := env.StartMilterd("second.yaml", listen+rest, secondSocket); err != nil {
		t.Fatal(err)
	}
	r := new(result)
	r.connection("shin", "587", 60)
	r.want(t, "before", 60, 60, 60)
	if err := harness.Poll(patience, "a snapshot of all", func() (bool, error) {
		text, err := os.ReadFile("/run/milterd/limits")
		return err == nil && used(string(text)) == 60, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := env.Milterd.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
	r = new(result)
	r.connection("shin", "587", 100)
	r.want(t, "after kill -9", 100, 40, 40)
	queued(t, env, 100)
}

// used is how many of the limit the one count in a snapshot has used.
func used(snapshot string) int {
	_, count, _ := strings.Cut(snapshot, "\ncount ")
	var key string
	var left int64
	if _, err := fmt.Sscan(count, &key, &left); err != nil {
		return 0
	}
	interval := (24 * time.Hour / 100).Microseconds()
	return int((left + interval - 1) / interval)
}
