package grants_test

import (
	"strings"
	"testing"
	"time"

	"milterd/integration/harness"
)

const (
	sharedRedis = "redis: {address: " + harness.RedisAddr + "}\n"

	secondSocket  = "/run/milterd/second.sock"
	secondControl = "/run/milterd/second-control.sock"
	goodClient    = "203.0.113.5"
)

// hosts are two milterds with one Redis. sendmail asks the first, and only the second
// hears of logins.
type hosts struct {
	env    *harness.Env
	second *harness.Milterd
	redis  *harness.Redis
}

func startHosts(t *testing.T) *hosts {
	t.Helper()
	env := start(t, sharedRedis+"grants:\n  control: local:"+control+"\n", harness.MissingDovecot(), harness.MissingRedis())
	redis, err := env.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	second, err := env.StartMilterd("second.yaml", "listen: {milter: [local:"+secondSocket+"], map: []}\n"+
		"domains: {hostname: mx2.example.test, local: [example.test]}\naccess: {file: access}\n"+
		sharedRedis+"grants:\n  control: local:"+secondControl+"\n"+byLog.grants, secondSocket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the second milterd's log:\n%s", second.Log)
		}
	})
	startDovecot(t, env, "")
	return &hosts{env, second, redis}
}

// login logs in and waits until the second milterd has granted.
func (h *hosts) login(t *testing.T, client string) {
	t.Helper()
	mark := h.second.Log.Len()
	login(t, "pop3", client, "shin")
	await(t, h.second, mark, `msg="relay grant `, "client="+client+" user=shin source=maillog:dovecot ")
}

func TestALoginAtOneHostCountsAtAnother(t *testing.T) {
	h := startHosts(t)
	const client = "203.0.113.8"
	wantRelay(t, client, relayingDenied)
	h.login(t, client)
	wantRelay(t, client, recipientTaken)
	await(t, h.env.Milterd, 0, `msg="relay grant used" client=`+client+" user=shin source=maillog:dovecot ")
	// Revoked at one, it is gone at the other.
	command(t, "-config", harness.ConfigDir+"/second.yaml", "-revoke", client)
	wantRelay(t, client, relayingDenied)

	for _, outage := range []struct {
		name       string
		begin, end func() error
		// kept: what Redis had is there afterwards.
		kept bool
	}{
		{"Redis hangs", h.redis.Freeze, h.redis.Thaw, true},
		{"Redis is killed", h.redis.Kill, h.redis.Start, false},
	} {
		t.Run(outage.name, func(t *testing.T) {
			h.login(t, client)
			wantRelay(t, client, recipientTaken)
			wantMail(t, goodClient, messageTaken)
			if err := outage.begin(); err != nil {
				t.Fatal(err)
			}
			h.without(t, client)
			if err := outage.end(); err != nil {
				t.Fatal(err)
			}
			h.recovered(t, client, outage.kept)
		})
	}
	for _, m := range []*harness.Milterd{h.env.Milterd, h.second} {
		if !m.Running() {
			t.Error("a milterd has ended")
		}
	}
}

// without looks at what happens while Redis does not answer. client has a grant.
func (h *hosts) without(t *testing.T, client string) {
	const newcomer = "203.0.113.10"
	login(t, "imap", newcomer, "mari")
	for _, config := range []string{harness.ConfigFile, harness.ConfigDir + "/second.yaml"} {
		if out, err := administer(t, "-config", config, "-grant", newcomer, "mari"); err == nil {
			t.Errorf("with %s, milterd -grant succeeds:\n%s", config, out)
		}
	}
	// More than once: neither the first nor a later look-up may open the relay.
	for range 3 {
		// Any client may hold a grant that cannot be asked for.
		for _, addr := range []string{"203.0.113.7", "2001:db8::7", newcomer, client} {
			wantRelay(t, addr, putOff)
		}
	}
	// Long enough that milterd tries Redis again meanwhile, which is when somebody waits.
	var longest time.Duration
	messages := 0
	for begun := time.Now(); time.Since(begun) < 3*time.Second/2; messages++ {
		one := time.Now()
		wantMail(t, goodClient, messageTaken)
		longest = max(longest, time.Since(one))
	}
	t.Logf("inbound: %d messages, one after the other, each within %v", messages, longest.Round(time.Millisecond))
	for _, m := range []*harness.Milterd{h.env.Milterd, h.second} {
		if lines := m.Log.FindAll(0, `msg="relay grant `, "client="+newcomer+" "); len(lines) > 0 {
			t.Errorf("about %s:\n%s", newcomer, strings.Join(lines, "\n"))
		}
	}
}

// recovered looks at what happens after Redis is back.
func (h *hosts) recovered(t *testing.T, client string, kept bool) {
	want := relayingDenied
	if kept {
		want = recipientTaken
	}
	eventually(t, "the first milterd to ask Redis again", func() bool { return strings.HasPrefix(relay(t, client), want) })
	wantRelay(t, "203.0.113.7", relayingDenied)
	const later = "203.0.113.11"
	// A login while the second still leaves Redis alone counts for nothing, as during
	// the outage.
	eventually(t, "a login to count again", func() bool {
		login(t, "pop3", later, "shin")
		return strings.HasPrefix(relay(t, later), recipientTaken)
	})
	command(t, "-revoke", later)
	wantRelay(t, later, relayingDenied)
}
