package service

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestTheGroupsThatTheUnitAdds asks a systemctl of the test's own.
func TestTheGroupsThatTheUnitAdds(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if got := addedGroups(); !slices.Equal(got, []string{"smmsp"}) {
		t.Errorf("without systemd: %q", got)
	}
	script := "#!/bin/sh\n[ \"$*\" = 'show --property=SupplementaryGroups --value milterd.service' ] && echo smmsp adm\n"
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := addedGroups(); !slices.Equal(got, []string{"smmsp", "adm"}) {
		t.Errorf("with a group that the administrator has added: %q", got)
	}
}
