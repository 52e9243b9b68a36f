package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/harness"
)

// cfOptions are a server whose milterd takes everything from sendmail.cf: class R has
// virtual domains of a file, class m one more domain, the access table is optional and
// not there, and a rule of its own lets the clients of a map relay.
func cfOptions(t *testing.T) harness.Options {
	t.Helper()
	needWorld(t)
	popauth := exec.Command("makemap", "hash", "/etc/mail/popauth")
	popauth.Stdin = strings.NewReader("198.51.100.44\tyes\n")
	if out, err := popauth.CombinedOutput(); err != nil {
		t.Fatalf("makemap: %v\n%s", err, out)
	}
	return harness.Options{
		Include: "FEATURE(`access_db', `hash -T<TMPF> -o /etc/mail/access-of-nobody', `skip')dnl\n" +
			"FEATURE(`relay_entire_domain')dnl\n" + harness.FilterLines,
		MC: "VIRTUSER_DOMAIN(`v1.example')dnl\n" +
			"VIRTUSER_DOMAIN_FILE(`-o " + harness.ConfigDir + "/virthosts %[^\\#]')dnl\n" +
			"LOCAL_CONFIG\nCm second.example\nKpopauth hash -o /etc/mail/popauth\n" +
			"LOCAL_RULESETS\nSLocal_check_rcpt\nR$*\t$: <$(popauth $&{client_addr} $: ? $)>\nR<?>\t$@ x\nR<$*>\t$# OK\n",
		Config:         "sendmail: {cf: /etc/mail/sendmail.cf}\nchecks: {rdns: {mode: off}}\n",
		Files:          map[string]string{"virthosts": "v2.example v3.example # v4.example\n"},
		LocalHostNames: "example.test\n",
		DNS: []string{
			"good.example. A 203.0.113.5", "other.example. A 198.51.100.80",
			"v1.example. A 198.51.100.81", "v2.example. A 198.51.100.81", "v3.example. A 198.51.100.81", "v4.example. A 198.51.100.81",
			"20.2.0.192.in-addr.arpa. PTR pc.second.example.", "pc.second.example. A 192.0.2.20",
			"21.2.0.192.in-addr.arpa. PTR pc.third.example.", "pc.third.example. A 192.0.2.21",
		},
	}
}

// rcpt is the reply to one recipient from an address, or to MAIL if that is not taken.
func rcpt(t *testing.T, from, to string) string {
	t.Helper()
	c := dialFrom(t, from, "25")
	c.expect("220")
	c.say("EHLO client.example", "250")
	reply := c.say("MAIL FROM:<a@good.example>", "")
	if strings.HasPrefix(reply, "250") {
		reply = c.say("RCPT TO:<"+to+">", "")
	}
	c.say("QUIT", "221")
	return reply
}

func TestMilterdFollowsTheSendmailCF(t *testing.T) {
	env := start(t, cfOptions(t))
	for _, c := range []struct{ name, from, to, want string }{
		{"a virtual domain of sendmail.mc", "198.51.100.7", "u@v1.example", "250"},
		{"a virtual domain of the file", "198.51.100.7", "u@v2.example", "250"},
		{"the second on its line", "198.51.100.7", "u@v3.example", "250"},
		{"one in a comment", "198.51.100.7", "u@v4.example", "550"},
		{"a client of a domain in class m", "192.0.2.20", "x@other.example", "250"},
		{"a client of another domain", "192.0.2.21", "x@other.example", "550"},
		{"mail to a host in class m", "198.51.100.7", "u@mail.second.example", "250"},
		{"a stranger", "198.51.100.7", "x@other.example", "550"},
		{"a client that only a rule of one's own lets relay", "198.51.100.44", "x@other.example", "550"},
	} {
		if got := rcpt(t, c.from, c.to); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, expected %s", c.name, got, c.want)
		}
	}
	log := env.Milterd.Log.String()
	for _, want := range []string{
		"Local_check_rcpt accepts by a rule of your own",
		"/etc/mail/access-of-nobody: no such file, taken as empty (access table)",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("milterd has not warned: %s", want)
		}
	}
}

// TestMissingFilesAtTheStart: without a file that is not optional milterd does not
// start. sendmail then puts all mail off, relays nothing and refuses nothing for good.
func TestMissingFilesAtTheStart(t *testing.T) {
	env := start(t, cfOptions(t))
	const ours, file = "postmaster@example.test", "/etc/mail/local-host-names"
	if got := rcpt(t, "198.51.100.7", ours); !strings.HasPrefix(got, "250") {
		t.Errorf("before: %s", got)
	}
	if err := env.Milterd.Stop(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := env.Milterd.Start(); err == nil {
		t.Error("milterd starts without a file of class w")
	} else if !strings.Contains(err.Error(), filepath.Base(file)+": no such file") {
		t.Error(err)
	}
	for _, to := range []string{ours, "x@other.example"} {
		if got := rcpt(t, "198.51.100.7", to); !strings.HasPrefix(got, "451") {
			t.Errorf("without milterd, to %s: %s, expected 451", to, got)
		}
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := env.Milterd.Start(); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{ours: "250", "x@other.example": "550"} {
		if got := rcpt(t, "198.51.100.7", to); !strings.HasPrefix(got, want) {
			t.Errorf("afterwards, to %s: %s, expected %s", to, got, want)
		}
	}
}
