package packages

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

// block is the text of a document that the pattern's group finds, without the indentation
// of a block.
func block(t *testing.T, file, pattern string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(source, file))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(pattern).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no %s", file, pattern)
	}
	if block, ok := strings.CutPrefix(string(found[1]), "    "); ok {
		return strings.ReplaceAll(block, "\n    ", "\n")
	}
	return string(found[1])
}

// sourceInto puts the program and the files that are installed with it into a root, as if it
// had been made there: the root has no Go.
func sourceInto(t *testing.T, root, script string) {
	t.Helper()
	run(t, "make", "-C", source, "build")
	run(t, "mkdir", filepath.Join(root, "src"))
	run(t, "cp", "-r", filepath.Join(source, "bin"), filepath.Join(source, "configs"), filepath.Join(root, "src"))
	put(t, filepath.Join(root, "src/Makefile"), "build:\n\ttest -x bin/milterd\n")
	run(t, "cp", "functions", script, root)
}

// TestTheReadmesInstallationFromSource has each line of it run, and those for the way back.
func TestTheReadmesInstallationFromSource(t *testing.T) {
	const readme = "README.md"
	root := systemdRoot(t)
	sourceInto(t, root, "in-source")
	filter, _, _ := strings.Cut(block(t, readme, "(?s)```m4\n(.*?)```"), "\n")
	put(t, filepath.Join(root, "filter"), filter+"\n")
	for file, pattern := range map[string]string{
		"install": `(?m)((?:^    .+\n)*^    make build && (?:.+\n)(?:^    .+\n)*)`,
		"rebuild": "`(make -C /etc/mail && systemctl restart sendmail)`",
		"disable": "`(systemctl disable --now [^`]*)`",
	} {
		put(t, filepath.Join(root, file), block(t, readme, pattern))
	}
	underSystemd(t, root, "in-source")
}

// TestTheManualsLinesForPostfix has milterd beside Debian's Postfix, with the lines of
// milterd-cookbook(7) for both.
func TestTheManualsLinesForPostfix(t *testing.T) {
	const cookbook = "configs/manual/milterd-cookbook.7.md"
	testkit.NeedRoot(t)
	testkit.Need(t, "debootstrap", "systemd-nspawn", "timeout")
	root := cleanRoot(t, "postfix-systemd", "postfix", "procps", "systemd-sysv", "dbus")
	sourceInto(t, root, "in-postfix")
	for file, pattern := range map[string]string{
		"main.cf":      `(?m)^((?:    (?:smtpd_milters|milter_).+\n)+)`,
		"milterd.yaml": "(?s)# POSTFIX AS THE MTA.*?```yaml\n(.*?)```",
		"directory":    "`(install -d -o milterd -g postfix [^`]*)`",
		"socket.conf":  `(?m)^((?:    .+\n)+)\n    \[Service\]\n    SupplementaryGroups=\n`,
		"service.conf": `(?m)^(    \[Service\]\n    SupplementaryGroups=\n)`,
		"start":        `(?m)^((?:    systemctl .+\n)+)\n\(Without systemd`,
	} {
		put(t, filepath.Join(root, file), block(t, cookbook, pattern))
	}
	underSystemd(t, root, "in-postfix")
}
