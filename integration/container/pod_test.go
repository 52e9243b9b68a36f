package container

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/testkit"
	"milterd/integration/testkit/dnstest"
)

const (
	messageTaken = "250 2.0.0"
	accessDenied = "550 5.7.1"
	milterDown   = "451 4.3.2"
	mapDown      = "451 4.3.0"
)

// bridged is where the pod is reached through the bridge, with its gateway as client.
const bridged = "127.0.0.1:2525"

// maxImage is how large the image of milterd may be, in octets.
const maxImage = 20_000_000

func TestPod(t *testing.T) {
	need(t)
	dir, base, _ := strings.Cut(os.Getenv(inside), " ")
	names, err := dnstest.Start(dnstest.Options{Addr: resolver + ":53", Lines: []string{
		"8.113.0.203.in-addr.arpa. PTR mail.good.example.", "mail.good.example. A " + good,
		"40.113.0.203.in-addr.arpa. PTR mail.bad.example.", "mail.bad.example. A " + refused,
		"good.example. MX 10 mail.good.example.", "example.test. MX 10 mx.example.test.", "mx.example.test. A 203.0.113.25",
		"other.example. MX 10 mail.other.example.", "mail.other.example. A " + mailHost,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	sink := listenAs(t, mailHost)
	e := &engine{t, dir}
	e.build(base)

	t.Run("image", func(t *testing.T) { checkImage(t, &engine{t, dir}) })
	t.Run("health check", func(t *testing.T) { checkHealth(t, &engine{t, dir}) })
	t.Run("sockets", func(t *testing.T) {
		// As Kubernetes makes an emptyDir.
		e.do("volume", "create", "sockets")
		if err := os.Chmod(e.do("volume", "inspect", "sockets", "--format", "{{.Mountpoint}}"), 0o777); err != nil {
			t.Fatal(err)
		}
		// The other host has port 25 in the same network.
		p := e.play(t, "hostPort: 25}", "hostPort: 2525}")
		p.shadow()
		p.mailOut(sink)
		p.reload()
		p.health()
		p.killed()
	})
	enforced := []string{"mode: shadow", "mode: enforce", "hostPort: 25}", "hostPort: 2525}", "relay: []", "relay: ['10.89']"}
	t.Run("tcp", func(t *testing.T) {
		// sendmail and milterd meet at the loopback address of the pod.
		const filter, asked = "local:/run/milterd/sockets/milter.sock", "local:/run/milterd/sockets/map.sock"
		p := e.play(t, append(enforced, `"`+filter+`"`, "inet:8893@127.0.0.1", `"`+asked+`"`, "inet:8894@127.0.0.1",
			"'"+filter+"'", "inet:8893", "'"+asked+"'", "inet:8894")...)
		p.expect(good, "postmaster@example.test", messageTaken)
		p.expect(refused, "postmaster@example.test", accessDenied)
		p.gateway()
	})
	t.Run("filter alone", func(t *testing.T) {
		p := e.play(t, append(enforced, "        - {name: MILTERD_MAP_SOCKET", "        # - {name: MILTERD_MAP_SOCKET", "'local:/run/milterd/sockets/map.sock'", "''")...)
		p.expect(refused, "postmaster@example.test", accessDenied)
		// sendmail has rules of its own, then.
		if got := p.send("127.0.0.1", bridged, "x@other.example"); !strings.HasPrefix(got, "550 5.7.1") {
			t.Errorf("before sendmail relays: %q", got)
		}
		p.do("exec", "mail-sendmail", "sh", "-c", "echo 10.89 >>/etc/mail/relay-domains && kill -HUP 1")
		p.gateway()
	})
}

func checkImage(t *testing.T, e *engine) {
	size, err := strconv.Atoi(e.do("image", "inspect", "milterd", "--format", "{{.Size}}"))
	if err != nil || size > maxImage {
		t.Errorf("the image has %d octets, expected %d at most (%v)", size, maxImage, err)
	}
	t.Logf("the image has %d octets", size)
	if user := e.do("image", "inspect", "milterd", "--format", "{{.Config.User}}"); user != "10025:10025" {
		t.Errorf("it runs as %q", user)
	}
	if version := e.do("run", "--rm", "--network=none", "milterd", "-version"); !strings.HasPrefix(version, "milterd v1.2.3-test, ") {
		t.Errorf("-version: %s", version)
	}
	check := e.do("run", "--rm", "--network=none", "--read-only", "-e", "MILTERD_MODE=enforce", "milterd", "-check")
	for _, want := range []string{`mode: "enforce" (environment MILTERD_MODE)`, `log.format: "json" (environment MILTERD_LOG_FORMAT)`} {
		if !strings.Contains(check, want) {
			t.Errorf("-check does not say %s:\n%s", want, check)
		}
	}
}

// checkHealth runs the health check of the image itself.
func checkHealth(t *testing.T, e *engine) {
	e.do("run", "--detach", "--name=alone", "--network=none", "--read-only", "--cap-drop=all", "milterd")
	defer e.do("rm", "--force", "--volumes", "alone")
	testkit.Eventually(t, "the container is healthy", func() bool {
		_, err := e.try("healthcheck", "run", "alone")
		return err == nil
	})
}

// shadow: pod.yaml as it is takes all mail and logs what it would refuse, as JSON.
func (p *pod) shadow() {
	// The names of the ConfigMap are ours.
	trace, _ := p.try("exec", "mail-milterd", "/usr/sbin/milterd", "-check", "-explain", "-client", good, "-from", "x@other.example", "-to", "shin@example.test")
	if !strings.Contains(trace, "delivered on this host (local)") {
		p.t.Errorf("example.test is not local:\n%s", trace)
	}
	p.expect(good, "postmaster@example.test", messageTaken)
	p.expect(refused, "postmaster@example.test", messageTaken)
	testkit.Eventually(p.t, "the message is delivered", func() bool {
		return strings.Contains(p.logs("mail-sendmail"), "mailer=local") && strings.Contains(p.logs("mail-sendmail"), "stat=Sent")
	})
	verdict := false
	for line := range strings.Lines(p.logs("mail-milterd")) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			p.t.Errorf("not a line of JSON: %s", line)
		}
		verdict = verdict || entry["client"] == refused && strings.Contains(line, `"shadow":"reject 550 5.7.1`)
	}
	if !verdict {
		p.t.Errorf("no line tells of what would be refused")
	}
	info, err := os.Stat(filepath.Join(p.volume("sockets"), "sockets"))
	if err != nil {
		p.t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; info.Mode().Perm() != 0o750 || owner != 10025 {
		p.t.Errorf("the sockets' directory has mode %v and owner %d", info.Mode(), owner)
	}
}

// gateway: who comes through the port of the host has the address of the bridge, whose
// network may relay. That makes an open relay, until milterd sees that all have it.
func (p *pod) gateway() {
	testkit.Eventually(p.t, "mail is relayed for the bridge", func() bool {
		conn, err := net.Dial("tcp", p.addr+":25")
		return err == nil && conn.Close() == nil && strings.HasPrefix(p.send("127.0.0.1", bridged, "x@other.example"), messageTaken)
	})
	for range 150 {
		conn, err := harness.Dial("127.0.0.1", bridged)
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := conn.ReadReply(); err != nil {
			p.t.Fatal(err)
		}
		conn.Close()
	}
	if got := p.send("127.0.0.1", bridged, "x@other.example"); !strings.HasPrefix(got, "451 4.7.1") {
		p.t.Errorf("relaying for anyone behind the gateway: %q", got)
	}
	if got := p.send("127.0.0.1", bridged, "postmaster@example.test"); !strings.HasPrefix(got, messageTaken) {
		p.t.Errorf("mail to us from behind the gateway: %q", got)
	}
	if log := p.logs("mail-milterd"); strings.Count(log, "nearly all clients have one private address") != 1 {
		p.t.Error("it is not logged, once")
	}
}

// mailOut: who logs in at the submission port is relayed, and milterd has seen it.
func (p *pod) mailOut(sink <-chan string) {
	p.do("exec", "mail-sendmail", "sh", "-c", "echo secret | saslpasswd2 -p -c -u mx.example.test shin")
	conn, err := harness.Dial(good, p.addr+":587")
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ReadReply(); err != nil {
		p.t.Fatal(err)
	}
	if _, err := conn.Command("EHLO client.example"); err != nil {
		p.t.Fatal(err)
	}
	if reply, err := conn.Auth("PLAIN", "shin", "secret"); err != nil || reply.Code != 235 {
		p.t.Fatalf("AUTH: %v, %v", reply, err)
	}
	for _, line := range []string{"MAIL FROM:<shin@example.test>", "RCPT TO:<x@other.example>", "DATA", "Subject: out\r\n\r\nhello\r\n."} {
		if reply, err := conn.Command(line); err != nil || reply.Code >= 400 {
			p.t.Fatalf("%s: %v, %v", line, reply, err)
		}
	}
	select {
	case recipient := <-sink:
		if !strings.EqualFold(recipient, "RCPT TO:<x@other.example>") {
			p.t.Errorf("another host got mail by %s", recipient)
		}
	case <-time.After(testkit.Patience):
		p.t.Fatal("the message does not arrive at the other host")
	}
	if log := p.logs("mail-milterd"); !strings.Contains(log, `"to":"x@other.example"`) {
		p.t.Error("milterd has not seen the message that left")
	}
}

// reload swaps the ConfigMap as Kubernetes does: each file is a link into ..data, which
// is a link to the directory of a version.
func (p *pod) reload() {
	dir := p.volume("milterd")
	must := func(err error) {
		p.t.Helper()
		if err != nil {
			p.t.Fatal(err)
		}
	}
	// podman has put plain files there.
	must(os.Mkdir(filepath.Join(dir, "..one"), 0o755))
	must(os.Symlink("..one", filepath.Join(dir, "..data")))
	files, err := filepath.Glob(filepath.Join(dir, "[a-z]*"))
	must(err)
	for _, file := range files {
		name := filepath.Base(file)
		must(os.Link(file, filepath.Join(dir, "..one", name)))
		must(os.Symlink(filepath.Join("..data", name), file+".new"))
		must(os.Rename(file+".new", file))
	}
	swap := func(before, after, old, new string) {
		must(os.CopyFS(filepath.Join(dir, after), os.DirFS(filepath.Join(dir, before))))
		config := filepath.Join(dir, after, "milterd.yaml")
		text, err := os.ReadFile(config)
		must(err)
		must(os.WriteFile(config, []byte(strings.Replace(string(text), old, new, 1)), 0o644))
		must(os.Symlink(after, filepath.Join(dir, "..data_tmp")))
		must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		must(os.RemoveAll(filepath.Join(dir, before)))
	}
	// A mistake is said, and costs nothing: milterd goes on, and stays in service.
	swap("..one", "..two", "mode: shadow", "mode: [")
	testkit.Eventually(p.t, "the mistake is said", func() bool {
		return strings.Contains(p.logs("mail-milterd"), "/etc/milterd/milterd.yaml:")
	})
	if !p.healthy() {
		p.t.Error("a mistake in the ConfigMap takes milterd out of service")
	}
	p.expect(good, "postmaster@example.test", messageTaken)
	swap("..two", "..three", "mode: [", "mode: enforce")
	p.becomes(refused, "postmaster@example.test", accessDenied)
	p.expect(good, "postmaster@example.test", messageTaken)
}

// process is milterd's process on this machine.
func (p *pod) process() int {
	p.t.Helper()
	pid, err := strconv.Atoi(p.do("inspect", "mail-milterd", "--format", "{{.State.Pid}}"))
	if err != nil || pid <= 1 {
		p.t.Fatalf("milterd's process is %d (%v)", pid, err)
	}
	return pid
}

// health: the check fails while milterd stands still, and mail waits.
func (p *pod) health() {
	pid := p.process()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	if p.healthy() {
		p.t.Error("a milterd that stands still is healthy")
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		p.t.Fatal(err)
	}
	testkit.Eventually(p.t, "milterd is healthy again", p.healthy)
}

// killed: while milterd is gone mail is put off, and it comes back by itself. What the
// table refuses is taken at no moment.
func (p *pod) killed() {
	before := p.process()
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	replies := make(map[string]int)
	testkit.Eventually(p.t, "mail is taken again", func() bool {
		reply := p.send(refused, p.addr+":25", "postmaster@example.test")
		replies[reply[:9]]++
		return strings.HasPrefix(reply, accessDenied)
	})
	p.becomes(good, "postmaster@example.test", messageTaken)
	p.t.Logf("replies while milterd was gone and came back: %v", replies)
	for reply := range replies {
		if reply != milterDown && reply != mapDown && reply != accessDenied {
			p.t.Errorf("a client that the table refuses was answered %s", reply)
		}
	}
	if replies[milterDown] == 0 {
		p.t.Errorf("no mail was put off: %v", replies)
	}
	if after := p.process(); after == before {
		p.t.Error("it is the same process")
	}
}
