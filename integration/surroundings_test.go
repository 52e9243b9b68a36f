package integration_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/testkit"
	"milterd/integration/testkit/dnstest"
)

// trouble is what the doctor warns of that is no line of a sendmail.mc.
type trouble struct {
	name, about string
	options     harness.Options
	// breaks makes the trouble in a running server, cures ends it, by the finding's cure
	// if there is one. Without cures, a server with the options cured has none.
	breaks func(*testing.T, *harness.Env)
	cures  func(*testing.T, *harness.Env, finding)
	cured  harness.Options
	// live: the doctor asks the ports and the DNS, too.
	live bool
	// lines are said to port 25, unless observe looks elsewhere.
	lines     []string
	observe   func(*testing.T, *harness.Env) string
	bad, good string
}

const (
	anybody    = "root@example.test"
	list       = "checks: {rdns: {mode: off}, dnsbl: {lists: {bl.example: {families: [ipv4]}}}}\n"
	listed     = "77.100.51.198.bl.example. A 127.0.0.2"
	testing127 = "2.0.0.127.bl.example. A 127.0.0.2"
)

var toAnybody = []string{"MAIL FROM:<>", "RCPT TO:<" + anybody + ">"}

// settled is a configuration with a table of its own, that takes names from nowhere.
func settled(more string) string {
	return "access: {file: access}\ndomains: {local: [], relay: []}\n" + more
}

// sh runs what a cure says.
func sh(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// aged sets the time of a file.
func aged(t *testing.T, path string, age time.Duration) {
	t.Helper()
	if at := time.Now().Add(-age); os.Chtimes(path, at, at) != nil {
		t.Fatalf("%s: its time cannot be set", path)
	}
}

// reconfigure starts milterd anew.
func reconfigure(t *testing.T, env *harness.Env, config string) {
	t.Helper()
	if err := errors.Join(env.WriteFile("milterd.yaml", config), env.Milterd.Stop(), env.Milterd.Start()); err != nil {
		t.Fatal(err)
	}
}

var troubles = []trouble{
	{name: "access.db is older than its text", about: "does not know what has been changed since", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) {
			writeFile(t, "/etc/mail/access", refusal)
			aged(t, "/etc/mail/access.db", time.Minute)
		},
		cures: func(t *testing.T, _ *harness.Env, f finding) { sh(t, f.Cure) },
		lines: ours, bad: "^250 ", good: "^550 5.7.1"},
	{name: "class R differs", about: "class R, the names that are relayed for: sendmail has partner.example",
		options: harness.Options{RelayDomains: "partner.example\n", Config: settled(enforced)},
		cures: func(t *testing.T, env *harness.Env, f finding) {
			cure, _, _ := strings.Cut(f.Cure, "#")
			reconfigure(t, env, cure+"\naccess: {file: access}\n"+enforced)
		},
		lines: []string{"MAIL FROM:<>", "RCPT TO:<x@partner.example>"}, bad: "^550 5.7.1", good: "^250 "},
	{name: "a directory that all may write to", about: "calls /run/milterd/milter.sock unsafe", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) { sh(t, "chmod o+w /run/milterd") },
		cures:  func(t *testing.T, _ *harness.Env, f finding) { sh(t, f.Cure) },
		lines:  ours, bad: "^451 4.3.2", good: "^250 "},
	{name: "a file that milterd's user cannot read", about: "permission denied", options: harness.Options{Config: settled(shadow), Mailboxes: []string{"milterd"}},
		breaks: func(t *testing.T, env *harness.Env) {
			sh(t, "chown 60000 /run/milterd; chmod 600 "+harness.ConfigDir+"/access")
			if err := env.Milterd.Stop(); err != nil {
				t.Fatal(err)
			}
		},
		cures:   func(t *testing.T, _ *harness.Env, _ finding) { sh(t, "chmod 644 "+harness.ConfigDir+"/access") },
		observe: servesAs, bad: "permission denied", good: "policy in force"},
	{name: "milterd does not answer", about: "filter door local:/run/milterd/milter.sock", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, env *harness.Env) {
			if err := env.Milterd.Stop(); err != nil {
				t.Fatal(err)
			}
		},
		cures: func(t *testing.T, env *harness.Env, _ finding) {
			if err := env.Milterd.Start(); err != nil {
				t.Fatal(err)
			}
		},
		lines: ours, bad: "^451 4.3.2", good: "^250 "},
	{name: "a shadow that was forgotten", about: "mode: shadow since 20 days",
		options: harness.Options{Config: settled(shadow + enforced), Files: map[string]string{"access": refusal}},
		breaks:  func(t *testing.T, _ *harness.Env) { aged(t, harness.ConfigFile, 20*24*time.Hour) },
		cures:   func(t *testing.T, env *harness.Env, f finding) { reconfigure(t, env, settled(f.Cure+"\n"+enforced)) },
		lines:   ours, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a list that is dead", about: "bl.example does not work, so it is left out",
		options: harness.Options{Config: settled(list + "listen: {http: 'inet:8890@127.0.0.1'}\n"), DNS: []string{listed}},
		cured:   harness.Options{Config: settled(list + "listen: {http: 'inet:8890@127.0.0.1'}\n"), DNS: []string{listed, testing127}},
		lines:   toAnybody, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a public resolver", about: "8.8.8.8 is a public resolver", options: harness.Options{Config: settled(list), DNS: []string{listed, testing127}},
		breaks: func(t *testing.T, env *harness.Env) {
			sh(t, "ip addr add 8.8.8.8/32 dev lo")
			public, err := dnstest.Start(dnstest.Options{Addr: "8.8.8.8:53", Lines: []string{"*.bl.example. A 127.255.255.254"}})
			if err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile("/etc/resolv.conf")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				writeFile(t, "/etc/resolv.conf", string(before))
				if err := public.Close(); err != nil {
					t.Error(err)
				}
			})
			writeFile(t, "/etc/resolv.conf", "nameserver 8.8.8.8\n")
			reconfigure(t, env, settled(list))
		},
		cures: func(t *testing.T, env *harness.Env, f finding) { reconfigure(t, env, settled(list+f.Cure+"\n")) },
		lines: toAnybody, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a resolver that does not answer", about: "the resolver has no answer about mx.example.test", live: true,
		options: harness.Options{Config: settled("checks: {rdns: {source: own}}\n"), DNS: []string{"mx.example.test. A TIMEOUT", "77.100.51.198.in-addr.arpa. TIMEOUT"}},
		cured: harness.Options{Config: settled("checks: {rdns: {source: own}}\n"), DNS: []string{
			"77.100.51.198.in-addr.arpa. PTR client.example.", "client.example. A 198.51.100.77"}},
		lines: toAnybody, bad: "^450 4.7.25", good: "^250 "},
	{name: "a Received field that tells the version", about: "the Received field tells the version", options: harness.Options{Access: mayRelay, Config: settled(shadow)},
		cured: harness.Options{Config: settled(enforced + "received: {whose: [authenticated, relayed]}\n"), Include: include + "\n", Files: map[string]string{"access": mayRelay}},
		observe: func(t *testing.T, env *harness.Env) string {
			conversation(t, stranger, port25, "mail x@victim.example")
			queue, err := env.Queue()
			if err != nil || len(queue) != 1 {
				t.Fatalf("queue %v, %v", queue, err)
			}
			return queue[0].Header()
		},
		bad: `client\.example.*\n.*by mx.example.test \(8\.1\d`, good: `^Received: from SMTP\s+by mx.example.test \(SMTP server\)`},
	{name: "HELP that tells the version", about: "HELP: tells the version", live: true, options: harness.Options{Config: settled(shadow)},
		cured: harness.Options{Config: settled(shadow), MC: "define(`HELP_FILE', `" + harness.ConfigDir + "/helpfile')dnl\n",
			Files: map[string]string{"access": "", "helpfile": "#vers\t2\nsmtp\tno help\n"}},
		lines: []string{"HELP"}, bad: `sendmail version 8\.`, good: "^214 2.0.0 End|^214-2.0.0 no help"},
}

// servesAs starts milterd as the user that -doctor takes for its own, and returns what it
// says until it serves or ends.
func servesAs(t *testing.T, _ *harness.Env) string {
	t.Helper()
	var log testkit.Log
	daemon := exec.Command(world.Binary, "-config", harness.ConfigFile)
	daemon.Stderr = &log
	daemon.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 60000, Gid: 60000}}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = daemon.Wait()
	}()
	testkit.Eventually(t, "milterd serves or ends", func() bool {
		select {
		case <-ended:
			return true
		default:
			return log.Has("policy in force")
		}
	})
	_ = daemon.Process.Signal(syscall.SIGTERM)
	<-ended
	return log.String()
}

// TestWhatTheDoctorSeesAroundHappensAndIsCured is the same for what is no line of a
// sendmail.mc.
func TestWhatTheDoctorSeesAroundHappensAndIsCured(t *testing.T) {
	for _, c := range troubles {
		t.Run(c.name, func(t *testing.T) {
			env := start(t, c.with(c.options))
			if c.breaks != nil {
				c.breaks(t, env)
			}
			f := c.examined(t, true)
			shows(t, "with the trouble", c.observed(t, env), c.bad)
			if t.Failed() {
				return
			}
			if c.cures != nil {
				c.cures(t, env, f)
			} else {
				if err := env.Close(); err != nil {
					t.Fatal(err)
				}
				env = start(t, c.with(c.cured))
			}
			c.examined(t, false)
			shows(t, "after the cure", c.observed(t, env), c.good)
		})
	}
}

func (c trouble) with(o harness.Options) harness.Options {
	o.LocalHostNames = "example.test\n"
	if o.Files == nil {
		o.Files = map[string]string{"access": ""}
	}
	return o
}

// examined waits until the doctor tells of the trouble, or no longer does.
func (c trouble) examined(t *testing.T, want bool) (f finding) {
	t.Helper()
	options := []string{"-offline"}
	if c.live {
		options = nil
	}
	var findings []finding
	defer func() {
		if t.Failed() {
			t.Logf("%+v", findings)
		}
	}()
	testkit.Eventually(t, "what the doctor says of "+c.about, func() bool {
		var found bool
		findings, _ = examine(t, options...)
		f, found = about(findings, c.about)
		return found == want
	})
	return f
}

func (c trouble) observed(t *testing.T, env *harness.Env) string {
	t.Helper()
	if c.observe != nil {
		return c.observe(t, env)
	}
	return conversation(t, stranger, port25, c.lines...)
}
