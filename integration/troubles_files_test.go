package integration_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"milterd/integration/harness"
)

const (
	// following takes all that it can from the sendmail.cf, and leaves the decision to it.
	following     = "sendmail: {cf: " + stockCF + "}\n" + shadow
	hostNames     = "/etc/mail/local-host-names"
	relayDomains  = "/etc/mail/relay-domains"
	accessFile    = harness.ConfigDir + "/access"
	toPartner     = "RCPT TO:<x@partner.example>"
	appendPartner = "echo partner.example >>" + relayDomains
)

// rewritten has a file hold a text, and milterd and sendmail read it.
func rewritten(path, text string) func(*testing.T, *harness.Env) {
	return func(t *testing.T, env *harness.Env) {
		t.Helper()
		writeFile(t, path, text)
		restartSendmail(t, env)
		if err := errors.Join(env.Milterd.Stop(), env.Milterd.Start()); err != nil {
			t.Fatal(err)
		}
	}
}

// cured is rewritten, as a cure.
func cured(path, text string) func(*testing.T, *harness.Env, finding) {
	return func(t *testing.T, env *harness.Env, _ finding) { t.Helper(); rewritten(path, text)(t, env) }
}

// runs is the command that a cure says.
func runs(t *testing.T, _ *harness.Env, f finding) { t.Helper(); sh(t, f.command()) }

// fileTroubles are about what stands in files, and who may write to them.
var fileTroubles = []trouble{
	{name: "a byte order mark in a class file", about: "begins with a UTF-8 byte order mark", options: harness.Options{Config: following},
		breaks: rewritten(hostNames, "\ufeffmarked.example\nexample.test\n"), cures: cured(hostNames, "marked.example\nexample.test\n"),
		lines: []string{"MAIL FROM:<>", "RCPT TO:<root@marked.example>"}, bad: "^550 5.7.1", good: "^250 "},
	{name: "half a name in class w", about: `"shop" stands for USER@shop alone`, options: harness.Options{Config: following},
		breaks: rewritten(hostNames, "shop\nexample.test\n"), cures: cured(hostNames, "shop.example\nexample.test\n"),
		lines: []string{"MAIL FROM:<>", "RCPT TO:<root@shop.example>"}, bad: "^550 5.7.1", good: "^250 "},
	{name: "an access map that milterd does not read", about: "the access map is of type text",
		options: harness.Options{Config: "sendmail: {cf: " + stockCF + "}\n" + enforced, Include: "FEATURE(`access_db', `text -k0 -v1 -T<TMPF> " + accessFile + "')dnl\n" + harness.FilterLines,
			Files: map[string]string{"access": strings.Replace(mayRelay, "C", "c", 1)}},
		cures: func(t *testing.T, env *harness.Env, _ finding) {
			reconfigure(t, env, "sendmail: {cf: "+stockCF+"}\naccess: {file: "+accessFile+"}\n"+enforced)
		},
		lines: foreign, bad: "^550 5.7.1", good: "^250 "},
	{name: "a sendmail.cf that a group can write to", about: "dangerous write permissions", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) { sh(t, "chmod g+w "+stockCF) }, cures: runs,
		observe: newaliases, bad: "WARNING: dangerous write permissions", good: "^/etc/mail/aliases: 2 aliases"},
	{name: "a sendmail.cf that sendmail has not read", about: "it has been written since the running sendmail has read it", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) { sh(t, "echo 'O SmtpGreetingMessage=$j NEW' >>"+stockCF) },
		cures:  func(t *testing.T, env *harness.Env, _ finding) { restartSendmail(t, env) },
		lines:  []string{"greeting"}, bad: "ESMTP Sendmail 8", good: "NEW"},
	{name: "a sendmail.mc that nothing was made of", about: "is not in it yet", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) {
			aged(t, stockCF, time.Minute)
			sh(t, "echo 'define(`confSMTP_LOGIN_MSG'\\'', `$j NEW'\\'')dnl' >>/etc/mail/sendmail.mc")
		},
		cures: func(t *testing.T, env *harness.Env, _ finding) { addLine(t, env, "dnl") }, // which makes it
		lines: []string{"greeting"}, bad: "ESMTP Sendmail 8", good: "NEW"},
	{name: "aliases that a group can write to", about: "a group can write to the aliases", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) { sh(t, "chmod g+w /etc/mail/aliases") }, cures: runs,
		observe: newaliases, bad: "cannot open /etc/mail/aliases: Group writable file", good: "aliases, longest"},
	{name: "aliases that all can write to", about: "every user of this machine can write to the aliases", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) { sh(t, "chmod o+w /etc/mail/aliases") }, cures: runs,
		observe: newaliases, bad: "cannot open /etc/mail/aliases: World writable file", good: "aliases, longest"},
	{name: "a class file that all can write to", about: "every user of this machine can write to it (class R)", options: harness.Options{Config: following},
		breaks: func(t *testing.T, _ *harness.Env) { sh(t, "chmod o+w "+relayDomains) },
		cures:  func(t *testing.T, _ *harness.Env, _ finding) { sh(t, "chmod o-w "+relayDomains+"; >"+relayDomains) },
		observe: func(t *testing.T, env *harness.Env) string {
			asNobody(appendPartner)
			restartSendmail(t, env)
			return conversation(t, stranger, port25, "MAIL FROM:<>", toPartner)
		}, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a map that all can write to", about: "every user of this machine can write to the map access", options: harness.Options{Config: settled(shadow)},
		breaks: func(t *testing.T, _ *harness.Env) { sh(t, "chmod o+rw /etc/mail/access.db") },
		cures: func(t *testing.T, env *harness.Env, f finding) {
			sh(t, "makemap hash /etc/mail/access </etc/mail/access; touch /etc/mail/access.db; "+f.command())
		},
		observe: func(t *testing.T, env *harness.Env) string {
			asNobody("echo '" + strings.TrimSpace(mayRelay) + "' | makemap hash /tmp/access && cat /tmp/access.db >/etc/mail/access.db; rm -f /tmp/access.db")
			return conversation(t, stranger, port25, foreign...)
		}, bad: "^250 ", good: "^550 5.7.1"},
	{name: "a table that all can write to", about: "every user of this machine can write to it (the access table: who may relay)",
		options: harness.Options{Config: settled(enforced), Include: include + "\n"},
		breaks:  func(t *testing.T, _ *harness.Env) { sh(t, "chmod o+w "+accessFile) },
		cures:   func(t *testing.T, _ *harness.Env, _ finding) { sh(t, "chmod o-w "+accessFile+"; >"+accessFile) },
		observe: func(t *testing.T, env *harness.Env) string {
			asNobody("echo '" + strings.TrimSpace(mayRelay) + "' >>" + accessFile)
			if err := errors.Join(env.Milterd.Stop(), env.Milterd.Start()); err != nil {
				t.Fatal(err)
			}
			return conversation(t, stranger, port25, foreign...)
		}, bad: "^250 ", good: "^550 5.7.1"},
}

// newaliases is what sendmail says of a new table of aliases.
func newaliases(*testing.T, *harness.Env) string {
	out, _ := exec.Command("sendmail", "-bi").CombinedOutput()
	return string(out)
}
