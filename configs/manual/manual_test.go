// Package manual holds the manual pages of milterd, in Markdown that go-md2man makes
// pages of. Two of them are made from the source, so that nothing is said twice:
// milterd.yaml(5) from configs/milterd.yaml, milterd-access(5) from the package comment of
// policy/access. go test ./configs/manual -update writes them anew.
package manual

import (
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"milterd/configs"
	"milterd/integration/testkit"
)

// TestConfigurationReference makes milterd.yaml(5) of the reference.
func TestConfigurationReference(t *testing.T) {
	page := `% milterd.yaml(5) milterd

# NAME

milterd.yaml - configuration of milterd

# DESCRIPTION

The file below is built into milterd. It holds every key with its default and what it does. A configuration of your own holds
only what differs; the smallest useful one is

    sendmail:
      cf: /etc/mail/sendmail.cf
    mode: shadow

Check it with milterd -check, which names every mistake by FILE:LINE.

# REFERENCE

`
	reference, err := os.ReadFile("../milterd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(reference)) {
		if strings.TrimSpace(line) != "" {
			line = "    " + line
		}
		page += line
	}
	page += "\n# SEE ALSO\n\nmilterd(8), milterd-access(5), milterd-cookbook(7)\n"
	testkit.Golden(t, "milterd.yaml.5.md", page)
}

// TestAccessTable makes milterd-access(5) of the package comment of policy/access.
func TestAccessTable(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../policy/access/doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	parsed := new(doc.Package).Parser().Parse(file.Doc.Text())
	printer := comment.Printer{HeadingLevel: 1, HeadingID: func(*comment.Heading) string { return "" }}
	text := strings.Replace(string(printer.Markdown(parsed)), "Package access is", "It is", 1)
	testkit.Golden(t, "milterd-access.5.md", "% milterd-access(5) milterd\n\n# NAME\n\nmilterd-access - the access table as milterd reads it\n\n# DESCRIPTION\n\n"+
		text+"\n# SEE ALSO\n\nmilterd(8), milterd.yaml(5)\n")
}

var fenced = regexp.MustCompile("(?s)```([a-z0-9]+)\n(.*?)```")

// pages are all texts for administrators, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"*.md", "../../README*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all[file] = string(text)
		}
	}
	if len(all) < 6 {
		t.Fatalf("found %d pages only", len(all))
	}
	return all
}

// TestConfigurationsInTheManual loads every example of milterd.yaml.
func TestConfigurationsInTheManual(t *testing.T) {
	for page, text := range pages(t) {
		if filepath.Base(page) == "milterd-sessions.5.md" {
			continue // its examples are sessions; policy/replay reads them
		}
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			if block[1] != "yaml" {
				continue
			}
			file := filepath.Join(t.TempDir(), "milterd.yaml")
			if err := os.WriteFile(file, []byte(block[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := configs.Load(file); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, block[2])
			}
		}
	}
}

// TestSendmailLinesInTheManual lets m4 make a sendmail.cf of every example of sendmail.mc.
func TestSendmailLinesInTheManual(t *testing.T) {
	const cf = "/usr/share/sendmail/cf/m4/cf.m4"
	if _, err := os.Stat(cf); err != nil {
		testkit.Missing(t, "needs the package sendmail-cf: "+err.Error())
	}
	for page, text := range pages(t) {
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			if block[1] != "m4" {
				continue
			}
			lines := strings.ReplaceAll(block[2], "FEATURE(`milterd')dnl", "include(`../sendmail/milterd.m4')dnl")
			m4 := exec.Command("m4")
			m4.Stdin = strings.NewReader("divert(0)dnl\ninclude(`" + cf + "')dnl\nOSTYPE(`debian')dnl\n" + lines + "MAILER(`local')dnl\nMAILER(`smtp')dnl\n")
			var complaints strings.Builder
			m4.Stderr = &complaints
			out, err := m4.Output()
			if err != nil || complaints.Len() > 0 || !strings.Contains(string(out), "\nMsmtp,") {
				t.Errorf("%s: m4: %v %s of\n%s", page, err, complaints.String(), block[2])
			}
		}
	}
}

// TestPagesReferToPagesThatExist follows each name(section) of our own pages.
func TestPagesReferToPagesThatExist(t *testing.T) {
	reference := regexp.MustCompile(`\b(milterd(?:[-.][a-z]+)?)\(([578])\)`)
	for page, text := range pages(t) {
		for _, m := range reference.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(m[1] + "." + m[2] + ".md"); err != nil {
				t.Errorf("%s names %s: %v", page, m[0], err)
			}
		}
	}
}
