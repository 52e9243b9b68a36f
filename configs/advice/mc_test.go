package advice

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

var (
	daemonOptions = regexp.MustCompile("(?m)^DAEMON_OPTIONS.*\n")
	accessDB      = regexp.MustCompile(`(?m)^FEATURE\(\x60?access_db.*\n`)
	firstMailer   = regexp.MustCompile("(?m)^(MAILER_DEFINITIONS|MAILER\\()")
)

// with puts lines into a sendmail.mc as their comments say.
func with(mc, lines string) string {
	mc = daemonOptions.ReplaceAllString(mc, "")
	if strings.Contains(lines, "\ninclude(") {
		at := accessDB.FindStringIndex(mc)
		return mc[:at[0]] + lines + mc[at[1]:]
	}
	at := firstMailer.FindStringIndex(mc)
	return mc[:at[0]] + lines + mc[at[0]:]
}

// TestTheDoctorIsContentWithTheLinesOfMC puts them into the stock file of each system.
func TestTheDoctorIsContentWithTheLinesOfMC(t *testing.T) {
	for system, places := range Systems {
		for _, both := range []bool{false, true} {
			name := system + map[bool]string{false: "-filter", true: "-both"}[both]
			t.Run(name, func(t *testing.T) {
				const more = "ports: {25: {auth: refuse}}\n"
				stock := generate(t, variant(t, system))
				lines := MC(config(t, stock, more), both, places)
				testkit.Golden(t, filepath.Join("testdata", name+".lines"), lines)
				cf := generate(t, with(variant(t, system), lines))
				want := ""
				if !both {
					want = "note: sendmail.cf:N: the Received field tells the version of sendmail, and the client of your own users: milterd.m4 has one that does not\n    include(`/etc/mail/m4/milterd.m4')dnl\n"
				}
				got := regexp.MustCompile(`\.cf:\d+`).ReplaceAllString(report(t, cf, config(t, cf, more)), ".cf:N")
				if got != want {
					t.Errorf("findings\n%sexpected\n%s", got, want)
				}
			})
		}
	}
}

// readmeLines are those that the README has for a sendmail.mc.
func readmeLines(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```m4\n")
	lines, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README.md has no lines for a sendmail.mc")
	}
	return lines
}

// TestWhatIsLeftOfTheReadmesLines: they work without a certificate, at that price.
func TestWhatIsLeftOfTheReadmesLines(t *testing.T) {
	lines := readmeLines(t)
	_, others, _ := strings.Cut(lines, "\n")
	for name, lines := range map[string]string{
		"readme":         lines,
		"readme-include": "\ninclude(`/etc/mail/m4/milterd.m4')dnl\n" + others,
	} {
		t.Run(name, func(t *testing.T) {
			cf := generate(t, with(variant(t, "debian"), lines))
			testkit.Golden(t, filepath.Join("testdata", name+".findings"), report(t, cf, config(t, cf, "")))
		})
	}
}
