package integration_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"milterd/integration/harness"
)

// TestTheIncludeOfOlderVersionsServes: sendmail's own rules decide by the table that they ask
// for key by key, milterd says whose client is hidden, and -check says what to do.
func TestTheIncludeOfOlderVersionsServes(t *testing.T) {
	_, options := readScene(t, "doors", "doors")
	old, err := filepath.Abs(filepath.Join("testdata", "milterd-table.m4"))
	if err != nil {
		t.Fatal(err)
	}
	options.Files["old.yaml"] = "sendmail: {cf: /etc/mail/sendmail.cf}\n" + options.Config
	options.Include = strings.Replace(options.Include, "/etc/mail/m4/milterd.m4", old, 1)
	env := start(t, options)
	for _, c := range []struct{ from, to, want string }{
		{"192.0.2.20", "x@other.example", "550 5.7.1"},
		{"192.0.2.20", "x@granted.example", "250"},
		{"192.0.2.16", "shin@example.test", "550 5.7.1"},
		{"198.51.100.33", "x@other.example", "250"},
	} {
		if reply := rcpt(t, c.from, c.to); !strings.HasPrefix(reply, c.want) {
			t.Errorf("%s to %s: %s, expected %s", c.from, c.to, reply, c.want)
		}
	}
	for from, to := range map[string]string{"198.51.100.33": "x@other.example", "192.0.2.20": "x@granted.example"} {
		hidden := to == "x@other.example"
		c := dialFrom(t, from, "25")
		c.expect("220")
		c.say("EHLO VAIO-QX77.lan", "250")
		if header := headerOf(t, env, c, to); header == "" || strings.Contains(header, "VAIO") == hidden {
			t.Errorf("%s hidden: %v, expected %v:\n%s", from, !hidden, hidden, header)
		}
	}
	out, _ := exec.Command(world.Binary, "-check", "-config", filepath.Join(harness.ConfigDir, "old.yaml")).CombinedOutput()
	if !strings.Contains(string(out), "the rules are those of an older milterd.m4, by which sendmail does not ask milterd about each recipient") {
		t.Errorf("milterd -check:\n%s", out)
	}
}
