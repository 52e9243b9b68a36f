package advice

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"milterd/configs"
	"milterd/integration/testkit"
)

var (
	daemonOptions = regexp.MustCompile("(?m)^DAEMON_OPTIONS.*\n")
	tableFeatures = regexp.MustCompile(`(?m)^FEATURE\(\x60?bl(ock|ack)list_recipients.*\n`)
	accessDB      = regexp.MustCompile(`(?m)^FEATURE\(\x60?access_db.*\n`)
	firstMailer   = regexp.MustCompile(`(?m)^(MAILER_DEFINITIONS|MAILER\()`)
)

// with puts lines into a sendmail.mc as their comments say.
func with(mc, lines string) string {
	mc = daemonOptions.ReplaceAllString(mc, "")
	if strings.Contains(lines, "\ninclude(") {
		if strings.Contains(lines, "\ndefine(`MILTERD_NO_ACCESS')") {
			mc = tableFeatures.ReplaceAllString(mc, "")
		}
		at := accessDB.FindStringIndex(mc)
		return mc[:at[0]] + lines + mc[at[1]:]
	}
	at := firstMailer.FindStringIndex(mc)
	return mc[:at[0]] + lines + mc[at[0]:]
}

// TestTheDoctorIsContentWithTheLinesOfMC puts them into the stock file of each system.
func TestTheDoctorIsContentWithTheLinesOfMC(t *testing.T) {
	for system, places := range Systems {
		places.Feature = "" // whatever is installed here
		for _, both := range []bool{false, true} {
			name := system + map[bool]string{false: "-filter", true: "-both"}[both]
			t.Run(name, func(t *testing.T) {
				const more = "ports: {25: {auth: refuse}}\n"
				stock := generate(t, variant(t, system))
				read, err := configs.ReadSendmailCF(stock)
				if err != nil {
					t.Fatal(err)
				}
				lines := MC(config(t, stock, more), read, both, places)
				testkit.Golden(t, filepath.Join("testdata", name+".lines"), lines)
				cf := generate(t, with(variant(t, system), lines))
				want := ""
				if !both {
					want = "note: sendmail.cf:N: the Received field tells the version of sendmail, and the client of your own users: milterd.m4 has one that does not\n    include(`/etc/mail/m4/milterd.m4')dnl   in place of FEATURE(`access_db') and of other lines for milterd\n"
				}
				got := regexp.MustCompile(`\.cf:\d+`).ReplaceAllString(report(t, cf, config(t, cf, more)), ".cf:N")
				if got != want {
					t.Errorf("findings\n%sexpected\n%s", got, want)
				}
			})
		}
	}
}

// TestTheLinesSayWhatNeedsTheTable: what is decided before RCPT, or beside it.
func TestTheLinesSayWhatNeedsTheTable(t *testing.T) {
	cf := generate(t, variant(t, "freebsd"))
	c := config(t, cf, "")
	if got := MC(c, nil, true, System{Include: "/etc/mail/milterd.m4"}); !strings.Contains(got, "\ndnl define(`MILTERD_NO_ACCESS')dnl ") {
		t.Errorf("without a sendmail.cf:\n%s", got)
	}
	table := filepath.Join(filepath.Dir(cf), "access")
	if err := os.WriteFile(table, []byte("To:x@y.example\tREJECT\n# none\nSrv_Features:10\tv\nSrv_Features:11\tv\nTLS_Clt:x.example\tVERIFY\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := configs.ReadSendmailCF(cf)
	if err != nil {
		t.Fatal(err)
	}
	got := MC(c, read, true, System{Include: "/etc/mail/milterd.m4"})
	if want := "as it has:\ndnl   " + table + ":3: Srv_Features:10 v\ndnl   " + table + ":5: TLS_Clt:x.example VERIFY\ninclude("; !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
}

// TestTheDoctorKnowsTheQuestion of milterd.m4, with the access table and without it.
func TestTheDoctorKnowsTheQuestion(t *testing.T) {
	const include = "include(`/etc/mail/m4/milterd.m4')dnl\n"
	noAccess := tableFeatures.ReplaceAllString(variant(t, "freebsd"), "")
	for _, c := range []struct{ name, mc, want string }{
		{"with the table", accessDB.ReplaceAllString(variant(t, "freebsd"), include), ""},
		{"without it", accessDB.ReplaceAllString(noAccess, "define(`MILTERD_NO_ACCESS')dnl\n"+include), ""},
		{"the same table beside it", accessDB.ReplaceAllString(noAccess, "define(`MILTERD_NO_ACCESS')dnl\n"+include+"FEATURE(`access_db')dnl\n"), ""},
		{"another table beside it", accessDB.ReplaceAllString(noAccess, "define(`MILTERD_NO_ACCESS')dnl\n"+include+"FEATURE(`access_db', `hash /etc/mail/other')dnl\n"), "a table of their own"},
		{"without its rules", accessDB.ReplaceAllString(variant(t, "freebsd"), "define(`MILTERD_NO_RULESETS')dnl\n"+include), "the rules of milterd.m4 are never called"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cf := generate(t, c.mc)
			about := regexp.MustCompile(`(?m)^.*(access table|access map|access_db|of their own|milterd\.m4 are).*$`)
			got := strings.Join(about.FindAllString(report(t, cf, config(t, cf, "")), -1), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("says\n%s\nwant %q", got, c.want)
			}
		})
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

// TestTheLineOfAPackageIsAFeature: a package puts milterd.m4 among the FEATUREs of sendmail.
func TestTheLineOfAPackageIsAFeature(t *testing.T) {
	feature := filepath.Join(t.TempDir(), "milterd.m4")
	s := System{Include: "/etc/mail/m4/milterd.m4", Feature: feature}
	if got, want := s.BothDoors(), "include(`/etc/mail/m4/milterd.m4')dnl"; got != want {
		t.Errorf("without the package %q, want %q", got, want)
	}
	if err := os.WriteFile(feature, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := s.BothDoors(), "FEATURE(`milterd')dnl"; got != want {
		t.Errorf("with the package %q, want %q", got, want)
	}
}
