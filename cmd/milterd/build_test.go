package main

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"milterd/integration/testkit"
)

// buildIn copies the source into a directory and has make build it there.
func buildIn(t *testing.T, dir string) string {
	t.Helper()
	for _, name := range []string{"go.mod", "go.sum", "Makefile"} {
		data, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{"cmd", "milter", "policy", "dnscheck", "header", "configs", "integration"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join("../..", part))); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("make", "-s", "build", "VERSION=v1.2.3-test")
	build.Dir = dir
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, output)
	}
	return filepath.Join(dir, "bin", "milterd")
}

func TestTwoBuildsAreTheSameStaticBinary(t *testing.T) {
	testkit.Need(t, "make", "go")
	first, second := buildIn(t, t.TempDir()), buildIn(t, t.TempDir())
	a, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("two builds of one source differ (%d and %d octets)", len(a), len(b))
	}
	output, err := exec.Command(first, "-version").Output()
	if want := "milterd v1.2.3-test, " + runtime.Version(); err != nil || strings.TrimSpace(string(output)) != want {
		t.Errorf("-version: %q, %v; expected %q", output, err, want)
	}
	if runtime.GOOS != "linux" {
		return
	}
	binary, err := elf.NewFile(bytes.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a %v segment: it is not static", p.Type)
		}
	}
}

// TestTheLinkerCanDropMethods: a program with text/template finds methods by their names,
// so that the linker keeps every method of every type. That is a third of the binary.
func TestTheLinkerCanDropMethods(t *testing.T) {
	testkit.Need(t, "go")
	output, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if packages := strings.Fields(string(output)); slices.Contains(packages, "text/template") || !slices.Contains(packages, "milterd/milter/status") {
		t.Error("text/template is in the program")
	}
}
