package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// securityFile is the threat model, whose claims name their tests.
const securityFile = "../../SECURITY.md"

func TestTheThreatModelNamesTestsThatThereAre(t *testing.T) {
	text, err := os.ReadFile(securityFile)
	if err != nil {
		t.Fatal(err)
	}
	have := testNames(t)
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(text), -1)
	for _, match := range named {
		if !have[match[1]] {
			t.Errorf("%s names %s, and there is no such test", securityFile, match[1])
		}
	}
	if len(named) < 60 {
		t.Errorf("%s names %d tests only", securityFile, len(named))
	}
}

func TestEachClaimOfTheThreatModelNamesATest(t *testing.T) {
	text, err := os.ReadFile(securityFile)
	if err != nil {
		t.Fatal(err)
	}
	claims, _, _ := strings.Cut(string(text), "## Not defended")
	for line := range strings.Lines(claims) {
		head := strings.Contains(line, "| tests |") || strings.HasPrefix(line, "|---")
		if strings.HasPrefix(line, "|") && !head && !regexp.MustCompile("`(Test|Fuzz)").MatchString(line) {
			t.Errorf("no test is named in: %s", line)
		}
	}
}

func TestTheReviewedDependenciesAreThoseOfTheModule(t *testing.T) {
	text, err := os.ReadFile(securityFile)
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	// These are in tests only.
	tests := regexp.MustCompile(`emersion/go-s|google/go-cmp|goleak|rapid`)
	direct, _, _ := strings.Cut(string(module), "\n)")
	for line := range strings.Lines(direct) {
		path, version, ok := strings.Cut(strings.TrimSpace(line), " v")
		if ok && !tests.MatchString(path) && !strings.Contains(string(text), "| "+path+" | v"+strings.TrimSpace(version)+" |") {
			t.Errorf("%s does not review %s v%s", securityFile, path, version)
		}
	}
}

// testNames are the tests and fuzz targets of the whole module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range declared.FindAllSubmatch(text, -1) {
			names[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
