package integration_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

const (
	anybody    = "root@example.test"
	list       = "checks: {rdns: {mode: off}, dnsbl: {lists: {bl.example: {families: [ipv4]}}}}\n"
	listed     = "77.100.51.198.bl.example. A 127.0.0.2"
	testing127 = "2.0.0.127.bl.example. A 127.0.0.2"
	ownLookUps = "checks: {rdns: {source: own}}\n"
	// once lets each client send to one recipient.
	once       = enforced + "limits: {rules: {few: {count: recipients, by: client, for: [strangers], rate: 1/1h}}}\n"
	clientAddr = "198.51.100.77"
	granting   = enforced + "grants: {control: 'local:/run/milterd/control.sock'}\nlimits: {file: /var/lib/milterd/limits}\n"
)

var (
	toAnybody = []string{"MAIL FROM:<>", "RCPT TO:<" + anybody + ">"}
	named     = []string{"77.100.51.198.in-addr.arpa. PTR client.example.", "client.example. A " + clientAddr}
)

// troubles are all of them.
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
	{name: "class w differs", about: "[localhost], example.test, mx, milterd does not and refuses",
		options: harness.Options{Config: settled(enforced), MC: "FEATURE(`virtusertable', `hash -o /etc/mail/virtusertable')dnl\n"},
		breaks: func(t *testing.T, _ *harness.Env) {
			sh(t, "echo 'shin@example.test mari@far.example' | makemap hash /etc/mail/virtusertable")
		},
		cures: func(t *testing.T, env *harness.Env, f finding) {
			cure, _, _ := strings.Cut(f.Cure, "#")
			reconfigure(t, env, cure+"\naccess: {file: access}\n"+enforced)
		},
		lines: []string{"MAIL FROM:<>", "RCPT TO:<shin@example.test>"}, bad: "^550 5.7.1", good: "^250 "},
	{name: "class m differs", about: "class m, the domains of FEATURE(relay_entire_domain): sendmail has second.example",
		options: harness.Options{Config: settled(enforced), MC: "FEATURE(`relay_entire_domain')dnl\nLOCAL_CONFIG\nCm second.example\n",
			DNS: []string{"77.100.51.198.in-addr.arpa. PTR pc.second.example.", "pc.second.example. A 198.51.100.77"}},
		cures: func(t *testing.T, env *harness.Env, f finding) {
			cure, _, _ := strings.Cut(f.Cure, "#")
			reconfigure(t, env, cure+"\naccess: {file: access}\n"+enforced)
		},
		lines: foreign, bad: "^550 5.7.1", good: "^250 "},
	{name: "a network that is too wide in the access table", about: "RELAY for the whole of 198.0.0.0/8",
		options: harness.Options{Access: "Connect:198\tRELAY\n", Config: settled(shadow)},
		cures: func(t *testing.T, _ *harness.Env, f finding) {
			line := strings.Replace(f.Cure, "NETWORK OF YOUR OWN", "10.1", 1)
			sh(t, fmt.Sprintf("sed -i '%dc\\%s' %s && makemap hash %s <%s", f.Line, line, f.File, f.File, f.File))
		},
		lines: foreign, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a clock that was wrong", about: "the clock of this machine is wrong, or was", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, env *harness.Env) {
			testkit.Need(t, "faketime")
			writeFile(t, "/etc/faketimerc", "+3d\n")
			sh(t, "echo /usr/lib/*/faketime/libfaketime.so.1 >/etc/ld.so.preload; touch -d '3 days' "+stockCF)
			t.Cleanup(func() { sh(t, "rm -f /etc/ld.so.preload") })
			restartSendmail(t, env)
		},
		cures: func(t *testing.T, env *harness.Env, f finding) {
			sh(t, "rm /etc/ld.so.preload; "+f.command())
			restartSendmail(t, env)
		},
		observe: datedAhead, bad: "^72h$", good: "^0s 72h$"},
	{name: "a host name without a domain", about: "is not a full one", live: true, options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) { withFile(t, "/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 mx\n") },
		cures: func(t *testing.T, _ *harness.Env, f finding) {
			sh(t, "sed -i '/mx/d' /etc/hosts; echo '"+strings.Replace(f.command(), "YOUR.DOMAIN", "example.test", 1)+"' >>/etc/hosts")
		},
		observe: anotherStarts, bad: `My unqualified host name \(mx\) unknown; sleeping for retry`, good: "^listens$"},
	{name: "a host name without an address", about: "the host name none.example.test has no address", live: true, options: harness.Options{Config: settled(shadow)},
		// The sendmail that runs has the old name, and is any other server to it.
		breaks: func(t *testing.T, _ *harness.Env) { sh(t, "sed -i '1i Djnone.example.test' "+stockCF) },
		cures: func(t *testing.T, env *harness.Env, f finding) {
			if err := env.DNS.SetLines([]string{strings.Replace(f.command(), "ADDRESS", harness.ServerAddr4, 1)}); err != nil {
				t.Fatal(err)
			}
		},
		lines: []string{"MAIL FROM:<root@none.example.test>", "RCPT TO:<" + anybody + ">"}, bad: "^553 5.1.8", good: "^250 "},
	{name: "a sendmail that has not read its file", about: "sendmail does not answer at this port", live: true, options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) {
			sh(t, "echo 'O DaemonPortOptions=Name=MTX, Family=inet, Addr=127.0.0.3, Port=smtp' >>"+stockCF)
		},
		cures:   func(t *testing.T, env *harness.Env, _ finding) { restartSendmail(t, env) },
		observe: func(*testing.T, *harness.Env) string { return listens("127.0.0.3:25") }, bad: "refused", good: "^listens$"},
	{name: "a status page that is not there", about: "the status page does not answer", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, env *harness.Env) {
			if err := env.WriteFile("milterd.yaml", settled(shadow+"listen: {http: 'inet:8890@127.0.0.1'}\n")); err != nil {
				t.Fatal(err)
			}
		},
		cures: func(t *testing.T, env *harness.Env, _ finding) {
			if err := errors.Join(env.Milterd.Stop(), env.Milterd.Start()); err != nil {
				t.Fatal(err)
			}
		},
		observe: func(*testing.T, *harness.Env) string { return listens("127.0.0.1:8890") }, bad: "refused", good: "^listens$"},
	{name: "a resolver that is slow", about: "s to answer about mx.example.test", live: true, options: harness.Options{Config: settled(ownLookUps), DNS: named},
		breaks: func(t *testing.T, env *harness.Env) {
			resolver(t, "192.0.2.53", append(named, "mx.example.test. A "+harness.ServerAddr4, "mx.example.test. DELAY=1200ms", "77.100.51.198.in-addr.arpa. DELAY=6s")...)
			reconfigure(t, env, settled(ownLookUps))
		},
		cures: func(t *testing.T, env *harness.Env, f finding) { reconfigure(t, env, settled(ownLookUps+f.Cure+"\n")) },
		lines: toAnybody, bad: "^450 4.7.25", good: "^250 "},
	{name: "a second filter that leads to milterd", about: "a second filter (again) leads to milterd, which decides twice",
		options: harness.Options{Config: settled(once), MC: "INPUT_MAIL_FILTER(`again', `S=local:/run/milterd/milter.sock, F=T')dnl\n"},
		cured:   harness.Options{Config: settled(once)}, lines: toAnybody, bad: "^451 4.7.1 Too much mail", good: "^250 "},
	{name: "two filters of one name", about: "a second filter has the name milterd", options: harness.Options{Config: settled(shadow)},
		breaks:  func(t *testing.T, _ *harness.Env) { sh(t, "sed -i '/^Xmilterd/{p;}' "+stockCF) },
		cures:   func(t *testing.T, _ *harness.Env, f finding) { sh(t, fmt.Sprintf("sed -i %dd %s", f.Line, stockCF)) },
		observe: anotherStarts, bad: "Xmilterd: duplicate filter definition", good: "^listens$"},
	{name: "grants that sendmail does not ask for", about: "sendmail's own rules know nothing of grants",
		options: harness.Options{Config: settled(granting)},
		cured:   harness.Options{Config: settled(granting), Include: include + "\n"},
		observe: func(t *testing.T, _ *harness.Env) string {
			sh(t, world.Binary+" -config "+harness.ConfigFile+" -grant "+clientAddr+" shin")
			return conversation(t, stranger, port25, foreign...)
		},
		bad: "^550 5.7.1", good: "^250 "},
	{name: "a socket below a directory such as /tmp", about: "can make files in", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, env *harness.Env) {
			sh(t, "mkdir -m 1777 /run/open")
			t.Cleanup(func() { sh(t, "rm -r /run/open") })
			reconfigure(t, env, settled(shadow+"listen: {milter: ['local:/run/milterd/milter.sock', 'local:/run/open/s']}\n"))
		},
		cures: func(t *testing.T, env *harness.Env, f finding) { reconfigure(t, env, settled(shadow+f.Cure+"\n")) },
		// Another user makes the socket before milterd does.
		observe: func(t *testing.T, env *harness.Env) string {
			if err := env.Milterd.Stop(); err != nil {
				t.Fatal(err)
			}
			config, err := os.ReadFile(harness.ConfigFile)
			if err != nil {
				t.Fatal(err)
			}
			socket := "/run/milterd/milter.sock"
			if strings.Contains(string(config), "/run/open/s") {
				socket = "/run/open/s"
			}
			out := asNobody("ln -s /nowhere " + socket + " && rm " + socket + " && echo made")
			if err := env.Milterd.Start(); err != nil {
				t.Fatal(err)
			}
			return out
		}, bad: "^made", good: "Permission denied"},
	{name: "a directory that a group may write to", about: "a group can write to /run/milterd, so sendmail calls /run/milterd/milter.sock unsafe", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) { sh(t, "chmod g+w /run/milterd") },
		cures:  func(t *testing.T, _ *harness.Env, f finding) { sh(t, f.Cure) },
		lines:  ours, bad: "^451 4.3.2", good: "^250 "},
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
		cures:   runs,
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
	{name: "a map door that is shut, and was not asked for", about: "map door local:/run/milterd/map.sock: ",
		options: harness.Options{Config: settled(shadow), Include: include + "\n"},
		breaks:  func(t *testing.T, _ *harness.Env) { sh(t, "rm /run/milterd/map.sock") },
		cures: func(t *testing.T, env *harness.Env, _ finding) {
			if err := errors.Join(env.Milterd.Stop(), env.Milterd.Start()); err != nil {
				t.Fatal(err)
			}
		},
		lines: ours, bad: "^451 4.3.0", good: "^250 "},
	// It has sendmail wait longer than the doctor does.
	{name: "a milterd that hangs", about: "most likely it waits for milterd", live: true, options: harness.Options{Config: settled(shadow),
		Include: "FEATURE(`access_db', , `skip')dnl\n" + strings.ReplaceAll(harness.FilterLines, ":10s", ":15s")},
		breaks: signals(syscall.SIGSTOP), cures: func(t *testing.T, env *harness.Env, _ finding) { signals(syscall.SIGCONT)(t, env) },
		lines: ours, bad: "^451 4.3.2", good: "^250 "},
	{name: "a shadow that was forgotten", about: "mode: shadow since 20 days",
		options: harness.Options{Config: settled(shadow + enforced), Files: map[string]string{"access": refusal}},
		breaks:  func(t *testing.T, _ *harness.Env) { aged(t, harness.ConfigFile, 20*24*time.Hour) },
		cures:   func(t *testing.T, env *harness.Env, f finding) { reconfigure(t, env, settled(f.Cure+"\n"+enforced)) },
		lines:   ours, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a list that is dead", about: "bl.example does not work for IPv4, so it is left out",
		options: harness.Options{Config: settled(list + "listen: {http: 'inet:8890@127.0.0.1'}\n"), DNS: []string{listed}},
		cured:   harness.Options{Config: settled(list + "listen: {http: 'inet:8890@127.0.0.1'}\n"), DNS: []string{listed, testing127}},
		lines:   toAnybody, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a public resolver", about: "8.8.8.8 is a public resolver", options: harness.Options{Config: settled(list), DNS: []string{listed, testing127}},
		breaks: func(t *testing.T, env *harness.Env) {
			sh(t, "ip addr add 8.8.8.8/32 dev lo")
			resolver(t, "8.8.8.8", "*.bl.example. A 127.255.255.254")
			reconfigure(t, env, settled(list))
		},
		cures: func(t *testing.T, env *harness.Env, f finding) { reconfigure(t, env, settled(list+f.Cure+"\n")) },
		lines: toAnybody, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a resolver that does not answer", about: "the resolver has no answer about mx.example.test", live: true,
		options: harness.Options{Config: settled(ownLookUps), DNS: []string{"mx.example.test. A TIMEOUT", "77.100.51.198.in-addr.arpa. TIMEOUT"}},
		cured:   harness.Options{Config: settled(ownLookUps), DNS: named},
		lines:   toAnybody, bad: "^450 4.7.25", good: "^250 "},
	{name: "a resolver that is down", about: "the resolver 127.0.0.9 does not answer", live: true, options: harness.Options{Config: settled(""), DNS: named},
		breaks: func(t *testing.T, env *harness.Env) {
			withFile(t, "/etc/resolv.conf", "nameserver 127.0.0.9\n")
			restartSendmail(t, env)
		},
		cures: func(t *testing.T, env *harness.Env, f finding) {
			sh(t, "echo '"+strings.Replace(f.command(), "ADDRESS", "127.0.0.1", 1)+"' >/etc/resolv.conf")
			restartSendmail(t, env)
		},
		lines: toAnybody, bad: "^450 4.7.25", good: "^250 "},
	{name: "a Received field that tells the version", about: "the Received field tells the version", options: harness.Options{Access: mayRelay, Config: settled(shadow)},
		cured:   harness.Options{Config: settled(enforced + "received: {whose: [authenticated, relayed]}\n"), Include: include + "\n", Files: map[string]string{"access": mayRelay}},
		observe: ownReceived, bad: `client\.example.*\n.*by mx.example.test \(8\.1\d`, good: `^Received: from SMTP\s+by mx.example.test \(SMTP server\)`},
	{name: "HELP that tells the version", about: "HELP: tells the version", live: true, options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) {
			withFile(t, "/etc/mail/helpfile", "#vers\t2\nsmtp\tThis is sendmail version $v\nsmtp\tno help\n")
		},
		cures: func(t *testing.T, _ *harness.Env, f finding) { sh(t, f.Cure) },
		lines: []string{"HELP"}, bad: `sendmail version 8\.`, good: "^214-2.0.0 no help"},
}
