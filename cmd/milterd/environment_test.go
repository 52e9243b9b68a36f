package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckShowsWhatTheEnvironmentSets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "milterd.yaml")
	for path, text := range map[string]string{file: "access: {file: access}\ndomains: {local: [], relay: []}\n", filepath.Join(dir, "access"): "Connect:203.0.113.40 REJECT\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func() (code int, output string) {
		var out bytes.Buffer
		code = run([]string{"-check", "-config", file}, &out, &out)
		return code, out.String()
	}
	t.Setenv("MILTERD_MODE", "shadow")
	code, output := check()
	for _, want := range []string{"mode           shadow\n", "environment    mode: \"shadow\" (environment MILTERD_MODE)\n"} {
		if code != exitOK || !strings.Contains(output, want) {
			t.Errorf("exit status %d, expected %q in\n%s", code, want, output)
		}
	}
	t.Setenv("MILTERD_MODE", "loud")
	if code, output := check(); code != exitUsage || output != "milterd: environment MILTERD_MODE: mode: \"loud\", expected enforce or shadow\n" {
		t.Errorf("exit status %d: %s", code, output)
	}
}
