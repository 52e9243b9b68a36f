package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithoutAFlagTheDefaultConfigurationCountsIfThereIsOne(t *testing.T) {
	dir := t.TempDir()
	from := Place{Fallback: filepath.Join(dir, "etc", "milterd.yaml")}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func(want, wantWarning, wantErr string) {
		t.Helper()
		name := ""
		config, warning, err := from.Load()
		if err != nil {
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); wantErr == "" || !strings.Contains(got, wantErr) {
				t.Errorf("error %q, expected %q", got, wantErr)
			}
			return
		}
		name = config.Name()
		if warning = strings.ReplaceAll(warning, dir, "DIR"); name != want || warning != wantWarning || wantErr != "" {
			t.Errorf("configuration %q, warning %q; expected %q, %q, error %q", name, warning, want, wantWarning, wantErr)
		}
	}
	load("", "no configuration file DIR/etc/milterd.yaml, the built-in one is in force", "")
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	load("", "", "read configuration: stat DIR/etc/milterd.yaml: no such file or directory; expected that file, as its directory is there")
	write("etc/milterd.yml", "mode: shadow\n")
	load("", "", "; DIR/etc/milterd.yml is there, but not read: rename it, or use -config")
	write("etc/milterd.yaml", "mode: shadow\n")
	load(from.Fallback, "", "")
	write("etc/milterd.yaml", "mode: shadoww\n")
	load("", "", "did you mean shadow?")
	from.Flag = filepath.Join(dir, "other.yaml")
	if _, _, err := from.Load(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a named file that is missing: %v", err)
	}
}
