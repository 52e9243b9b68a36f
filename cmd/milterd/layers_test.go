package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mayImport says which of milterd's own packages each one may import. Imports run
// downward only: what decides knows nothing of what transports.
var mayImport = map[string][]string{
	"header":        nil,
	"policy/access": nil,
	// Every package may show text.
	"policy/printable": nil,
	"policy":           {"policy/access", "header"},
	"policy/replay":    {"policy", "policy/access", "policy/limits", "header"},

	// What outlives a restart.
	"policy/snapshot":        nil,
	"policy/grant":           {"policy/snapshot"},
	"policy/grant/httpserve": nil,
	"policy/grant/redis":     {"policy/grant", "policy/limits"},
	"policy/grant/maillog":   {"policy/grant", "policy/snapshot"},
	"policy/grant/dovecot":   {"policy/grant", "policy/grant/httpserve"},
	"policy/grant/drac":      {"policy/grant"},
	"policy/grant/control":   {"policy/grant", "policy/grant/httpserve", "policy/limits"},

	"policy/grant/sources": {"configs", "milter/door", "policy", "policy/limits", "policy/grant", "policy/grant/control",
		"policy/grant/dovecot", "policy/grant/drac", "policy/grant/maillog", "policy/grant/redis"},

	// It counts for what policy decides.
	"policy/limits": {"policy", "policy/access", "policy/snapshot"},

	"policy/replay/traffic": {"policy", "policy/replay"},
	"policy/replay/dryrun":  {"policy", "policy/access", "policy/limits", "policy/replay", "policy/replay/traffic", "configs", "dnscheck", "dnscheck/answers"},
	"policy/replay/record":  {"policy", "policy/replay", "header"},

	"dnscheck": nil,

	"milter/door":         {"policy"},
	"milter/logs":         nil,
	"dnscheck/answers":    {"dnscheck", "policy"},
	"milter":              {"policy", "policy/access", "header", "milter/door"},
	"milter/socketmap":    {"policy", "policy/access", "milter/door"},
	"milter/tally":        {"policy", "milter/door"},
	"milter/status":       {"policy", "milter", "milter/door", "milter/socketmap", "milter/tally", "policy/limits"},
	"milter/service":      {"configs", "milter/door", "milter/status"},
	"configs/sendmail":    {"policy", "policy/access"},
	"configs/watch":       nil,
	"configs/manual":      nil,
	"configs/advice":      {"configs", "configs/sendmail", "dnscheck", "milter/door", "policy", "policy/access"},
	"configs/advice/live": {"configs", "configs/advice", "configs/sendmail", "dnscheck", "integration/probe", "milter/status"},
	"configs":             {"policy", "policy/access", "policy/snapshot", "dnscheck", "dnscheck/answers", "header", "policy/grant", "configs/sendmail", "milter/door"},
}

// pure packages decide. They read no clock, open nothing and log nothing.
var pure = map[string][]string{
	"policy":        {"os", "net", "time", "log", "log/slog", "context", "io", "math/rand", "math/rand/v2"},
	"header":        {"os", "net", "time", "log", "log/slog", "context", "math/rand", "math/rand/v2"},
	"policy/access": {"os", "net", "time", "log", "log/slog", "context", "math/rand", "math/rand/v2"},
}

// importsOf lists what the non-test files of a package import.
func importsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var imports []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			imports = append(imports, path)
		}
	}
	return imports
}

// packages lists the directories below the module's root that hold Go files.
func packages(t *testing.T) map[string]bool {
	t.Helper()
	dirs := make(map[string]bool)
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			dir, err := filepath.Rel("../..", filepath.Dir(path))
			if err != nil {
				return err
			}
			dirs[filepath.ToSlash(dir)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func TestImportsRunDownward(t *testing.T) {
	for dir := range packages(t) {
		if strings.HasPrefix(dir, "cmd/") || strings.HasPrefix(dir, "integration") {
			continue
		}
		allowed, known := mayImport[dir]
		if !known {
			t.Errorf("package %s has no place among the layers", dir)
			continue
		}
		may := make(map[string]bool)
		for _, a := range append(allowed, "policy/printable") {
			may["milterd/"+a] = true
		}
		for _, path := range importsOf(t, dir) {
			if strings.HasPrefix(path, "milterd/") && !may[path] {
				t.Errorf("package %s imports %s, which is not below it", dir, path)
			}
			for _, impure := range pure[dir] {
				if path == impure {
					t.Errorf("package %s imports %s, but decisions are pure", dir, path)
				}
			}
		}
	}
}
