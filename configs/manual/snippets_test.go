package manual

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"milterd/configs"
	"milterd/integration/testkit"
)

// indented is the first block of a page that has a line beginning so, without its indentation.
func indented(t *testing.T, page, begins string) string {
	t.Helper()
	text := pages(t)[page]
	found := regexp.MustCompile(`(?m)^(?:    .*\n)*    ` + regexp.QuoteMeta(begins) + `.*\n(?:    .*\n)*`).FindString(text)
	if found == "" {
		t.Fatalf("%s has no block with %q", page, begins)
	}
	return strings.ReplaceAll(found, "\n    ", "\n")[4:]
}

const cookbook = "milterd-cookbook.7.md"

// TestTheCertificateOfTheManual runs the lines that make it, in another directory.
func TestTheCertificateOfTheManual(t *testing.T) {
	testkit.Need(t, "openssl")
	dir := filepath.Join(t.TempDir(), "tls")
	script := strings.ReplaceAll(indented(t, cookbook, "openssl req"), "/etc/mail/tls", dir)
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if info, err := os.Stat(filepath.Join(dir, "sendmail.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	out, err := exec.Command("openssl", "x509", "-in", filepath.Join(dir, "sendmail.crt"), "-noout", "-subject").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "mx.example.test") {
		t.Errorf("the certificate: %v %s", err, out)
	}
}

// TestTheExceptionsOfTheManual are taken as a file of exceptions.
func TestTheExceptionsOfTheManual(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"senders": indented(t, cookbook, "newsletter@"), "access": "",
		"milterd.yaml": "access: {file: access}\ndomains: {local: [mx.example.com], relay: []}\nlimits: {rules: {logins: {rate: 200/1h, exceptions: senders}}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := configs.Load(filepath.Join(dir, "milterd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := c.Policy()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(p.Limits.Rules[0].Exceptions)
	if want := "map[newsletter@mx.example.com:[5000/1h 20000/24h] printer@mx.example.com:[]]"; got != want {
		t.Errorf("exceptions %s, expected %s", got, want)
	}
}

// TestTheNotifyProgramOfTheManual runs the script with a curl that writes down what it is
// to send.
func TestTheNotifyProgramOfTheManual(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"notify": indented(t, cookbook, "#!/bin/sh"), "curl": "#!/bin/sh\nprintf '%s\\n' \"$@\"\ncat\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	notify := exec.Command(filepath.Join(dir, "notify"), "postmaster@example.com")
	notify.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "LIMIT_NAME=logins", "LIMIT_MODE=enforce", "LIMIT_BY=login", `LIMIT_KEY="$(reboot)"%s`, "LIMIT_RATE=200/1h", "LIMIT_COUNT=recipients"}
	out, err := notify.CombinedOutput()
	want := "-sS\n--crlf\nsmtp://localhost\n--mail-from\npostmaster@example.com\n--mail-rcpt\npostmaster@example.com\n--upload-file\n-\n" +
		"From: milterd <postmaster@example.com>\nTo: postmaster@example.com\nSubject: limit logins reached (enforce)\n\n" +
		"login \"$(reboot)\"%s has used all of 200/1h recipients.\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nexpected\n%s", err, out, want)
	}
}

// TestTheJailsOfTheManual: fail2ban takes that of milterd-cookbook(7), and that in the head
// of the filter.
func TestTheJailsOfTheManual(t *testing.T) {
	testkit.Need(t, "fail2ban-client")
	filter, err := os.ReadFile("../fail2ban/milterd.conf")
	if err != nil {
		t.Fatal(err)
	}
	head := regexp.MustCompile(`(?m)^#   (.*)$`).FindAllStringSubmatch(string(filter), -1)
	var inHead strings.Builder
	for _, line := range head {
		inHead.WriteString(line[1] + "\n")
	}
	for name, jail := range map[string]string{"cookbook": indented(t, cookbook, "[milterd]"), "filter": inHead.String()} {
		dir := t.TempDir()
		if out, err := exec.Command("cp", "-r", "/etc/fail2ban/.", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		// Without Debian's own jails, whose logs may not be there.
		if err := os.RemoveAll(filepath.Join(dir, "jail.d")); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"filter.d/milterd.conf": string(filter), "jail.local": jail} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("fail2ban-client", "-c", dir, "-d").CombinedOutput()
		for _, want := range []string{"['add', 'milterd', 'systemd']", "['set', 'milterd', 'addjournalmatch', '_SYSTEMD_UNIT=milterd.service']", "['start', 'milterd']"} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("the jail of the %s: %v, no %s in\n%s", name, err, want, out)
			}
		}
	}
}
