package configs

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"milterd/policy"
)

const withSenders = "access: {file: access}\ndomains: {local: [], relay: []}\nchecks: {sender_login: {mode: enforce, file: senders}}\n"

// withExceptions reads the same file for the limits.
const withExceptions = "access: {file: access}\ndomains: {local: [], relay: []}\nlimits: {rules: {logins: {rate: 100/1h, exceptions: senders}}}\n"

func TestTheFileOfLoginsIsPartOfThePolicy(t *testing.T) {
	dir := write(t, map[string]string{"access": "", "senders": "shin a@good.example\r\n\n# nothing\nshin @lists.example # two\nbo *\n"})
	c := parse(t, dir, withSenders)
	p, _, err := c.Policy()
	if err != nil {
		t.Fatal(err)
	}
	k := p.Checks.SenderLogin
	if file := filepath.Join(dir, "senders"); k.File != file || c.entries[file] != 2 || !slices.Contains(c.Files(), file) {
		t.Errorf("file %s, entries %v, watched %q", k.File, c.entries, c.Files())
	}
	if len(k.Logins["shin"]) != 2 || len(k.Logins["bo"]) != 1 {
		t.Errorf("logins %v", k.Logins)
	}
}

func TestAFileOfLoginsThatAllMayWriteToIsWarnedOf(t *testing.T) {
	dir := write(t, map[string]string{"access": "", "senders": "shin a@good.example\n"})
	if err := os.Chmod(filepath.Join(dir, "senders"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, warnings := build(t, dir, withSenders)
	equal(t, "warnings", warnings, []string{"DIR/senders: every user of this machine can write to it (checks.sender_login.file: who may send as whom); chmod o-w takes that away"})

	if err := os.WriteFile(filepath.Join(dir, "senders"), []byte("shin 1000/1h # many\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, warnings = build(t, dir, withExceptions)
	equal(t, "warnings", warnings, []string{"DIR/senders: every user of this machine can write to it (limits.rules.logins.exceptions: how much each may send); chmod o-w takes that away"})
}

// TestALoginIsWrittenAsItIsTyped: as the log shows it, and not as sendmail's ${auth_authen} has
// it, but for characters that end a word.
func TestALoginIsWrittenAsItIsTyped(t *testing.T) {
	dir := write(t, map[string]string{"access": "", "senders": "shin+box 1/1h\nMari+2BBox 2/1h\n/CN=Shin+20Oka 3/1h\na+zz 4/1h\n"})
	p, warnings := build(t, dir, withExceptions)
	equal(t, "exceptions", slices.Sorted(maps.Keys(p.Limits.Rules[0].Exceptions)), []string{"/cn=shin oka", "a+zz", "mari+2bbox", "shin+box"})
	equal(t, "warnings", warnings, []string{`DIR/senders:2: limits.rules.logins.exceptions: "Mari+2BBox" is taken as it stands; the login that sendmail's ${auth_authen} has so is "Mari+Box" here`})

	dir = write(t, map[string]string{"access": "", "senders": "shin+box *\nMari+2BBox *\n/CN=Shin+20Oka *\n"})
	p, warnings = build(t, dir, withSenders)
	equal(t, "logins", slices.Sorted(maps.Keys(p.Checks.SenderLogin.Logins)), []string{"/CN=Shin Oka", "Mari+2BBox", "shin+box"})
	equal(t, "warnings", warnings, []string{`DIR/senders:2: checks.sender_login.file: "Mari+2BBox" is taken as it stands; the login that sendmail's ${auth_authen} has so is "Mari+Box" here`})
}

// TestAnAsteriskIsNoPattern: for a login it is told, for an address refused.
func TestAnAsteriskIsNoPattern(t *testing.T) {
	dir := write(t, map[string]string{"access": "", "senders": "* 5/1h\n"})
	_, warnings := build(t, dir, withExceptions)
	equal(t, "warnings", warnings, []string{"DIR/senders:1: limits.rules.logins.exceptions: * is the login of that name here, and not all logins; what holds for all stands in the configuration"})

	dir = write(t, map[string]string{"access": "", "senders": "shin *@good.example\n"})
	if _, _, err := parse(t, dir, withSenders).Policy(); err == nil || !strings.HasSuffix(err.Error(), `senders:1: checks.sender_login.file: "*@good.example", expected an address or @DOMAIN`) {
		t.Errorf("%v", err)
	}
}

func TestAFileOfOtherThingsGivesABoundedMessage(t *testing.T) {
	for name, text := range map[string]string{
		"words":     strings.Repeat("word\n", 100_000),
		"a picture": strings.Repeat("\x89PNG\x00 a@b\n", 100_000),
		"one line":  "shin " + strings.Repeat("a@good.example ", 100_000),
	} {
		dir := write(t, map[string]string{"access": "", "senders": text})
		for _, config := range []string{withSenders, withExceptions} {
			_, _, err := parse(t, dir, config).Policy()
			if err == nil || len(err.Error()) > 64<<10 {
				t.Errorf("%s, %.20s: %.200v", name, config, err)
			}
		}
	}
}

func FuzzLoginLine(f *testing.F) {
	for _, seed := range []string{"", "# nothing", "shin", "shin a@b.example @c.example # more", "shin *", "shin a@b@c", "\ufeffshin a@b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		logins := make(map[string][]policy.SenderRule)
		words, err := loginFile{}.words(line)
		if err == nil && len(words) > 0 {
			err = addLogin(logins, words[0], words, 1)
		}
		if len(logins) > 1 || err == nil && len(logins) == 0 && strings.Trim(line, " \t\r\v\f\n\u0085\u00a0") != "" && !strings.Contains(line, "#") {
			t.Errorf("%q: %v, %v", line, logins, err)
		}
	})
}
