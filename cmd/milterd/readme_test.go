package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"milterd/configs"
	"milterd/integration/harness"
	"milterd/integration/testkit"
)

var fenced = regexp.MustCompile("(?s)```([a-z0-9]+)\n(.*?)```")

func readmeBlocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range fenced.FindAllStringSubmatch(string(text), -1) {
		if m[1] == language {
			blocks = append(blocks, m[2])
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("README.md has no %s block", language)
	}
	return blocks
}

// command is one that runs milterd, on a line of its own or in the text.
var command = regexp.MustCompile("(?m)(?:^ {4,}(?:\\$ )?|`)(milterd(?: -[^\n|>#'`]*)?)(?:$|[\n|>#'`])")

// TestCommandsInTheManualAreUnderstood has the flags of each command in the texts for
// administrators parsed.
func TestCommandsInTheManualAreUnderstood(t *testing.T) {
	seen := 0
	for _, pattern := range []string{"../../README*.md", "../../configs/manual/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range command.FindAllStringSubmatch(string(text), -1) {
				words := strings.Fields(m[1])
				_, _, err := parse(words[1:])
				// In the text a flag alone stands for its mode.
				if named := len(words) == 2 && err != nil && strings.HasPrefix(err.Error(), "flag needs an argument"); err != nil && !named && !errors.Is(err, flag.ErrHelp) {
					t.Errorf("%s: %s: %v", file, m[1], err)
				}
				seen++
			}
		}
	}
	if seen < 40 {
		t.Errorf("found %d commands only", seen)
	}
}

// TestTheReadmeBeginsWithTheConfigurationOfTheFirstWeek: it is that of shadow.yaml, and what
// -block stops stays stopped over a restart.
func TestTheReadmeBeginsWithTheConfigurationOfTheFirstWeek(t *testing.T) {
	first, err := os.ReadFile("../../configs/shadow.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := errors.Join(yaml.Unmarshal(first, &want), yaml.Unmarshal([]byte(readmeBlocks(t, "yaml")[0]), &got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("README.md (-shadow.yaml +README.md):\n%s", diff)
	}
	config, err := configs.Load("../../configs/shadow.yaml")
	if err != nil || config.Limits.File == "" {
		t.Errorf("limits.file %q, error %v", config.Limits.File, err)
	}
}

// TestSendmailLinesInTheReadme holds the README's lines against those that the
// integration tests run sendmail with, and lets m4 make a sendmail.cf of them.
func TestSendmailLinesInTheReadme(t *testing.T) {
	lines := strings.Join(readmeBlocks(t, "m4"), "")
	filter, _, _ := strings.Cut(lines, "\n")
	if !strings.Contains(harness.FilterLines, filter+"\n") {
		t.Errorf("the integration tests do not use the README's line\n%s", filter)
	}
	const cf = "/usr/share/sendmail/cf/m4/cf.m4"
	if _, err := os.Stat(cf); err != nil {
		testkit.Missing(t, fmt.Sprintf("needs the package sendmail-cf: %v", err))
	}
	m4 := exec.Command("m4")
	m4.Stdin = strings.NewReader("include(`" + cf + "')dnl\nOSTYPE(`debian')dnl\n" + lines + "MAILER(`local')dnl\nMAILER(`smtp')dnl\n")
	out, err := m4.Output()
	if err != nil {
		t.Fatalf("m4: %v", err)
	}
	for _, want := range []string{"O InputMailFilters=milterd", "Xmilterd, S=local:/run/milterd/milter.sock, F=T,", "O DaemonPortOptions=Name=MSA, Family=inet, Port=submission, M=Ea", "C{TrustAuthMech}LOGIN PLAIN"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("sendmail.cf made of the README's lines has no %q", want)
		}
	}
}
