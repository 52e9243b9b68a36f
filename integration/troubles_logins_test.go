package integration_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"milterd/integration/harness"
	"milterd/integration/testkit"
)

const (
	submission = harness.ServerAddr4 + ":587"
	saslFile   = "/etc/sasl2/Sendmail.conf"
	// onceEach lets each login send to one recipient.
	onceEach = "sendmail: {cf: " + stockCF + "}\n" + enforced + "limits: {rules: {few: {count: recipients, by: login, rate: 1/1h}}}\n"
)

// loginTroubles are about who can log in, and what that entitles to.
var loginTroubles = []trouble{
	{name: "mechanisms that entitle to nothing", about: "no TRUST_AUTH_MECH",
		options: harness.Options{Config: "sendmail: {cf: " + stockCF + "}\n" + enforced, TrustAuthMech: " ", Users: map[string]string{"shin": "secret"}},
		cures: func(t *testing.T, env *harness.Env, f finding) {
			addLine(t, env, f.Cure)
			reconfigure(t, env, "sendmail: {cf: "+stockCF+"}\n"+enforced)
		},
		lines: append([]string{"auth PLAIN"}, foreign...), bad: "^550 5.7.1", good: "^250 "},
	{name: "AUTH that is demanded and not offered", about: "AUTH is demanded (M=a), and none is offered", live: true,
		options: harness.Options{Config: settled(shadow), MC: "define(`confAUTH_MECHANISMS', `EXTERNAL')dnl\n", Users: map[string]string{"shin": "secret"}},
		cured:   harness.Options{Config: settled(shadow), Users: map[string]string{"shin": "secret"}},
		observe: func(t *testing.T, _ *harness.Env) string {
			return conversation(t, stranger, submission, "auth PLAIN", "MAIL FROM:<>")
		}, bad: "^50[34] ", good: "^250 "},
	anyRealm(),
}

// anyRealm has saslauthd ask an IMAP server that knows no realms.
func anyRealm() trouble {
	stop := func() {}
	runs := func(t *testing.T, options ...string) {
		stop()
		stop = saslauthd(t, options...)
	}
	return trouble{name: "passwords that hold with any realm", about: "saslauthd takes a password with any realm", options: harness.Options{Config: onceEach},
		breaks: func(t *testing.T, env *harness.Env) {
			testkit.Need(t, "saslauthd")
			mailServer(t)
			withFile(t, saslFile, "pwcheck_method: saslauthd\nmech_list: PLAIN\n")
			runs(t)
			restartSendmail(t, env)
		},
		cures: func(t *testing.T, _ *harness.Env, f finding) {
			withFile(t, "/etc/default/saslauthd", strings.Replace(f.command(), "…", "-c -m /run/saslauthd", 1)+"\n")
			runs(t, "-r")
		},
		// Each login may send to one recipient.
		observe: func(t *testing.T, _ *harness.Env) string {
			return loggedIn(t, "shin") + ", " + loggedIn(t, "shin@example.test")
		}, bad: "^250 .*, 250 ", good: ", 535 "}
}

// loggedIn is the answer to a recipient of a user, or to the login if that is refused.
func loggedIn(t *testing.T, user string) string {
	t.Helper()
	conn, err := harness.Dial(stranger, submission)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reply, err := conn.ReadReply()
	plain := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00secret"))
	for _, line := range []string{"EHLO client.example", plain, "MAIL FROM:<>", "RCPT TO:<" + anybody + ">"} {
		if err == nil && reply.Code < 400 {
			reply, err = conn.Command(line)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return reply.String()
}

// mailServer is an IMAP server with one user, shin, that saslauthd asks about passwords.
func mailServer(t *testing.T) {
	t.Helper()
	testkit.Serve(t, "tcp", "127.0.0.1:143", func(conn net.Conn) {
		fmt.Fprint(conn, "* OK ready\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			tag, command, _ := strings.Cut(lines.Text(), " ")
			answer := "NO no such user"
			if !strings.HasPrefix(strings.ToUpper(command), "LOGIN") || (strings.Contains(command, `"shin"`) || strings.Contains(command, `"shin@mx.example.test"`)) && strings.Contains(command, `"secret"`) {
				answer = "OK"
			}
			fmt.Fprintf(conn, "%s %s\r\n", tag, answer)
		}
	})
}

// saslauthd starts it, and returns what stops it.
func saslauthd(t *testing.T, options ...string) (stop func()) {
	t.Helper()
	const dir = "/run/saslauthd"
	sh(t, "rm -rf "+dir+"; mkdir "+dir)
	daemon := exec.Command("saslauthd", append([]string{"-d", "-n", "1", "-m", dir, "-a", "rimap", "-O", "127.0.0.1"}, options...)...)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	})
	t.Cleanup(stop)
	testkit.Eventually(t, "saslauthd listens", func() bool {
		_, err := os.Stat(dir + "/mux")
		return err == nil
	})
	return stop
}
